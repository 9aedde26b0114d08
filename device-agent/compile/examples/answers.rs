//! Runs a model as a microcontroller would: `answers MODEL.onnx NUMBERS`, where NUMBERS holds the samples' inputs as f32. Writes the
//! outputs as f32 to standard output.

use boardproof_compile::{Edges, compile};
use boardproof_micro::{Dtype, Model, dequantize, quantize};
use std::error::Error;
use std::io::Write;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [model, numbers] = &words[..] else { return Err("usage: answers MODEL.onnx NUMBERS".into()) };
    let made = compile(&std::fs::read(model)?, Edges::HostQuantizes)?;
    let model = Model::check(&made.bytes)?;
    let bytes = std::fs::read(numbers)?;
    let (input, output) = (model.input(0), model.output(0));
    let mut arena = vec![0; model.arena_bytes()];
    for sample in bytes.as_chunks::<4>().0.chunks_exact(input.elements()) {
        for (value, number) in arena[input.range()].iter_mut().zip(sample) {
            *value = quantize(f32::from_le_bytes(*number), input.scale, input.zero_point) as u8;
        }
        model.run(&mut arena)?;
        let answer = &arena[output.range()];
        let out: Vec<u8> = match output.dtype {
            Dtype::F32 => answer.to_vec(),
            Dtype::I8 => answer
                .iter()
                .flat_map(|q| dequantize(*q as i8, output.scale, output.zero_point).to_le_bytes())
                .collect(),
        };
        std::io::stdout().write_all(&out)?;
    }
    Ok(())
}
