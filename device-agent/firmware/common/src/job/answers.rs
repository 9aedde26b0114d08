//! The accuracy pass: every answer to every sample.

use super::{At, Halt, PIECE, Step, Working};
use crate::Hardware;
use crate::engine::{EDGE_RANK_MAX, Engine, Loaded};
use crate::events::{Events, Full};
use boardproof_micro::SKETCH_BYTES;
use boardproof_protocol::{Dtype, Ended, Event, Key, Output, Phase, RANK_MAX, Stage, Stream};

/// Name of the output that sketches are.
const SKETCH: &str = "sketch";
const _: () = assert!(PIECE.is_multiple_of(SKETCH_BYTES));

/// Bytes of a stream that wait for more of it: an event costs the line more than an answer of ten bytes.
pub(super) struct Kept {
    stream: Stream,
    offset: u64,
    bytes: [u8; PIECE],
    filled: usize,
}

impl Kept {
    pub(super) const fn new() -> Self {
        Self { stream: Stream::Ticks, offset: 0, bytes: [0; PIECE], filled: 0 }
    }

    /// Takes bytes that belong at this offset of a stream, as many as fit. What waits of another stream leaves.
    pub(super) fn take(
        &mut self,
        stream: Stream,
        offset: u64,
        bytes: &[u8],
        events: &mut Events<'_>,
    ) -> Result<usize, Full> {
        if stream != self.stream || self.filled == PIECE {
            self.flush(events)?;
        }
        if self.filled == 0 {
            (self.stream, self.offset) = (stream, offset);
        }
        let taken = bytes.len().min(PIECE - self.filled);
        self.bytes[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        Ok(taken)
    }

    /// Tells what waits.
    pub(super) fn flush(&mut self, events: &mut Events<'_>) -> Result<(), Full> {
        if self.filled > 0 {
            let (stream, offset, bytes) = (self.stream, self.offset, &self.bytes[..self.filled]);
            events.push(&Event::Data { stream, offset, bytes })?;
            self.filled = 0;
        }
        Ok(())
    }
}

impl<H: Hardware, E: Engine> Working<'_, '_, '_, H, E> {
    /// Says what outputs will come.
    pub(super) fn announce(&mut self, index: usize) -> Step {
        let Some(loaded) = &self.job.loaded else { return Err(Halt::Over(Ended::NotStarted)) };
        if self.job.order.sketch.is_some() && index == 0 {
            return self.announce_sketches();
        }
        if self.job.order.sketch.is_none() && index < loaded.outputs() {
            let edge = loaded.output(index);
            let rank = edge.rank.min(EDGE_RANK_MAX);
            let mut dims = [0; RANK_MAX];
            dims[0] = self.job.order.count;
            dims[1..].iter_mut().zip(&edge.dims[..rank]).for_each(|(to, from)| *to = u64::from(*from));
            let (name, dtype, rank) = (edge.name, edge.dtype, rank as u8 + 1);
            self.events.push(&Event::Output(Output { index: index as u16, name, dtype, rank, dims }))?;
            self.job.at = At::Announce(index + 1);
            return Ok(());
        }
        self.events.push(&Event::Phase(Phase::Measuring))?;
        self.job.measuring = self.hardware.now();
        self.job.at = At::Sample(0);
        Ok(())
    }

    /// In the place of all outputs one: of every sample a line of bytes per layer.
    fn announce_sketches(&mut self) -> Step {
        let layers = self.job.loaded.as_ref().map_or(0, Loaded::layers);
        if layers == 0 {
            return Err(self.cannot_run(Stage::Prepare, "this engine shows no layers"));
        }
        let dims = [self.job.order.count, layers as u64, SKETCH_BYTES as u64, 0, 0, 0, 0, 0];
        self.events.push(&Event::Output(Output { index: 0, name: SKETCH, dtype: Dtype::U8, rank: 3, dims }))?;
        self.job.at = At::Announce(1);
        Ok(())
    }

    /// Runs one layer of a sample and takes its sketch.
    pub(super) fn layer(&mut self, sample: u64, layer: usize) -> Step {
        let (Some(loaded), Some(seed)) = (&mut self.job.loaded, self.job.order.sketch) else {
            return Err(Halt::Over(Ended::NotStarted));
        };
        let layers = loaded.layers();
        if layer == layers {
            self.progress(sample + 1, self.job.order.count)?;
            self.job.at = At::Sample(sample + 1);
            return Ok(());
        }
        let needed = loaded.arena_bytes();
        let Some(arena) = self.arena.get_mut(..needed) else { return Err(Halt::Over(Ended::NotStarted)) };
        let sketch = match loaded.run_layer(arena, layer, seed) {
            Ok(sketch) => sketch,
            Err(failed) => return Err(self.cannot_run(Stage::Run, failed.reason.as_str())),
        };
        let offset = (sample * layers as u64 + layer as u64) * SKETCH_BYTES as u64;
        // Pieces hold whole sketches: it is taken at once or not at all.
        self.job.kept.take(Stream::Output(0), offset, &sketch, self.events)?;
        self.job.at = At::Layer(sample, layer + 1);
        Ok(())
    }

    pub(super) fn sample(&mut self, done: u64) -> Step {
        if done < self.job.order.count && self.job.order.sketch.is_some() {
            self.put(done)?;
            self.job.at = At::Layer(done, 0);
            return Ok(());
        }
        if done < self.job.order.count {
            let ticks = self.infer(done)?;
            if done == 0 {
                let ns = self.ns(ticks);
                self.number(Key::FirstInferenceNs, 0, ns)?;
            }
            self.job.at = At::Answer(done, 0, 0);
            return Ok(());
        }
        self.job.kept.flush(self.events)?;
        let took = self.hardware.now().saturating_sub(self.job.measuring);
        let ns = self.ns(took);
        self.number(Key::MeasuredWallNs, 0, ns)?;
        self.job.at = At::Finish;
        Ok(())
    }

    /// Takes a piece of an answer out of the arena; the arena is not touched before all of it is told.
    pub(super) fn answer(&mut self, sample: u64, output: usize, from: usize) -> Step {
        let Some(loaded) = &self.job.loaded else { return Err(Halt::Over(Ended::NotStarted)) };
        if output == loaded.outputs() {
            self.progress(sample + 1, self.job.order.count)?;
            self.job.at = At::Sample(sample + 1);
            return Ok(());
        }
        let bytes = self.arena.get(loaded.output(output).place).unwrap_or_default();
        let offset = sample * bytes.len() as u64 + from as u64;
        let stream = Stream::Output(output as u16);
        let taken = self.job.kept.take(stream, offset, &bytes[from..], self.events)?;
        let (from, end) = (from + taken, bytes.len());
        self.job.at = if from < end { At::Answer(sample, output, from) } else { At::Answer(sample, output + 1, 0) };
        Ok(())
    }
}
