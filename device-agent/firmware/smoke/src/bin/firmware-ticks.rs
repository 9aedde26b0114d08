//! How long inferences take, board by board: `firmware-ticks MODEL BOARDS`. Starts so many boards of QEMU, one after the other, each with the
//! firmware for `mps2-an386`, the same model and the same input; writes a line for each to standard output: the ticks of each of its inferences.
//! A tick is 40 ns of the emulated clock, and an instruction 32 ns.

use boardproof_firmware_smoke::{Board, build};
use boardproof_protocol::{Acquire, Digest, Ended, Event, Pass, Reply, Request, Run, Stream};
use std::error::Error;
use std::path::Path;

const EPOCH: u64 = 1;
const INFERENCES: u32 = 5;
/// More than any model takes here. What is not of the sample is not read.
const INPUT_BYTES_MAX: usize = 16 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [model, boards] = &words[..] else { return Err("usage: firmware-ticks MODEL BOARDS".into()) };
    let (model, boards) = (std::fs::read(model)?, boards.parse::<u32>()?);
    let firmware = build("mps2-an386", "thumbv7em-none-eabihf", "");
    for _ in 0..boards {
        let ticks = ticks(&firmware, &model)?;
        println!("{}", ticks.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
    }
    Ok(())
}

/// Of a board that was just started.
fn ticks(firmware: &Path, model: &[u8]) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut board = Board::start("mps2-an386", firmware);
    let is_greeted = board.greet(|reply| matches!(reply, Reply::Hello(_)));
    let wish = Acquire { epoch: EPOCH, holder: "ticks", ttl_ms: 600_000 };
    if !is_greeted || !board.one(&Request::Acquire(wish), |reply| matches!(reply, Reply::Leased { .. })) {
        return Err("the board gives no lease".into());
    }
    let sample: Vec<u8> = (0..INPUT_BYTES_MAX).map(|i| (i * 37 % 251) as u8).collect();
    let (model, evalset) = (board.upload(EPOCH, model), board.upload(EPOCH, &sample));
    let accepted = board.one(&Request::Run(order(model, evalset)), |reply| match reply {
        Reply::Accepted { .. } => Ok(()),
        other => Err(format!("expected that the board takes the job, got {other:?}")),
    });
    accepted?;
    let (mut ticks, mut end) = (Vec::new(), None);
    board.events(1, &mut |event| match event {
        Event::Data { stream: Stream::Ticks, bytes, .. } => {
            ticks.extend(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
        }
        Event::Ended(ended) => end = Some(ended),
        _ => {}
    });
    if end != Some(Ended::Completed) {
        return Err(format!("expected a job that is completed, got {end:?}").into());
    }
    Ok(ticks)
}

fn order<'a>(model: Digest, evalset: Digest) -> Run<'a> {
    Run {
        epoch: EPOCH,
        job: 1,
        runner: Digest([0; 32]),
        model,
        evalset,
        engine: "micro",
        pass: Pass::Latency,
        batch: 1,
        first: 0,
        count: 1,
        warmup: 1,
        iterations: INFERENCES,
        deadline_ms: 60_000,
        memory_limit_bytes: 0,
        options: "",
    }
}
