//! The same sums with the DSP instructions of Cortex-M4, M7 and M33: two products at once. Same answers: sums of products of 8-bit values
//! in 32 bit are exact in any order.
#![expect(unsafe_code, reason = "instructions that stable Rust has no function for; they touch registers only")]

use core::arch::asm;

/// Bytes 0 and 2, widened to two 16-bit values.
#[inline(always)]
fn even(x: u32) -> u32 {
    let out: u32;
    // SAFETY: works on registers alone, and this module is only built where the instruction exists.
    unsafe {
        asm!("sxtb16 {o}, {x}", o = lateout(reg) out, x = in(reg) x, options(pure, nomem, nostack, preserves_flags))
    };
    out
}

/// Bytes 1 and 3, widened to two 16-bit values.
#[inline(always)]
fn odd(x: u32) -> u32 {
    let out: u32;
    // SAFETY: as above.
    unsafe {
        asm!("sxtb16 {o}, {x}, ror #8", o = lateout(reg) out, x = in(reg) x, options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// The sum of both products of 16-bit halves, added to `acc`.
#[inline(always)]
fn dual(a: u32, b: u32, acc: i32) -> i32 {
    let out: i32;
    // SAFETY: as above. The sum cannot overflow where the plain one does not; that it would set a sticky flag is of no concern.
    unsafe {
        asm!("smlad {o}, {a}, {b}, {c}", o = lateout(reg) out, a = in(reg) a, b = in(reg) b, c = in(reg) acc,
             options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// The product of the lower halves, added to `acc`.
#[inline(always)]
fn low(a: u32, b: u32, acc: i32) -> i32 {
    let out: i32;
    // SAFETY: as above.
    unsafe {
        asm!("smlabb {o}, {a}, {b}, {c}", o = lateout(reg) out, a = in(reg) a, b = in(reg) b, c = in(reg) acc,
             options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// The product of the upper halves, added to `acc`.
#[inline(always)]
fn high(a: u32, b: u32, acc: i32) -> i32 {
    let out: i32;
    // SAFETY: as above.
    unsafe {
        asm!("smlatt {o}, {a}, {b}, {c}", o = lateout(reg) out, a = in(reg) a, b = in(reg) b, c = in(reg) acc,
             options(pure, nomem, nostack, preserves_flags));
    }
    out
}

#[inline(always)]
fn halves(group: &[u8; 8]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = *group;
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

/// See [`super::dot::two_by_two`].
#[inline(always)]
pub fn two_by_two(rows: [&[u8]; 2], columns: [&[u8]; 2], mut acc: [i32; 4]) -> [i32; 4] {
    let weights = rows[0].as_chunks::<4>().0.iter().zip(rows[1].as_chunks::<4>().0);
    let values = columns[0].as_chunks::<8>().0.iter().zip(columns[1].as_chunks::<8>().0);
    for ((w0, w1), (x0, x1)) in weights.zip(values) {
        let (w0, w1) = (u32::from_le_bytes(*w0), u32::from_le_bytes(*w1));
        let ((x00, x01), (x10, x11)) = (halves(x0), halves(x1));
        let (a, b) = (even(w0), even(w1));
        acc[0] = dual(a, x00, acc[0]);
        acc[1] = dual(a, x10, acc[1]);
        acc[2] = dual(b, x00, acc[2]);
        acc[3] = dual(b, x10, acc[3]);
        let (a, b) = (odd(w0), odd(w1));
        acc[0] = dual(a, x01, acc[0]);
        acc[1] = dual(a, x11, acc[1]);
        acc[2] = dual(b, x01, acc[2]);
        acc[3] = dual(b, x11, acc[3]);
    }
    acc
}

/// See [`super::dot::four_by_one`].
#[inline(always)]
pub fn four_by_one(rows: [&[u8]; 4], values: &[u8], mut acc: [i32; 4]) -> [i32; 4] {
    let first = rows[0].as_chunks::<4>().0.iter().zip(rows[1].as_chunks::<4>().0);
    let second = rows[2].as_chunks::<4>().0.iter().zip(rows[3].as_chunks::<4>().0);
    for (((w0, w1), (w2, w3)), x) in first.zip(second).zip(values.as_chunks::<8>().0) {
        let (x0, x1) = halves(x);
        for (acc, w) in acc.iter_mut().zip([w0, w1, w2, w3]) {
            let w = u32::from_le_bytes(*w);
            *acc = dual(odd(w), x1, dual(even(w), x0, *acc));
        }
    }
    acc
}

/// See [`super::dot::widen`].
#[inline(always)]
pub fn widen(values: &[u8], out: &mut [u8]) {
    let (groups, rest) = values.as_chunks::<4>();
    let (wide, end) = out.split_at_mut(8 * groups.len());
    for (group, out) in groups.iter().zip(wide.as_chunks_mut::<8>().0) {
        let word = u32::from_le_bytes(*group);
        let (even, odd) = (even(word), odd(word));
        let first = ((even & 0xffff) | (odd << 16)).to_le_bytes();
        let second = ((even >> 16) | (odd & 0xffff_0000)).to_le_bytes();
        let [a, b, c, d] = first;
        let [e, f, g, h] = second;
        *out = [a, b, c, d, e, f, g, h];
    }
    super::dot::widen(rest, end);
}

/// See [`super::dot::four_lanes`].
#[inline(always)]
pub fn four_lanes(weights: &[[u8; 4]], taps: impl Iterator<Item = [u8; 4]>, mut acc: [i32; 4]) -> [i32; 4] {
    for (w, x) in weights.iter().zip(taps) {
        let (w, x) = (u32::from_le_bytes(*w), u32::from_le_bytes(x));
        let (we, xe, wo, xo) = (even(w), even(x), odd(w), odd(x));
        acc[0] = low(we, xe, acc[0]);
        acc[1] = low(wo, xo, acc[1]);
        acc[2] = high(we, xe, acc[2]);
        acc[3] = high(wo, xo, acc[3]);
    }
    acc
}
