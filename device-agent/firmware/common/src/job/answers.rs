//! The accuracy pass: every answer to every sample.

use super::{At, Halt, PIECE, Step, Working};
use crate::Hardware;
use crate::engine::{EDGE_RANK_MAX, Engine, Loaded};
use crate::events::{Events, Full};
use boardproof_protocol::{Ended, Event, Key, Output, Phase, RANK_MAX, Stream};

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
        if index < loaded.outputs() {
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

    pub(super) fn sample(&mut self, done: u64) -> Step {
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
