//! The streaming pass: chunks of samples in, totals out. Memory is one block, whatever the number of samples.

use super::block::{Differences, Peaks, Totals};
use super::histogram::{LsbHistogram, Octaves, Saturation};
use super::lanes::{Any, Machine};
use super::summary::{At, NonFiniteCounts, Summary};
use super::vectors::{ClassVectors, OpenSample, SampleCosines, TOGETHER};
use super::{Options, check_dtypes};
use crate::compare::tensor::{DType, TensorView, subtract_wide, widen};
use crate::compare::validity::Incomparable;

/// Elements per block, so that both operands and their difference stay in a first-level cache of 32 KiB.
const BLOCK_ELEMENTS: usize = 1024;

/// Where samples and class vectors begin in the stream of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Elements of one sample: all dimensions but the first.
    pub sample_elements: usize,
    /// Elements of one class vector: the last dimension of a tensor of two or more, else 1.
    pub class_elements: usize,
}

impl Layout {
    /// Layout of a tensor of this shape (`[samples, ..., classes]`).
    pub fn of_shape(shape: &[usize]) -> Self {
        match shape {
            [] | [_] => Self { sample_elements: 1, class_elements: 1 },
            [_, rest @ ..] => {
                Self { sample_elements: rest.iter().product(), class_elements: rest.last().copied().unwrap_or(1) }
            }
        }
    }

    /// Elements per block: whole samples where several fit, else whole class vectors.
    fn block_elements(&self) -> usize {
        let unit = if self.sample_elements <= BLOCK_ELEMENTS { self.sample_elements } else { self.class_elements };
        let unit = unit.max(1);
        (BLOCK_ELEMENTS / unit).max(1) * unit
    }

    /// Elements after which a block ends even if it is not full: the end of a sample that fills several.
    fn span_elements(&self, block_elements: usize) -> usize {
        self.sample_elements.max(block_elements)
    }
}

/// What has been seen so far; everything of it can be merged.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    /// Elements offered, finite or not.
    pub(super) elements: u64,
    pub(super) totals: Totals,
    pub(super) max_abs: Option<At>,
    pub(super) max_relative: Option<At>,
    pub(super) non_finite: NonFiniteCounts,
    pub(super) errors: Octaves,
    pub(super) lsb: LsbHistogram,
    pub(super) saturation_reference: Saturation,
    pub(super) saturation_candidate: Saturation,
    pub(super) cosines: SampleCosines,
    pub(super) classes: ClassVectors,
}

/// Streaming comparison of one output. Feed chunks of whole samples in order, or feed parts to several accumulators and merge those.
#[derive(Debug, Clone)]
pub struct Accumulator {
    reference: DType,
    candidate: DType,
    layout: Layout,
    options: Options,
    seen: Seen,
    open: OpenSample,
    open_elements: usize,
    scratch: Scratch,
}

impl Accumulator {
    /// An empty accumulator for tensors of these types and sample shapes (the first dimension may differ from push to push).
    pub fn for_tensors(reference: &TensorView, candidate: &TensorView, options: Options) -> Result<Self, Incomparable> {
        check_shapes(reference, candidate)?;
        Self::new(reference.dtype(), candidate.dtype(), Layout::of_shape(reference.shape()), options)
    }

    /// An empty accumulator.
    pub fn new(reference: DType, candidate: DType, layout: Layout, options: Options) -> Result<Self, Incomparable> {
        check_dtypes(reference, candidate)?;
        Ok(Self {
            reference,
            candidate,
            layout,
            options,
            seen: Seen::default(),
            open: OpenSample::default(),
            open_elements: 0,
            scratch: Scratch::default(),
        })
    }

    /// Adds two tensors of equal shape, whose types and sample shape are those of this accumulator.
    pub fn push(&mut self, reference: &TensorView, candidate: &TensorView) -> Result<(), Incomparable> {
        check_shapes(reference, candidate)?;
        if (reference.dtype(), candidate.dtype()) != (self.reference, self.candidate) {
            return Err(Incomparable::DType { reference: reference.dtype(), candidate: candidate.dtype() });
        }
        if Layout::of_shape(reference.shape()) != self.layout {
            return Err(Incomparable::PartialSample {
                elements: reference.elements(),
                sample_elements: self.layout.sample_elements,
            });
        }
        self.push_bytes(reference.bytes(), candidate.bytes())
    }

