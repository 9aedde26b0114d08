//! Sums of products, the plain way. Weights lie in groups of four in the order 0, 2, 1, 3, so that the DSP instructions widen them in pairs;
//! columns are 16-bit values in their own order.

/// Weight and column of each of a group of four.
const ORDER: [usize; 4] = [0, 2, 1, 3];

#[inline(always)]
fn weight(group: &[u8; 4], index: usize) -> i32 {
    i32::from(group[ORDER[index]] as i8)
}

#[inline(always)]
fn column(group: &[u8; 8], index: usize) -> i32 {
    i32::from(i16::from_le_bytes([group[2 * index], group[2 * index + 1]]))
}

/// Two rows of weights with two columns: `[row 0 column 0, row 0 column 1, row 1 column 0, row 1 column 1]`, added to `acc`.
#[inline(always)]
pub fn two_by_two(rows: [&[u8]; 2], columns: [&[u8]; 2], mut acc: [i32; 4]) -> [i32; 4] {
    let weights = rows[0].as_chunks::<4>().0.iter().zip(rows[1].as_chunks::<4>().0);
    let values = columns[0].as_chunks::<8>().0.iter().zip(columns[1].as_chunks::<8>().0);
    for ((w0, w1), (x0, x1)) in weights.zip(values) {
        for i in 0..4 {
            let (a, b, x, y) = (weight(w0, i), weight(w1, i), column(x0, i), column(x1, i));
            acc[0] += a * x;
            acc[1] += a * y;
            acc[2] += b * x;
            acc[3] += b * y;
        }
    }
    acc
}

/// Four rows of weights with one column.
#[inline(always)]
pub fn four_by_one(rows: [&[u8]; 4], values: &[u8], mut acc: [i32; 4]) -> [i32; 4] {
    let first = rows[0].as_chunks::<4>().0.iter().zip(rows[1].as_chunks::<4>().0);
    let second = rows[2].as_chunks::<4>().0.iter().zip(rows[3].as_chunks::<4>().0);
    for (((w0, w1), (w2, w3)), x) in first.zip(second).zip(values.as_chunks::<8>().0) {
        for i in 0..4 {
            let x = column(x, i);
            acc[0] += weight(w0, i) * x;
            acc[1] += weight(w1, i) * x;
            acc[2] += weight(w2, i) * x;
            acc[3] += weight(w3, i) * x;
        }
    }
    acc
}

/// Widens values to 16 bit.
#[inline(always)]
pub fn widen(values: &[u8], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut::<2>().0) {
        *out = i16::from(*value as i8).to_le_bytes();
    }
}

/// Four channels over all taps: weights are `[taps][4]`, each tap has four values.
#[inline(always)]
pub fn four_lanes(weights: &[[u8; 4]], taps: impl Iterator<Item = [u8; 4]>, mut acc: [i32; 4]) -> [i32; 4] {
    for (w, x) in weights.iter().zip(taps) {
        for lane in 0..4 {
            acc[lane] += i32::from(w[lane] as i8) * i32::from(x[lane] as i8);
        }
    }
    acc
}
