//! Did the runner deliver what its pass promises? A process that ends well half-way must not count as completed.

use boardproof_protocol::{Dtype, Event, Key, Output, Pass, Stream};

/// One announced output and how much of it came.
#[derive(Debug)]
struct Promise {
    index: u16,
    bytes: u64,
    came: u64,
}

/// What has come so far.
#[derive(Debug)]
pub struct Watch {
    pass: Pass,
    ticks_bytes: u64,
    ticks_came: u64,
    outputs: Vec<Promise>,
    self_checked: bool,
    peak_told: bool,
    cannot_run: bool,
    rss_told: bool,
    fault: Option<String>,
}

impl Watch {
    /// Expects what this pass delivers; a latency pass one u64 of ticks per measured inference, up to so many.
    pub fn new(pass: Pass, iterations: u32) -> Self {
        Self {
            pass,
            ticks_bytes: u64::from(iterations) * 8,
            ticks_came: 0,
            outputs: Vec::new(),
            self_checked: false,
            peak_told: false,
            cannot_run: false,
            rss_told: false,
            fault: None,
        }
    }

    /// Takes note of an event.
    pub fn see(&mut self, event: &Event<'_>) {
        match event {
            Event::Output(output) => self.outputs.push(promise(output)),
            Event::Data { stream, offset, bytes } => self.see_data(*stream, *offset, bytes.len() as u64),
            Event::SelfCheck(_) => self.self_checked = true,
            Event::CannotRun(_) => self.cannot_run = true,
            Event::Number { key, .. } | Event::Missing { key, .. } => {
                self.peak_told |= matches!(key, Key::AllocPeakBytes | Key::RssPeakBytes);
                self.rss_told |= *key == Key::RssPeakBytes;
            }
            Event::Phase(_) | Event::Text { .. } | Event::Operator(_) | Event::Progress { .. } | Event::Ended(_) => {}
        }
    }

    fn see_data(&mut self, stream: Stream, offset: u64, length: u64) {
        let came = match stream {
            Stream::Ticks => &mut self.ticks_came,
            Stream::Output(index) => match self.outputs.iter_mut().find(|o| o.index == index) {
                Some(output) => &mut output.came,
                None => {
                    self.fault
                        .get_or_insert_with(|| format!("it sent bytes of output {index}, which it did not announce"));
                    return;
                }
            },
        };
        if offset != *came {
            let text = format!("its stream {stream:?} has a gap: expected offset {came}, got {offset}");
            self.fault.get_or_insert(text);
        }
        *came = came.saturating_add(length);
    }

    /// Did the engine give the model up?
    pub fn cannot_run(&self) -> bool {
        self.cannot_run
    }

    /// Did the runner report its largest resident set itself?
    pub fn rss_told(&self) -> bool {
        self.rss_told
    }

    /// What is missing for the pass to be complete; `None` when nothing is.
    pub fn lacking(&self) -> Option<String> {
        if let Some(fault) = &self.fault {
            return Some(fault.clone());
        }
        if self.cannot_run {
            return None;
        }
        match self.pass {
            Pass::Inspect => (!self.self_checked).then(|| "it ended without a self-check".into()),
            Pass::Memory => (!self.peak_told).then(|| "it ended without a memory peak".into()),
            Pass::Latency => {
                // It may end early where it takes long; the host knows how early.
                let (most, got) = (self.ticks_bytes, self.ticks_came);
                let fits = 0 < got && got <= most && got % 8 == 0;
                (!fits).then(|| format!("it ended with {got} bytes of ticks, expected up to {most}"))
            }
            Pass::Accuracy if self.outputs.is_empty() => Some("it ended without an output".into()),
            Pass::Accuracy => self
                .outputs
                .iter()
                .find(|o| o.came != o.bytes)
                .map(|o| format!("it ended with {} bytes of output {}, expected {}", o.came, o.index, o.bytes)),
        }
    }
}

fn promise(output: &Output<'_>) -> Promise {
    let used = output.dims.iter().take(usize::from(output.rank));
    // A product that does not fit can never be delivered, and that is what the result says.
    let bytes = used.fold(size(output.dtype), |bytes, dim| bytes.saturating_mul(*dim));
    Promise { index: output.index, bytes, came: 0 }
}

/// Bytes of one element.
fn size(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
        Dtype::F16 | Dtype::Bf16 | Dtype::I16 | Dtype::U16 => 2,
        Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
        Dtype::F64 | Dtype::I64 | Dtype::U64 => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(rank: u8, dims: [u64; 8]) -> Event<'static> {
        Event::Output(Output { index: 0, name: "y", dtype: Dtype::F32, rank, dims })
    }

    fn bytes(offset: u64, bytes: &[u8]) -> Event<'_> {
        Event::Data { stream: Stream::Output(0), offset, bytes }
    }

    fn lacking(pass: Pass, events: &[Event<'_>]) -> Option<String> {
        let mut watch = Watch::new(pass, 2);
        events.iter().for_each(|e| watch.see(e));
        watch.lacking()
    }

    #[test]
    fn every_pass_that_delivered_nothing_lacks_something() {
        for pass in [Pass::Inspect, Pass::Accuracy, Pass::Latency, Pass::Memory] {
            assert!(lacking(pass, &[]).is_some(), "{pass:?}");
        }
    }

    #[test]
    fn outputs_must_be_whole_and_without_gaps() {
        let announced = output(2, [2, 3, 9, 0, 0, 0, 0, 0]);
        assert_eq!(lacking(Pass::Accuracy, &[announced, bytes(0, &[0; 20]), bytes(20, &[0; 4])]), None);
        assert!(lacking(Pass::Accuracy, &[announced, bytes(0, &[0; 20])]).unwrap().contains("20 bytes"));
        assert!(lacking(Pass::Accuracy, &[announced, bytes(4, &[0; 24])]).unwrap().contains("gap"));
        assert!(lacking(Pass::Accuracy, &[bytes(0, &[0; 24])]).unwrap().contains("not announce"));
        assert!(lacking(Pass::Accuracy, &[output(8, [u64::MAX; 8])]).is_some());
    }

    #[test]
    fn ticks_are_whole_and_no_more_than_inferences() {
        let ticks = |bytes| Event::Data { stream: Stream::Ticks, offset: 0, bytes };
        for some in [&[0; 16][..], &[0; 8]] {
            assert_eq!(lacking(Pass::Latency, &[ticks(some)]), None);
        }
        for wrong in [&[0; 24][..], &[0; 12], &[]] {
            assert!(lacking(Pass::Latency, &[ticks(wrong)]).is_some(), "{} bytes", wrong.len());
        }
    }
}