    /// Adds a chunk of whole samples, as raw little-endian bytes of the two element types.
    pub fn push_bytes(&mut self, reference: &[u8], candidate: &[u8]) -> Result<(), Incomparable> {
        let (r_size, c_size) = (self.reference.size_bytes(), self.candidate.size_bytes());
        let (elements, c_elements) = (reference.len() / r_size, candidate.len() / c_size);
        let sample_elements = self.layout.sample_elements;
        let whole = reference.len().is_multiple_of(r_size)
            && candidate.len().is_multiple_of(c_size)
            && elements.is_multiple_of(sample_elements);
        if elements != c_elements {
            return Err(Incomparable::Shape { reference: vec![elements], candidate: vec![c_elements] });
        }
        if !whole {
            return Err(Incomparable::PartialSample { elements, sample_elements });
        }
        self.push_samples(reference, candidate);
        Ok(())
    }

    /// The same code twice: for every machine, and for those with AVX2. The order of operations is that of the source in both (nothing is
    /// contracted or reassociated), so the results are equal to the last bit.
    fn push_samples(&mut self, reference: &[u8], candidate: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(machine) = pulp::x86::V3::try_new() {
            machine.vectorize(OnV3 { machine, accumulator: self, reference, candidate });
            return;
        }
        self.push_spans(Any, reference, candidate);
    }

    #[inline(always)]
    pub(super) fn push_spans<M: Machine>(&mut self, machine: M, reference: &[u8], candidate: &[u8]) {
        let (r_size, c_size) = (self.reference.size_bytes(), self.candidate.size_bytes());
        let block = self.layout.block_elements();
        let span = self.layout.span_elements(block);
        let mut scratch = std::mem::take(&mut self.scratch);
        for (r_span, c_span) in reference.chunks(span * r_size).zip(candidate.chunks(span * c_size)) {
            for (r_block, c_block) in r_span.chunks(block * r_size).zip(c_span.chunks(block * c_size)) {
                self.add_block(machine, scratch.load(self.reference, r_block, self.candidate, c_block));
            }
        }
        self.scratch = scratch;
    }

    /// Adds what `later` has seen, as if its samples had been pushed after those of `self`.
    pub fn merge(&mut self, later: &Self) -> Result<(), Incomparable> {
        let same = |a: &Self, b: &Self| {
            (a.reference, a.candidate, a.layout, a.options) == (b.reference, b.candidate, b.layout, b.options)
        };
        if !same(self, later) {
            return Err(Incomparable::Merge);
        }
        self.seen.merge(&later.seen);
        Ok(())
    }

    /// Everything measured so far.
    pub fn summary(&self) -> Summary {
        Summary::new(self.reference, self.candidate, self.layout, self.options, self.seen.clone())
    }

    #[inline(always)]
    fn add_block<M: Machine>(&mut self, machine: M, block: Block) {
        let differences = Differences::of(machine, block.d);
        let finite = differences.all_finite();
        if finite {
            let peaks =
                self.seen.totals.add_differences(machine, block.r, block.c, block.d, &differences, &self.options);
            self.note_peaks(block, peaks, None);
            self.seen.errors.add(block.d);
        } else {
            self.add_partly_finite(block);
        }
        if self.reference.limits().is_some() {
            self.seen.lsb.add(block.d);
            self.seen.saturation_reference.add(self.reference, block.r);
            self.seen.saturation_candidate.add(self.candidate, block.c);
        }
        self.add_samples(machine, block);
        if self.layout.class_elements >= 2 {
            let Layout { class_elements, .. } = self.layout;
            self.seen.classes.add_block(machine, [block.r, block.c], class_elements, self.options.top_k, !finite);
        }
        self.seen.elements += block.r.len() as u64;
    }

    /// The slow path: counts what is not finite and adds the rest.
    #[cold]
    #[inline(never)]
    fn add_partly_finite(&mut self, block: Block) {
        let (kept, positions) = self.sort_out(block);
        let kept = kept.block();
        let peaks = self.seen.totals.add_block(Any, kept.r, kept.c, kept.d, &self.options);
        self.note_peaks(kept, peaks, Some(&positions));
        self.seen.errors.add(kept.d);
    }

    /// Finds where new peaks stood; `positions` tells where in the block the pairs were, `None` that none was left out.
    fn note_peaks(&mut self, block: Block, peaks: Peaks, positions: Option<&[usize]>) {
        let Block { r, d, .. } = block;
        let Peaks { d_abs, relative, .. } = peaks;
        let first = self.seen.elements;
        let index_of = |found: Option<usize>| {
            let position = found.unwrap_or(0);
            first + positions.map_or(position, |p| p[position]) as u64
        };
        if d_abs > self.seen.max_abs.map_or(0.0, |at| at.value) {
            let index = index_of(d.iter().position(|d| d.abs() == d_abs));
            self.seen.max_abs = Some(At { value: d_abs, index });
        }
        if relative > self.seen.max_relative.map_or(0.0, |at| at.value) {
            let is_peak = |(r, d): (&f64, &f64)| *r != 0.0 && d.abs() / r.abs() == relative;
            let index = index_of(r.iter().zip(d).position(is_peak));
            self.seen.max_relative = Some(At { value: relative, index });
        }
    }

