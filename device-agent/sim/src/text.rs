//! A simulated firmware that speaks MLPerf Tiny, by the very code with which ours does.

use crate::{InsideError, Network};
use boardproof_tiny::{BUFFER_MAX, Dut, Tiny};
use std::time::Instant;

/// A firmware with a network inside. Its clock is this machine's, so a window holds what asking the network takes, too.
pub struct TextDevice<N> {
    tiny: Tiny,
    board: Board<N>,
}

impl<N: Network> TextDevice<N> {
    /// A firmware that was just switched on and calls its model so. A run of inferences is given up when `interrupted`.
    pub fn new(network: N, model: &str, interrupted: fn() -> bool) -> Self {
        let room = BUFFER_MAX.max(network.model().sample_bytes());
        let board = Board {
            network,
            // It would end the answer.
            model: model.replace(']', ""),
            buffer: vec![0; room],
            sample: 0,
            answer: Vec::new(),
            since: Instant::now(),
            broken: None,
            interrupted,
        };
        Self { tiny: Tiny::new(), board }
    }

    /// What the network is like.
    pub fn network(&self) -> &N {
        &self.board.network
    }

    /// Hears bytes and answers the commands that they complete.
    ///
    /// # Errors
    /// The network is gone: whoever asked was told so, and will not be answered any more.
    pub fn hear(&mut self, bytes: &[u8], say: &mut impl FnMut(&[u8])) -> Result<(), InsideError> {
        bytes.iter().for_each(|byte| self.tiny.push(*byte, &mut self.board, say));
        self.board.broken.take().map_or(Ok(()), Err)
    }
}

struct Board<N> {
    network: N,
    model: String,
    buffer: Vec<u8>,
    /// Bytes of the sample that was loaded.
    sample: usize,
    /// Bytes of the last inference's outputs; none after one that failed.
    answer: Vec<u8>,
    since: Instant,
    broken: Option<InsideError>,
    interrupted: fn() -> bool,
}

impl<N: Network> Dut for Board<N> {
    fn vendor(&self) -> &str {
        "boardproof"
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn load(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.answer.clear();
        self.sample = bytes;
        if bytes != self.network.model().sample_bytes() {
            return Err("the sample is not as long as the model's inputs");
        }
        Ok(())
    }

    fn infer(&mut self) -> Result<(), &'static str> {
        self.answer.clear();
        if (self.interrupted)() {
            return Err("the simulator was interrupted");
        }
        let done = self.network.infer(&self.buffer[..self.sample], &mut self.answer);
        done.map(drop).map_err(|error| {
            self.answer.clear();
            self.broken = Some(error);
            "the engine is gone"
        })
    }

    fn outputs(&self) -> usize {
        if self.answer.is_empty() { 0 } else { self.network.model().outputs.first().map_or(0, |edge| edge.elements()) }
    }

    fn output(&self, index: usize) -> f32 {
        self.network.model().outputs.first().map_or(f32::NAN, |edge| edge.number(&self.answer, index))
    }

    fn now_us(&mut self) -> u32 {
        // Wraps as the protocol says.
        self.since.elapsed().as_micros() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Edge, InsideModel};
    use std::time::Duration;

    /// Two values in, their sum out; the third inference breaks down.
    struct Sum {
        model: InsideModel,
        inferences: u32,
    }

    impl Sum {
        fn new() -> Self {
            let edge = |bytes: usize, scale| Edge {
                name: "x".into(),
                dtype: "I8".into(),
                dims: vec![bytes as u32],
                scale,
                zero_point: 1,
                bytes,
            };
            let (inputs, outputs) = (vec![edge(2, 1.0)], vec![edge(1, 0.25)]);
            Self { model: InsideModel { inputs, outputs, macs: 2, operators: 1, arena_bytes: 3 }, inferences: 0 }
        }
    }

    impl Network for Sum {
        fn model(&self) -> &InsideModel {
            &self.model
        }

        fn infer(&mut self, sample: &[u8], answer: &mut Vec<u8>) -> Result<Duration, InsideError> {
            self.inferences += 1;
            if self.inferences == 3 {
                return Err(InsideError::Ended { status: "signal 9".into(), words: "killed".into() });
            }
            answer.push(sample[0].wrapping_add(sample[1]));
            Ok(Duration::from_micros(1))
        }
    }

    #[test]
    fn answers_are_those_of_the_network_and_a_network_that_is_gone_has_none() {
        let mut device = TextDevice::new(Sum::new(), "a]b", || false);
        let mut said = |command: &str| {
            let mut said = Vec::new();
            let heard = device.hear(command.as_bytes(), &mut |bytes| said.extend_from_slice(bytes));
            (String::from_utf8(said).unwrap(), heard.err().map(|error| error.to_string()))
        };
        assert!(said("profile%").0.contains("m-model-[ab]\r\n"));
        assert_eq!(said("db load 2%db 0af0%").0, "m-[Expecting 2 bytes]\r\nm-ready\r\nm-load-done\r\nm-ready\r\n");
        // 10 - 16 - 1, by a quarter.
        let (answer, error) = said("infer 2 0%");
        assert!(answer.ends_with("m-infer-done\r\nm-results-[-1.750]\r\nm-ready\r\n") && error.is_none(), "{answer}");
        assert_eq!(said("results%").0, "m-results-[-1.750]\r\nm-ready\r\n");
        let (answer, error) = said("infer 1 0%");
        assert!(answer.contains("e-[the engine is gone]\r\n") && !answer.contains("results"), "{answer}");
        assert_eq!(error.as_deref(), Some("the runner ended (signal 9): killed"));
        assert_eq!(said("results%"), ("m-results-[]\r\nm-ready\r\n".into(), None));
    }

    #[test]
    fn an_interruption_ends_many_inferences() {
        let mut device = TextDevice::new(Sum::new(), "sum", || true);
        let mut said = Vec::new();
        let heard = device.hear(b"db load 2%db 0102%infer 4000000000 0%", &mut |bytes| said.extend_from_slice(bytes));
        assert!(heard.is_ok() && String::from_utf8(said).unwrap().contains("e-[the simulator was interrupted]\r\n"));
        assert_eq!(device.network().inferences, 0);
    }
}
