//! Throughput of the streaming comparison, in bytes of both operands per second and core. The aim is 1 GB/s for f32 with every metric on.

#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use boardproof_judge::compare::numerics::{Accumulator, Layout, Options};
use boardproof_judge::compare::tensor::DType;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Elements of one chunk: larger than the caches of a small core, as a mapped file would be.
const CHUNK_ELEMENTS: usize = 8_000_000;
/// Pairs of the long run.
const LONG_PAIRS: usize = 100_000_000;

/// A small generator (xorshift*): the numbers need to be varied, not random.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40;
        bits as f32 / (1_u32 << 24) as f32
    }
}

/// Logits in -5..5 and a candidate that is up to 0.05 away.
fn logits() -> (Vec<f32>, Vec<f32>) {
    let mut numbers = Numbers(1);
    let reference: Vec<f32> = (0..CHUNK_ELEMENTS).map(|_| numbers.next() * 10.0 - 5.0).collect();
    let candidate = reference.iter().map(|r| r + (numbers.next() - 0.5) * 0.1).collect();
    (reference, candidate)
}

/// Class vectors whose elements are positive and sum to one.
fn probabilities(classes: usize) -> (Vec<f32>, Vec<f32>) {
    let normalize = |mut values: Vec<f32>| {
        for vector in values.chunks_mut(classes) {
            let sum: f32 = vector.iter().map(|v| v.exp()).sum();
            vector.iter_mut().for_each(|v| *v = v.exp() / sum);
        }
        values
    };
    let (reference, candidate) = logits();
    (normalize(reference), normalize(candidate))
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn i8_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().map(|v| (v * 25.0).round().clamp(-128.0, 127.0) as i8 as u8).collect()
}

fn accumulator(dtype: DType, classes: usize) -> Accumulator {
    let layout = Layout { sample_elements: classes, class_elements: classes };
    Accumulator::new(dtype, dtype, layout, Options::default()).expect("same types")
}

fn chunk(c: &mut Criterion) {
    let (reference, candidate) = logits();
    let mut cases = Vec::new();
    for classes in [1, 10, 1000] {
        cases.push(("f32 logits", DType::F32, classes, f32_bytes(&reference), f32_bytes(&candidate)));
    }
    for classes in [10, 1000] {
        let (p, q) = probabilities(classes);
        cases.push(("f32 probabilities", DType::F32, classes, f32_bytes(&p), f32_bytes(&q)));
    }
    cases.push(("i8 logits", DType::I8, 10, i8_bytes(&reference), i8_bytes(&candidate)));
    let mut group = c.benchmark_group("numerics");
    group.sample_size(10);
    for (name, dtype, classes, reference, candidate) in &cases {
        group.throughput(Throughput::Bytes((reference.len() + candidate.len()) as u64));
        group.bench_function(BenchmarkId::new(*name, classes), |b| {
            b.iter(|| {
                let mut accumulator = accumulator(*dtype, *classes);
                accumulator.push_bytes(black_box(reference), black_box(candidate)).expect("whole samples");
                black_box(accumulator.summary())
            });
        });
    }
    group.finish();
}

/// 10^8 pairs through one accumulator, chunk after chunk.
fn long_stream(c: &mut Criterion) {
    let (reference, candidate) = logits();
    let (reference, candidate) = (f32_bytes(&reference), f32_bytes(&candidate));
    let mut group = c.benchmark_group("numerics");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(2 * 4 * LONG_PAIRS as u64));
    group.bench_function("f32 logits, 10^8 pairs", |b| {
        b.iter(|| {
            let mut accumulator = accumulator(DType::F32, 10);
            let mut left = LONG_PAIRS * 4;
            while left > 0 {
                let bytes = left.min(reference.len());
                accumulator.push_bytes(&reference[..bytes], &candidate[..bytes]).expect("whole samples");
                left -= bytes;
            }
            black_box(accumulator.summary())
        });
    });
    group.finish();
}

criterion_group!(benches, chunk, long_stream);
criterion_main!(benches);
