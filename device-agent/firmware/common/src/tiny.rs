//! The same board for runners that speak MLPerf Tiny: a model that was uploaded before, samples and commands as text on the same line.

use crate::engine::{Engine, Loaded};
use crate::store::Store;
use crate::{Agent, Hardware};
use boardproof_protocol::Dtype;
use boardproof_tiny::{BUFFER_MAX, Detector, Dut, Heard, Tiny};

/// Silence that ends a frame: longer than any pause inside of one.
const PAUSE_MS: u64 = 20;
/// A sample may have this part of the store, if that is less than the largest sample of the benchmark.
const SHARE: usize = 4;

/// Bytes at the end of the store that belong to the text's sample.
pub fn sample_bytes(store: usize) -> usize {
    BUFFER_MAX.min(store / SHARE)
}

/// Hears text between frames.
#[derive(Debug)]
pub struct Text {
    detector: Detector,
    tiny: Tiny,
    heard: u64,
}

impl Text {
    /// Nothing heard yet.
    pub const fn new() -> Self {
        Self { detector: Detector::new(), tiny: Tiny::new(), heard: 0 }
    }

    /// Hears a byte; a command that it completes is answered at once.
    pub fn push<H: Hardware, E: Engine>(
        &mut self,
        byte: u8,
        agent: &mut Agent<'_, H, E>,
        send: &mut dyn FnMut(&[u8]),
    ) -> bool {
        let hardware = agent.hardware();
        let (now, hz) = (hardware.now(), hardware.hz());
        if now.saturating_sub(self.heard).saturating_mul(1000) >= PAUSE_MS * hz {
            self.detector.pause(&mut self.tiny);
        }
        self.heard = now;
        if self.detector.push(byte, &mut self.tiny) != Heard::Command {
            return false;
        }
        agent.answer_text(&mut self.tiny, send);
        true
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

/// The agent's parts, for one command.
pub struct TextDut<'a, 'm, H, E: Engine> {
    pub hardware: &'a mut H,
    pub engine: &'a mut E,
    pub arena: &'a mut [u8],
    pub store: &'a mut Store<'m>,
    pub sample: &'a mut [u8],
    pub loaded: Option<E::Loaded<'m>>,
    /// The arena holds the answer of an inference of this text.
    pub answered: &'a mut bool,
    /// Our own protocol has a job at work.
    pub busy: bool,
}

impl<H: Hardware, E: Engine> TextDut<'_, '_, H, E> {
    /// The model that was used last: of what is stored, the one that the engine takes.
    fn load_model(&mut self) -> Result<(), &'static str> {
        if self.busy {
            return Err("a job is running");
        }
        for digest in self.store.latest().into_iter().flatten() {
            let Some(bytes) = self.store.blob(digest) else { continue };
            if let Ok(loaded) = self.engine.load(bytes, self.arena) {
                self.loaded = Some(loaded);
                return Ok(());
            }
        }
        Err("no model was uploaded")
    }

    /// Output 0, if there is an answer in the arena.
    fn answer(&self) -> Option<crate::Edge<'_>> {
        let loaded = self.loaded.as_ref().filter(|_| *self.answered)?;
        (loaded.outputs() > 0).then(|| loaded.output(0))
    }

    /// Before `results` is answered: the model of the last inference.
    pub fn recall(&mut self) {
        if *self.answered && self.load_model().is_err() {
            *self.answered = false;
        }
    }
}

impl<H: Hardware, E: Engine> Dut for TextDut<'_, '_, H, E> {
    fn vendor(&self) -> &str {
        "boardproof"
    }

    fn model(&self) -> &str {
        "uploaded"
    }

    fn buffer(&mut self) -> &mut [u8] {
        self.sample
    }

    fn load(&mut self, bytes: usize) -> Result<(), &'static str> {
        *self.answered = false;
        self.load_model()?;
        let Some(loaded) = &self.loaded else { return Err("no model was uploaded") };
        if bytes != loaded.sample_bytes() {
            return Err("the sample is not as long as the model's inputs");
        }
        let mut rest = self.sample.get(..bytes).ok_or("the sample has no room")?;
        for index in 0..loaded.inputs() {
            let room = self.arena.get_mut(loaded.input(index).place).unwrap_or_default();
            let (now, more) = rest.split_at(room.len().min(rest.len()));
            room[..now.len()].copy_from_slice(now);
            rest = more;
        }
        Ok(())
    }

    fn infer(&mut self) -> Result<(), &'static str> {
        self.hardware.alive();
        let Some(loaded) = &mut self.loaded else { return Err("no sample was loaded") };
        let needed = loaded.arena_bytes();
        let arena = self.arena.get_mut(..needed).ok_or("the model needs more room than there is")?;
        loaded.run(arena).map_err(|_| "the engine gave up")?;
        *self.answered = true;
        Ok(())
    }

    fn outputs(&self) -> usize {
        self.answer().map_or(0, |edge| edge.place.len() / if edge.dtype == Dtype::F32 { 4 } else { 1 })
    }

    fn output(&self, index: usize) -> f32 {
        let Some(edge) = self.answer() else { return f32::NAN };
        let bytes = self.arena.get(edge.place).unwrap_or_default();
        match edge.dtype {
            Dtype::F32 => bytes.as_chunks().0.get(index).map_or(f32::NAN, |number| f32::from_le_bytes(*number)),
            _ => {
                bytes.get(index).map_or(f32::NAN, |byte| (i32::from(*byte as i8) - edge.zero_point) as f32 * edge.scale)
            }
        }
    }

    fn now_us(&mut self) -> u32 {
        let (now, hz) = (self.hardware.now(), self.hardware.hz().max(1));
        // Wraps as the protocol says.
        (now / hz * 1_000_000 + now % hz * 1_000_000 / hz) as u32
    }
}
