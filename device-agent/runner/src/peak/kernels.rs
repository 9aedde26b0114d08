//! Loops that do nothing but multiply and add, as many at a time as the processor has room for: one for each instruction set that may be
//! there. All operands stay in registers.

/// A loop.
pub struct Kernel {
    /// The instructions that it is made of.
    pub name: &'static str,
    /// Multiply-accumulates of one round.
    pub macs_per_round: u64,
    /// Does this processor have them?
    pub usable: fn() -> bool,
    /// Does so many rounds; the result depends on all of them.
    pub run: fn(u64) -> u64,
}

/// Sums that do not wait for each other: more than an addition takes cycles, times what starts in one.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const CHAINS: usize = 12;
/// Lanes of the loops that the compiler makes vectors of.
const LANES: usize = 16;

/// A multiply-accumulate in plain Rust, as the compiler's target has it: two roundings, since a fused one may be a call of a function.
fn plain_floats(rounds: u64) -> u64 {
    let mut sums = [[0.0_f32; LANES]; 4];
    let (factor, step) = (std::hint::black_box(0.999_f32), std::hint::black_box(0.001_f32));
    sums.iter_mut().flatten().enumerate().for_each(|(at, sum)| *sum = at as f32);
    for _ in 0..rounds {
        sums.iter_mut().flatten().for_each(|sum| *sum = *sum * factor + step);
    }
    sums.iter().flatten().sum::<f32>().to_bits().into()
}

/// Products of 8-bit integers, summed in 32 bits. One factor changes from round to round, or there would be one product for all.
fn plain_integers(rounds: u64) -> u64 {
    let mut sums = [0_i32; LANES];
    let weights: [i16; LANES] = std::hint::black_box(std::array::from_fn(|at| at as i16 - 7));
    let mut data: [i16; LANES] = std::hint::black_box(std::array::from_fn(|at| 3 * at as i16 - 20));
    for _ in 0..rounds {
        for ((sum, weight), value) in sums.iter_mut().zip(&weights).zip(&mut data) {
            *sum = sum.wrapping_add(i32::from(*weight) * i32::from(*value));
            *value = value.wrapping_add(*weight);
        }
    }
    sums.iter().fold(0, |all: i32, sum| all.wrapping_add(*sum)) as u64
}

const PLAIN_FLOATS: Kernel =
    Kernel { name: "plain", macs_per_round: 4 * LANES as u64, usable: || true, run: plain_floats };
const PLAIN_INTEGERS: Kernel =
    Kernel { name: "plain", macs_per_round: LANES as u64, usable: || true, run: plain_integers };

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const FLOATS: &[Kernel] = &[PLAIN_FLOATS];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const INTEGERS: &[Kernel] = &[PLAIN_INTEGERS];
#[cfg(target_arch = "aarch64")]
pub use arm::{FLOATS, INTEGERS};
#[cfg(target_arch = "x86_64")]
pub use intel::{FLOATS, INTEGERS};

