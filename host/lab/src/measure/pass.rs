//! One pass: ask for it, pull its events, put its streams into files of the record.

use super::counted::{self, Counted};
use super::window::Window;
use super::{BenchError, Job, Part, facts};
use crate::events::{Event, Events};
use crate::held::Held;
use crate::link::Link;
use crate::link::client::{Client, ClientError, Slow};
use crate::store::RecordFolder;
use boardproof_protocol as wire;
use boardproof_protocol::{Reply, Request, Run, Stream};
use boardproof_record::CellId;
use boardproof_record::observation::{Ended, Facts, FileRef, Operator, PassObservation, SelfCheck};
use boardproof_record::plan::{Pass, PassPlan};
use safetensors::tensor::TensorView;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// What is asked of the unit.
pub struct Asked<'a> {
    /// The cell's job.
    pub job: &'a Job<'a>,
    /// The pass.
    pub plan: &'a PassPlan,
    /// The samples that are on the unit.
    pub part: &'a Part,
    /// The first of them that is asked for.
    pub first: u64,
    /// How many are.
    pub count: u64,
    /// Wall time after which this is ended.
    pub deadline_ms: u32,
    /// Options of the runner, as JSON.
    pub options: &'a str,
    /// Number of the job on the wire.
    pub number: u32,
    /// Epoch of the lease.
    pub epoch: u64,
    /// Holder of the lease.
    pub holder: &'a str,
    /// How long it is waited for while it says nothing.
    pub slow: Slow<'a>,
}

/// Time beyond a pass's own deadline in which its end must have been told.
const MARGIN: Duration = Duration::from_secs(30);

/// Facts about the unit, as they are now.
pub fn environment<L: Link>(client: &mut Client<L>, job: u32) -> Result<Facts, BenchError> {
    client.ask("ask for the environment", &Request::Environment { job }, accepted)?;
    let mut found = Facts::default();
    let take = |event: &wire::Event<'_>| {
        facts::add(&mut found, event);
        Ok(())
    };
    client.pull(job, Instant::now() + MARGIN, take, |_| Ok(()))?;
    Ok(found)
}

/// Runs a pass and returns what came back.
pub fn run<L: Link>(
    client: &mut Client<L>,
    asked: &Asked<'_>,
    folder: &RecordFolder,
    events: &mut dyn Events,
) -> Result<PassObservation, BenchError> {
    gather(client, asked, events)?.finish(&asked.job.cell.id, asked.plan, folder)
}

/// Runs a pass over the samples of a part.
pub(super) fn gather<L: Link>(
    client: &mut Client<L>,
    asked: &Asked<'_>,
    events: &mut dyn Events,
) -> Result<Seen, BenchError> {
    let plan = asked.plan;
    let mut window = Window::open();
    client.ask("start a pass", &Request::Run(request(asked)), accepted)?;
    let mut seen = Seen::of(asked);
    let nothing_new = Cell::new(None);
    let began = Instant::now();
    let deadline = began + Duration::from_millis(u64::from(asked.deadline_ms)) + MARGIN;
    let mut held = Held::new(asked.epoch, asked.holder);
    let listener = RefCell::new(events);
    let pulled = client.pull_from_a_slow_unit(
        asked.number,
        deadline,
        asked.slow,
        |event| {
            window.see(event, nothing_new.get(), &mut seen.facts);
            seen.take(asked, event, *listener.borrow_mut())
        },
        |client| {
            nothing_new.set(client.nothing_new());
            listener.borrow_mut().hear(Event::Waited);
            if !held.is_due() || client.is_unanswered() {
                return Ok(());
            }
            match held.renew(client) {
                // A pass that has begun goes on without a lease; what comes next takes it again.
                Err(ClientError::Silent { .. }) if (asked.slow.at_work)() => Ok(()),
                renewed => renewed,
            }
        },
    );
    if matches!(pulled, Err(ClientError::Interrupted)) {
        // The link goes down with the host and takes the runner with it; saying so first is only polite.
        let _ = client.post_next("cancel", &Request::Cancel { job: asked.number });
    }
    pulled?;
    seen.elapsed = began.elapsed();
    // A part of the pass was given what the parts before it have left of the time for all.
    if let Some(Ended::DeadlineExceeded { deadline_ms }) = &mut seen.ended {
        *deadline_ms = (*deadline_ms).max(plan.deadline_ms);
    }
    Ok(seen)
}

