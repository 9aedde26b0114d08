//! Operators that move values and change none.

/// Elements that one step along each dimension skips.
fn steps(dims: [usize; 4]) -> [usize; 4] {
    [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1]
}

/// Calls with the position in each dimension, the last one fastest.
fn each(dims: [usize; 4], mut act: impl FnMut([usize; 4])) {
    for a in 0..dims[0] {
        for b in 0..dims[1] {
            for c in 0..dims[2] {
                for d in 0..dims[3] {
                    act([a, b, c, d]);
                }
            }
        }
    }
}

fn offset(at: [usize; 4], steps: [usize; 4]) -> usize {
    at.iter().zip(steps).map(|(at, step)| at * step).sum()
}

/// Dimension `i` of the output is dimension `from[i]` of the input.
pub fn transpose(from: [usize; 4], (dims_in, input): ([usize; 4], &[u8]), dims_out: [usize; 4], output: &mut [u8]) {
    let steps = steps(dims_in);
    let by_output = from.map(|dimension| steps[dimension & 3]);
    let mut outputs = output.iter_mut();
    each(dims_out, |at| {
        if let (Some(output), Some(value)) = (outputs.next(), input.get(offset(at, by_output))) {
            *output = *value;
        }
    });
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
    let mut inputs = input.iter();
    each(dims_in, |at| {
        let there = core::array::from_fn(|i| at[i] + before[i]);
        if let (Some(value), Some(output)) = (inputs.next(), output.get_mut(offset(there, steps_out))) {
            *output = *value;
        }
    });
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