/// A loop over [`CHAINS`] sums of a vector type, in a function for these instructions.
///
/// `$change` gives the first factor of the next round: without it a product would be the same in every round, and made once.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! kernel {
    ($function:ident, $run:ident, $features:literal, $vector:ty, $seed:expr, $factor:expr, $change:expr, $step:expr, $end:expr) => {
        #[target_feature(enable = $features)]
        fn $function(rounds: u64) -> u64 {
            let mut sums: [$vector; CHAINS] = std::array::from_fn($seed);
            let factors: [$vector; CHAINS] = std::hint::black_box(std::array::from_fn($factor));
            let mut first = factors[0];
            for _ in 0..rounds {
                for (sum, factor) in sums.iter_mut().zip(&factors) {
                    *sum = $step(*sum, first, *factor);
                }
                first = $change(first, factors[1]);
            }
            sums.into_iter().fold(0, |all: u64, sum| all.wrapping_add($end(sum)))
        }

        #[expect(unsafe_code, reason = "only a processor that has the instructions may run them")]
        fn $run(rounds: u64) -> u64 {
            // SAFETY: `usable` of the kernel has found the instructions on this processor.
            unsafe { $function(rounds) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod intel {
    use super::{CHAINS, Kernel, PLAIN_FLOATS, PLAIN_INTEGERS};
    use std::arch::x86_64::*;

    kernel!(
        f32_fma,
        run_f32_fma,
        "avx2,fma",
        __m256,
        |at| _mm256_set1_ps(at as f32),
        |at| _mm256_set1_ps(0.9 + at as f32 / 1000.0),
        |first, _| first,
        |sum, first, factor| _mm256_fmadd_ps(first, factor, sum),
        |sum| _mm256_cvtss_f32(sum).to_bits().into()
    );
    kernel!(
        f32_avx512,
        run_f32_avx512,
        "avx512f",
        __m512,
        |at| _mm512_set1_ps(at as f32),
        |at| _mm512_set1_ps(0.9 + at as f32 / 1000.0),
        |first, _| first,
        |sum, first, factor| _mm512_fmadd_ps(first, factor, sum),
        |sum| _mm512_cvtss_f32(sum).to_bits().into()
    );
    // Pairs of 16-bit products: what 8-bit ones become where nothing multiplies them as they are.
    kernel!(
        i8_avx2,
        run_i8_avx2,
        "avx2",
        __m256i,
        |at| _mm256_set1_epi32(at as i32),
        |at| _mm256_set1_epi16(at as i16 - 5),
        |first, other| _mm256_add_epi16(first, other),
        |sum, first, factor| _mm256_add_epi32(sum, _mm256_madd_epi16(first, factor)),
        |sum| _mm256_cvtsi256_si32(sum) as u64
    );
    kernel!(
        i8_avx_vnni,
        run_i8_avx_vnni,
        "avxvnni",
        __m256i,
        |at| _mm256_set1_epi32(at as i32),
        |at| _mm256_set1_epi8(at as i8 - 5),
        |first, other| _mm256_add_epi8(first, other),
        |sum, first, factor| _mm256_dpbusd_avx_epi32(sum, first, factor),
        |sum| _mm256_cvtsi256_si32(sum) as u64
    );
    kernel!(
        i8_avx512_vnni,
        run_i8_avx512_vnni,
        "avx512f,avx512vnni",
        __m512i,
        |at| _mm512_set1_epi32(at as i32),
        |at| _mm512_set1_epi8(at as i8 - 5),
        |first, other| _mm512_add_epi32(first, other),
        |sum, first, factor| _mm512_dpbusd_epi32(sum, first, factor),
        |sum| _mm512_cvtsi512_si32(sum) as u64
    );

    const EACH: u64 = CHAINS as u64;

    pub const FLOATS: &[Kernel] = &[
        PLAIN_FLOATS,
        Kernel {
            name: "fma",
            macs_per_round: 8 * EACH,
            usable: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            run: run_f32_fma,
        },
        Kernel {
            name: "avx512f",
            macs_per_round: 16 * EACH,
            usable: || is_x86_feature_detected!("avx512f"),
            run: run_f32_avx512,
        },
    ];
    pub const INTEGERS: &[Kernel] = &[
        PLAIN_INTEGERS,
        Kernel {
            name: "avx2",
            macs_per_round: 16 * EACH,
            usable: || is_x86_feature_detected!("avx2"),
            run: run_i8_avx2,
        },
        Kernel {
            name: "avxvnni",
            macs_per_round: 32 * EACH,
            usable: || is_x86_feature_detected!("avxvnni"),
            run: run_i8_avx_vnni,
        },
        Kernel {
            name: "avx512vnni",
            macs_per_round: 64 * EACH,
            usable: || is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni"),
            run: run_i8_avx512_vnni,
        },
    ];
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{CHAINS, Kernel, PLAIN_FLOATS, PLAIN_INTEGERS};
    use std::arch::aarch64::*;
    use std::arch::{asm, is_aarch64_feature_detected};

    kernel!(
        f32_neon,
        run_f32_neon,
        "neon",
        float32x4_t,
        |at| vdupq_n_f32(at as f32),
        |at| vdupq_n_f32(0.9 + at as f32 / 1000.0),
        |first, _| first,
        |sum, first, factor| vfmaq_f32(sum, first, factor),
        |sum| vgetq_lane_f32::<0>(sum).to_bits().into()
    );
    // Products of 8 bits in 16, added in pairs to 32: what every 64-bit ARM has.
    kernel!(
        i8_neon,
        run_i8_neon,
        "neon",
        int32x4_t,
        |at| vdupq_n_s32(at as i32),
        |at| vreinterpretq_s32_s8(vdupq_n_s8(at as i8 - 5)),
        |first, other| vaddq_s32(first, other),
        |sum, first, factor| vpadalq_s16(sum, vmull_s8(low(first), low(factor))),
        |sum| vgetq_lane_s32::<0>(sum) as u64
    );
    kernel!(
        i8_dot,
        run_i8_dot,
        "neon,dotprod",
        int32x4_t,
        |at| vdupq_n_s32(at as i32),
        |at| vreinterpretq_s32_s8(vdupq_n_s8(at as i8 - 5)),
        |first, other| vaddq_s32(first, other),
        |sum, first, factor| dot(sum, first, factor),
        |sum| vgetq_lane_s32::<0>(sum) as u64
    );

    #[target_feature(enable = "neon")]
    fn low(bytes: int32x4_t) -> int8x8_t {
        vget_low_s8(vreinterpretq_s8_s32(bytes))
    }

    /// Four products to each sum. The intrinsic for it is not in stable Rust.
    #[target_feature(enable = "neon,dotprod")]
    #[expect(unsafe_code, reason = "the instruction has no function in stable Rust")]
    fn dot(sum: int32x4_t, first: int32x4_t, factor: int32x4_t) -> int32x4_t {
        let mut sum = sum;
        // SAFETY: it reads and writes these registers and nothing else; the function is for processors that have it.
        unsafe {
            asm!(
                "sdot {sum:v}.4s, {first:v}.16b, {factor:v}.16b",
                sum = inout(vreg) sum, first = in(vreg) first, factor = in(vreg) factor,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    }

    const EACH: u64 = CHAINS as u64;

    pub const FLOATS: &[Kernel] =
        &[PLAIN_FLOATS, Kernel { name: "neon", macs_per_round: 4 * EACH, usable: || true, run: run_f32_neon }];
    pub const INTEGERS: &[Kernel] = &[
        PLAIN_INTEGERS,
        Kernel { name: "neon", macs_per_round: 8 * EACH, usable: || true, run: run_i8_neon },
        Kernel {
            name: "dotprod",
            macs_per_round: 16 * EACH,
            usable: || is_aarch64_feature_detected!("dotprod"),
            run: run_i8_dot,
        },
    ];
}