/// What is asked, in the words of the wire.
fn request<'a>(asked: &Asked<'a>) -> Run<'a> {
    let plan = asked.plan;
    let digest = |d: boardproof_record::Digest| wire::Digest(d.0);
    Run {
        epoch: asked.epoch,
        job: asked.number,
        runner: asked.job.runner.as_ref().map_or(wire::Digest([0; 32]), |runner| digest(runner.digest)),
        model: digest(asked.job.model.digest),
        evalset: digest(asked.part.blob.digest),
        engine: asked.job.cell.engine.as_str(),
        pass: facts::pass(plan.pass),
        batch: plan.batch,
        first: asked.first,
        count: asked.count,
        warmup: plan.warmup,
        iterations: plan.iterations,
        deadline_ms: asked.deadline_ms,
        memory_limit_bytes: plan.memory_limit_bytes.unwrap_or(0),
        options: asked.options,
    }
}

fn accepted(reply: &Reply<'_>) -> Option<()> {
    matches!(reply, Reply::Accepted { .. }).then_some(())
}

/// An output that was announced.
struct Announced {
    name: String,
    dtype: wire::Dtype,
    shape: Vec<usize>,
}

/// What has come back so far.
#[derive(Default)]
pub(super) struct Seen {
    facts: Facts,
    operators: Vec<Operator>,
    self_check: Option<SelfCheck>,
    cannot_run: Option<boardproof_record::observation::CannotRun>,
    outputs: BTreeMap<u16, Announced>,
    streams: BTreeMap<Stream, Vec<u8>>,
    /// Inferences as the unit has counted them; empty where it does not count.
    counted: Counted,
    ended: Option<Ended>,
    /// Inferences that the runner says are done.
    advanced: u64,
    /// Samples that were asked for.
    samples: u64,
    /// Wall time on this machine.
    elapsed: Duration,
}

impl Seen {
    fn of(asked: &Asked<'_>) -> Self {
        Self { samples: asked.count, ..Self::default() }
    }

    fn take(&mut self, asked: &Asked<'_>, event: &wire::Event<'_>, events: &mut dyn Events) -> Result<(), ClientError> {
        match event {
            wire::Event::Operator(op) => self.operators.push(facts::operator(op)),
            wire::Event::SelfCheck(check) => self.self_check = Some(facts::self_check(check)),
            wire::Event::CannotRun(found) => self.cannot_run = Some(facts::cannot_run(found)),
            wire::Event::Output(output) => {
                let rank = usize::from(output.rank).min(output.dims.len());
                let shape = output.dims[..rank].iter().map(|d| *d as usize).collect();
                self.outputs.insert(output.index, Announced { name: output.name.into(), dtype: output.dtype, shape });
            }
            wire::Event::Data { stream, offset, bytes } => {
                let most = self.bytes_of(*stream, asked.plan);
                let kept = self.streams.entry(*stream).or_default();
                if kept.len() as u64 + bytes.len() as u64 > most {
                    let found = format!("{} bytes of {stream:?} after {} of {most}", bytes.len(), kept.len());
                    let expected = "no more than was announced";
                    return Err(ClientError::Unexpected { action: "follow the job", expected, found });
                }
                if kept.len() as u64 != *offset {
                    let found = format!("a piece of {stream:?} at {offset}, {} bytes are here", kept.len());
                    return Err(ClientError::Unexpected {
                        action: "follow the job",
                        expected: "pieces in order",
                        found,
                    });
                }
                kept.extend_from_slice(bytes);
            }
            wire::Event::Progress { done, total } => {
                self.advanced = self.advanced.max(*done);
                let (pass, before) = (asked.plan.pass, asked.part.first + asked.first);
                let total = if self.samples < asked.plan.samples { asked.plan.samples } else { *total };
                events.hear(Event::PassAdvanced { pass, done: before + *done, total })
            }
            wire::Event::Ended(ended) => self.ended = Some(facts::ended(*ended)),
            wire::Event::Phase(_) => {}
            fact => {
                if let wire::Event::Number { key: wire::Key::TicksHistogram, index, value } = fact {
                    self.counted.insert(*index, *value);
                }
                facts::add(&mut self.facts, fact);
            }
        }
        Ok(())
    }

