//! Operators that move values and change none.

/// Elements that one step along each dimension skips.
fn steps(dims: [usize; 4]) -> [usize; 4] {
    [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1]
}

/// Copies elements of all positions in `dims`: from and to the offsets that the steps along each dimension lead to.
#[inline(never)]
fn copy(dims: [usize; 4], (input, steps_in): (&[u8], [usize; 4]), (output, steps_out): (&mut [u8], [usize; 4])) {
    let offset = |at: [usize; 4], steps: [usize; 4]| at.iter().zip(steps).map(|(at, step)| at * step).sum::<usize>();
    for a in 0..dims[0] {
        for b in 0..dims[1] {
            for c in 0..dims[2] {
                let (from, to) = (offset([a, b, c, 0], steps_in), offset([a, b, c, 0], steps_out));
                for d in 0..dims[3] {
                    if let (Some(value), Some(output)) =
                        (input.get(from + d * steps_in[3]), output.get_mut(to + d * steps_out[3]))
                    {
                        *output = *value;
                    }
                }
            }
        }
    }
}

/// Dimension `i` of the output is dimension `from[i]` of the input.
pub fn transpose(from: [usize; 4], (dims_in, input): ([usize; 4], &[u8]), dims_out: [usize; 4], output: &mut [u8]) {
    let steps_in = steps(dims_in);
    copy(dims_out, (input, from.map(|dimension| steps_in[dimension & 3])), (output, steps(dims_out)));
}

/// Puts the input into the output, so many elements from the start of each dimension; the rest becomes `zero`.
pub fn pad(
    before: [usize; 4],
    zero: u8,
    (dims_in, input): ([usize; 4], &[u8]),
    dims_out: [usize; 4],
    output: &mut [u8],
) {
    output.fill(zero);
    let steps_out = steps(dims_out);
    let first = before.iter().zip(steps_out).map(|(before, step)| before * step).sum();
    let output = output.get_mut(first..).unwrap_or_default();
    copy(dims_in, (input, steps(dims_in)), (output, steps_out));
}

/// One behind the other along a dimension. `block` is how many elements of each input stand together.
pub fn concat(blocks: [usize; 2], inputs: [&[u8]; 2], output: &mut [u8]) {
    let first = inputs[0].chunks(blocks[0].max(1));
    let second = inputs[1].chunks(blocks[1].max(1));
    for ((output, one), two) in output.chunks_mut((blocks[0] + blocks[1]).max(1)).zip(first).zip(second) {
        for (output, value) in output.iter_mut().zip(one.iter().chain(two)) {
            *output = *value;
        }
    }
}