    /// Counts what is not finite and keeps the rest, with its positions.
    fn sort_out(&mut self, block: Block) -> (Scratch, Vec<usize>) {
        let mut kept = Scratch::default();
        let mut positions = Vec::new();
        for (position, ((r, c), d)) in block.r.iter().zip(block.c).zip(block.d).enumerate() {
            if r.is_finite() && c.is_finite() {
                kept.r.push(*r);
                kept.c.push(*c);
                kept.d.push(*d);
                positions.push(position);
            } else {
                self.seen.non_finite.add(*r, *c);
            }
        }
        (kept, positions)
    }

    #[inline(always)]
    fn add_samples<M: Machine>(&mut self, machine: M, block: Block) {
        let size = self.layout.sample_elements;
        if size < 3 {
            return;
        }
        if size <= block.r.len() {
            let mut samples = [OpenSample::default(); TOGETHER];
            for (r, c) in block.r.chunks(size * TOGETHER).zip(block.c.chunks(size * TOGETHER)) {
                let pairs = r.chunks_exact(size).zip(c.chunks_exact(size));
                let count = pairs.len();
                for ((r, c), sample) in pairs.zip(&mut samples) {
                    *sample = OpenSample::default();
                    sample.add(machine, r, c);
                }
                self.seen.cosines.add_all(machine, &samples[..count]);
            }
            return;
        }
        self.open.add(machine, block.r, block.c);
        self.open_elements += block.r.len();
        if self.open_elements == size {
            self.seen.cosines.add(std::mem::take(&mut self.open));
            self.open_elements = 0;
        }
    }
}

/// A push on a machine with AVX2. A type and not a closure: what calls a closure would stay a call, and every operation of the loops with it.
#[cfg(target_arch = "x86_64")]
struct OnV3<'a> {
    machine: pulp::x86::V3,
    accumulator: &'a mut Accumulator,
    reference: &'a [u8],
    candidate: &'a [u8],
}

#[cfg(target_arch = "x86_64")]
impl pulp::NullaryFnOnce for OnV3<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.accumulator.push_spans(self.machine, self.reference, self.candidate);
    }
}

impl Seen {
    fn merge(&mut self, later: &Self) {
        let shifted = |at: Option<At>| at.map(|at| At { index: at.index + self.elements, ..at });
        self.max_abs = At::larger(self.max_abs, shifted(later.max_abs));
        self.max_relative = At::larger(self.max_relative, shifted(later.max_relative));
        self.elements += later.elements;
        self.totals.merge(&later.totals);
        self.non_finite.merge(&later.non_finite);
        self.errors.merge(&later.errors);
        self.lsb.merge(&later.lsb);
        self.saturation_reference.merge(later.saturation_reference);
        self.saturation_candidate.merge(later.saturation_candidate);
        self.cosines.merge(&later.cosines);
        self.classes.merge(&later.classes);
    }
}

/// One block, widened. Reused, so that a push of finite values allocates nothing.
#[derive(Debug, Clone, Default)]
struct Scratch {
    r: Vec<f64>,
    c: Vec<f64>,
    d: Vec<f64>,
}

#[derive(Clone, Copy)]
struct Block<'a> {
    r: &'a [f64],
    c: &'a [f64],
    d: &'a [f64],
}

impl Scratch {
    fn block(&self) -> Block<'_> {
        Block { r: &self.r, c: &self.c, d: &self.d }
    }

    #[inline(always)]
    fn load(&mut self, reference: DType, r_bytes: &[u8], candidate: DType, c_bytes: &[u8]) -> Block<'_> {
        let elements = r_bytes.len() / reference.size_bytes();
        for buffer in [&mut self.r, &mut self.c, &mut self.d] {
            buffer.resize(elements, 0.0);
        }
        widen(reference, r_bytes, &mut self.r);
        widen(candidate, c_bytes, &mut self.c);
        if matches!(reference, DType::I64 | DType::U64) {
            subtract_wide(reference, r_bytes, c_bytes, &mut self.d);
        } else {
            for ((d, r), c) in self.d.iter_mut().zip(&self.r).zip(&self.c) {
                *d = c - r;
            }
        }
        self.block()
    }
}

fn check_shapes(reference: &TensorView, candidate: &TensorView) -> Result<(), Incomparable> {
    if reference.shape() == candidate.shape() {
        Ok(())
    } else {
        Err(Incomparable::Shape { reference: reference.shape().to_vec(), candidate: candidate.shape().to_vec() })
    }
}
