//! What models need of memory: `arena FOLDER MODEL.onnx...`. Writes a line for each to standard output, with tabs between name, bytes of the
//! arena, the most that live at once, and bytes of the model; and what was compiled into the folder, as `MODEL-VARIANT.micro`. How many could
//! not be compiled is told on standard error.

use boardproof_compile::{Edges, compile};
use boardproof_micro::Model;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, files @ ..] = &words[..] else { return Err("usage: arena FOLDER MODEL.onnx...".into()) };
    let mut refused = 0;
    for file in files.iter().map(Path::new) {
        let parts = [file.parent().and_then(Path::file_name), file.file_stem()];
        let [model, variant] = parts.map(|part| part.unwrap_or_default().to_string_lossy().into_owned());
        let Ok(made) = compile(&std::fs::read(file)?, Edges::HostQuantizes) else {
            refused += 1;
            continue;
        };
        let checked = Model::check(&made.bytes)?;
        // Worked out from the model itself, not by the code that has placed its tensors.
        let (arena, least) = (checked.arena_bytes(), checked.arena_bytes_min());
        println!("{model}/{variant}\t{arena}\t{least}\t{}", made.bytes.len());
        std::fs::write(Path::new(folder).join(format!("{model}-{variant}.micro")), &made.bytes)?;
    }
    eprintln!("{refused} of {} models are none for a microcontroller", files.len());
    Ok(())
}