    /// Length that a stream will have: a unit that says more than it announced must not fill this machine's memory.
    fn bytes_of(&self, stream: Stream, plan: &PassPlan) -> u64 {
        match stream {
            Stream::Ticks => u64::from(plan.iterations) * 8,
            Stream::Output(index) => self.outputs.get(&index).map_or(0, |output| {
                let (_, size) = facts::dtype(output.dtype);
                let samples = output.shape.first().map_or(0, |first| (*first as u64).min(self.samples));
                let rest = output.shape.iter().skip(1);
                rest.fold((size as u64).saturating_mul(samples), |product, extent| {
                    product.saturating_mul(*extent as u64)
                })
            }),
        }
    }

    /// Of an evalset that went in parts, a pass may have seen fewer samples than were planned: the record says how many.
    pub(super) fn tell_samples(&mut self, plan: &PassPlan) {
        if self.samples < plan.samples {
            self.facts.numbers.insert(facts::SAMPLES_SEEN.into(), self.samples);
        }
    }

    /// Were all of these samples answered?
    pub(super) fn is_whole(&self) -> bool {
        self.ended == Some(Ended::Completed) && self.cannot_run.is_none()
    }

    /// Samples that were asked for so far.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// Wall time that it took so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Numbers and texts that came back.
    pub(super) fn into_facts(self) -> Facts {
        self.facts
    }

    /// How it ended, with the last words of the runner.
    pub(super) fn in_words(&self) -> String {
        let ended = self.ended.map_or_else(|| "no end".into(), |ended| format!("{ended:?}"));
        let words = self.facts.texts.get("stderr").and_then(|text| text.trim().lines().next_back());
        words.map_or_else(|| ended.clone(), |words| format!("{ended}: {words}"))
    }

    /// Puts what came back of the next part behind what is here. Facts are those of the first part, times are those of all, and the end
    /// is the last one's.
    pub(super) fn join(&mut self, next: Self) -> Result<(), BenchError> {
        let tail = |of: &Announced| (of.name.clone(), of.dtype, of.shape.get(1..).map(<[usize]>::to_vec));
        if next.is_whole() && !self.outputs.values().map(tail).eq(next.outputs.values().map(tail)) {
            let found = "others than before".to_owned();
            let expected = "the same outputs for every part of the evalset";
            return Err(ClientError::Unexpected { action: "join the outputs", expected, found }.into());
        }
        for (index, output) in next.outputs {
            if let Some(known) = self.outputs.get_mut(&index)
                && let (Some(all), Some(more)) = (known.shape.first_mut(), output.shape.first())
            {
                *all = all.saturating_add(*more);
            }
        }
        for (stream, bytes) in next.streams {
            self.streams.entry(stream).or_default().extend(bytes);
        }
        for name in facts::TIMES {
            if let Some(more) = next.facts.numbers.get(name) {
                let all = self.facts.numbers.entry(name.into()).or_default();
                *all = all.saturating_add(*more);
            }
        }
        self.ended = next.ended;
        self.cannot_run = next.cannot_run;
        self.advanced += next.advanced;
        self.samples += next.samples;
        self.elapsed += next.elapsed;
        Ok(())
    }

    /// What a pass is in the record.
    pub(super) fn finish(
        self,
        cell: &CellId,
        plan: &PassPlan,
        folder: &RecordFolder,
    ) -> Result<PassObservation, BenchError> {
        let incomplete = |found: &str| ClientError::Unexpected {
            action: "follow the job",
            expected: "a whole answer",
            found: found.to_owned(),
        };
        let ended = self.ended.ok_or_else(|| incomplete("no end of the job"))?;
        let ended = if self.cannot_run.is_some() && ended == Ended::Completed { Ended::CannotRun } else { ended };
        let whole = ended == Ended::Completed;
        let pass = plan.pass;
        let outputs = if pass == Pass::Accuracy && whole { Some(self.write_outputs(cell, folder)?) } else { None };
        let ticks = self.streams.get(&Stream::Ticks).filter(|_| pass == Pass::Latency && whole);
        let inferences = match pass {
            Pass::Latency if whole => ticks.map_or(0, |t| t.len() as u64 / 8),
            _ if whole => self.samples,
            // How far it came before it ended otherwise.
            _ => self.advanced,
        };
        if pass == Pass::Latency && whole && !plan.is_whole(inferences) {
            return Err(incomplete(&format!("{inferences} ticks, {} were asked for", plan.iterations)).into());
        }
        let ticks = ticks.map(|bytes| self.write_ticks(bytes, cell, folder)).transpose()?;
        Ok(PassObservation {
            pass,
            ended,
            cannot_run: self.cannot_run,
            facts: self.facts,
            operators: self.operators,
            self_check: self.self_check,
            outputs,
            ticks,
            inferences,
            stopped: None,
        })
    }

    fn write_ticks(&self, ticks: &[u8], cell: &CellId, folder: &RecordFolder) -> Result<FileRef, BenchError> {
        let is_counted = !self.counted.is_empty();
        if let Some(found) = counted::differs(&self.counted, ticks).filter(|_| is_counted) {
            let (action, expected) = ("read the ticks", "as many as the unit has counted");
            return Err(ClientError::Unexpected { action, expected, found }.into());
        }
        write_ticks(ticks, cell, folder)
    }

    fn write_outputs(&self, cell: &CellId, folder: &RecordFolder) -> Result<FileRef, BenchError> {
        Ok(folder.write(cell, "outputs.safetensors", &self.outputs(folder)?)?)
    }

    /// The outputs as a file of the record; an output whose bytes do not fill its shape is a fault and never a shorter answer.
    pub(super) fn outputs(&self, folder: &RecordFolder) -> Result<Vec<u8>, BenchError> {
        let mut tensors = Vec::new();
        let mut names = BTreeMap::new();
        for (index, output) in &self.outputs {
            let bytes = self.streams.get(&Stream::Output(*index)).map(Vec::as_slice).unwrap_or_default();
            let (dtype, size) = facts::dtype(output.dtype);
            // A shape whose size overflows is as long as no answer can be.
            let expected = output.shape.iter().try_fold(size, |product, extent| product.checked_mul(*extent));
            let samples = output.shape.first().copied().unwrap_or(0) as u64;
            if Some(bytes.len()) != expected || samples != self.samples {
                let found = format!("output '{}' of shape {:?} with {} bytes", output.name, output.shape, bytes.len());
                return Err(ClientError::Unexpected {
                    action: "read the outputs",
                    expected: "every sample's answer",
                    found,
                }
                .into());
            }
            let view =
                TensorView::new(dtype, output.shape.clone(), bytes).map_err(|e| folder.damaged("outputs", &e))?;
            tensors.push((format!("output.{index}"), view));
            names.insert(index.to_string(), output.name.clone());
        }
        if tensors.is_empty() {
            let found = "none".into();
            return Err(
                ClientError::Unexpected { action: "read the outputs", expected: "one output or more", found }.into()
            );
        }
        let names = serde_json::to_string(&names).map_err(|e| folder.damaged("outputs", &e))?;
        let metadata = HashMap::from([("names".to_owned(), names)]);
        Ok(safetensors::serialize(tensors, Some(metadata)).map_err(|e| folder.damaged("outputs", &e))?)
    }
}

fn write_ticks(ticks: &[u8], cell: &CellId, folder: &RecordFolder) -> Result<FileRef, BenchError> {
    let view = TensorView::new(safetensors::Dtype::U64, vec![ticks.len() / 8], ticks)
        .map_err(|e| folder.damaged("ticks", &e))?;
    let bytes = safetensors::serialize([("ticks", view)], None).map_err(|e| folder.damaged("ticks", &e))?;
    Ok(folder.write(cell, "ticks.safetensors", &bytes)?)
}
