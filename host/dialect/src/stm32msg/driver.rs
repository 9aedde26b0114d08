//! The driver: requests and the transactions that they begin.

use super::fault::{ErrorCode, Fault, State};
use super::messages::{self, Payload, command, operator_flag, run, tensor_flag};
use super::reply::{self, Answer, Firmware, Layer, LogLine, Model, Run, System};
use super::tensor::{Description, Tensor};
use super::wire::{Framing, Patience, Wire};
use crate::Bytes;
use prost::Message;
use std::time::{Duration, Instant};

/// What is spoken here; firmware of the same major version and an earlier minor one is read, too.
const VERSION: (u8, u8) = (3, 1);
/// Most models of a firmware.
const MODELS_MAX: u32 = 32;
/// Most layers of a model, tensors of a layer, log lines of a transaction, and answers to requests given up before.
const MESSAGES_MAX: usize = 4096;

/// How to speak to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Deadlines.
    pub patience: Patience,
    /// What packets look like; a device of the other kind stays silent.
    pub framing: Framing,
    /// How often `SYNC` is tried.
    pub attempts: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Patience::default(), framing: Framing::default(), attempts: 5 }
    }
}

/// What of a run is sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Outputs.
    Outputs,
    /// Outputs, and for each layer its time and what its tensors are.
    PerLayer,
    /// Outputs, and for each layer its time and its tensors.
    PerLayerWithData,
    /// Time only: the input is filled with its first element, no tensor has data.
    Time,
}

impl Mode {
    fn by_layer(self) -> bool {
        matches!(self, Self::PerLayer | Self::PerLayerWithData)
    }

    fn param(self) -> u32 {
        run::IO_ONLY
            | match self {
                Self::Outputs => 0,
                Self::PerLayer => run::PER_LAYER,
                Self::PerLayerWithData => run::PER_LAYER | run::PER_LAYER_WITH_DATA,
                Self::Time => run::PERF | run::CONST_VALUE,
            }
    }
}

/// A device with validation firmware.
pub struct Stm32Msg<B> {
    wire: Wire<B>,
    attempts: u32,
    firmware: Firmware,
    reqid: u32,
    logs: Vec<LogLine>,
    /// A transaction broke off: what comes next may belong to it.
    out_of_step: bool,
}

impl<B: Bytes> Stm32Msg<B> {
    /// Finds a device by `SYNC`. What has come before, its boot's text for example, is thrown away.
    pub fn connect(line: B, options: Options) -> Result<Self, Fault> {
        let wire = Wire { line, framing: options.framing, patience: options.patience };
        let firmware = Firmware::UNKNOWN;
        let mut device =
            Self { wire, attempts: options.attempts, firmware, reqid: 0, logs: Vec::new(), out_of_step: true };
        device.resync()?;
        let (major, minor) = device.firmware.version;
        if major != VERSION.0 || minor > VERSION.1 {
            let expected = format!("version {}.0 to {}.{}", VERSION.0, VERSION.0, VERSION.1);
            let found = format!("{major}.{minor}");
            return Err(Fault::Impossible { step: "speak to the firmware".to_owned(), expected, found });
        }
        Ok(device)
    }

    /// What answered.
    pub fn firmware(&self) -> &Firmware {
        &self.firmware
    }

    /// The microcontroller.
    pub fn system(&mut self) -> Result<System, Fault> {
        let step = "ask for the system";
        let outcome = self.request(step, command::SYSTEM_INFO, 0, "", 0).and_then(|()| {
            let answer = self.answer(step, self.wire.patience.answer)?;
            in_state(step, &answer, State::Idle)?;
            match answer.payload {
                Payload::SystemInfo(message) => whole(step, reply::system(message, self.wire.framing)),
                other => Err(unexpected(step, "system information", &other)),
            }
        });
        self.heed(outcome)
    }

    /// The models in the firmware, in its order.
    pub fn models(&mut self) -> Result<Vec<Model>, Fault> {
        let mut models = Vec::new();
        for index in 0..MODELS_MAX {
            let outcome = self.model(index);
            match self.heed(outcome) {
                Ok(model) => models.push(model),
                // How firmware says that there are no more.
                Err(Fault::Refused { code: ErrorCode::InvalidParam, .. }) => break,
                Err(fault) => return Err(fault),
            }
        }
        Ok(models)
    }

    /// One inference of `inputs`, each exactly the bytes of the model's input at its place. States of the model are kept from run to run.
    pub fn run(&mut self, model: &Model, inputs: &[impl AsRef<[u8]>], mode: Mode) -> Result<Run, Fault> {
        let outcome = self.checked_inputs(model, inputs, mode).and_then(|inputs| {
            self.logs.clear();
            self.begin_run(model, mode)?;
            self.send_inputs(&inputs)?;
            let (layers, execution) = self.receive_layers(model, mode)?;
            let outputs = self.receive_outputs(model, mode)?;
            Ok(Run { execution: execution.execution, layers, outputs, logs: std::mem::take(&mut self.logs) })
        });
        self.heed(outcome)
    }

    /// Gets back into step: asks for `SYNC` until the answer to just this request comes, and fills up a message that was given up if the
    /// device asks for the rest of it. Done before the next request when it is needed.
    pub fn resync(&mut self) -> Result<(), Fault> {
        let mut tried = 1;
        loop {
            match self.sync() {
                Err(fault) if tried < self.attempts && !matches!(fault, Fault::Line { .. }) => {
                    if let Fault::Asked { step } = fault {
                        self.wire.fill(&step)?;
                    }
                    tried += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Gives the line back.
    pub fn into_line(self) -> B {
        self.wire.line
    }

    fn sync(&mut self) -> Result<(), Fault> {
        let step = "synchronise";
        self.send_request(step, command::SYNC, 0, "", 0)?;
        let patience = self.wire.patience;
        // Answers to what was given up are skipped, an inference's among them, but not for longer than one takes.
        let end = Instant::now() + patience.inference;
        for _ in 0..MESSAGES_MAX {
            if Instant::now() > end {
                break;
            }
            let bytes = self.wire.receive(step, patience.sync)?;
            let answer = reply::read(&bytes, step)?;
            if answer.reqid != self.reqid {
                continue;
            }
            in_state(step, &answer, State::Idle)?;
            let Payload::Sync(message) = answer.payload else {
                return Err(unexpected(step, "a sync", &answer.payload));
            };
            self.firmware = whole(step, reply::sync(&message))?;
            self.out_of_step = false;
            return Ok(());
        }
        Err(Fault::Unexpected {
            step: step.to_owned(),
            expected: "a sync".to_owned(),
            found: "other answers without end".to_owned(),
        })
    }

    fn model(&mut self, index: u32) -> Result<Model, Fault> {
        let step = &format!("ask for model {index}");
        self.request(step, command::NETWORK_INFO, index, "", 0)?;
        let answer = self.answer(step, self.wire.patience.answer)?;
        in_state(step, &answer, State::Idle)?;
        match answer.payload {
            Payload::ModelInfo(message) => whole(step, reply::model(message)),
            other => Err(unexpected(step, "model information", &other)),
        }
    }

    /// What is sent of each input: all of it, or in a run for time its first element.
    fn checked_inputs<'i>(
        &self,
        model: &Model,
        inputs: &'i [impl AsRef<[u8]>],
        mode: Mode,
    ) -> Result<Vec<&'i [u8]>, Fault> {
        let impossible = |expected: String, found: String| Fault::Impossible {
            step: format!("run {}", model.name),
            expected,
            found,
        };
        if mode.by_layer() && !self.firmware.capabilities.observer {
            return Err(impossible(
                "firmware with an observer for a run by layers".to_owned(),
                "one without".to_owned(),
            ));
        }
        if inputs.len() != model.inputs.len() {
            return Err(impossible(format!("{} inputs", model.inputs.len()), inputs.len().to_string()));
        }
        let checked = inputs.iter().zip(&model.inputs).enumerate().map(|(index, (input, description))| {
            let input = input.as_ref();
            let Some((bytes, element)) = description.bytes().zip(description.format.bytes()) else {
                return Err(impossible(
                    "inputs of whole bytes".to_owned(),
                    format!("{} bits in input {index}", description.format.bits),
                ));
            };
            match input.len() == bytes && bytes > 0 {
                true => Ok(if mode == Mode::Time { &input[..element] } else { input }),
                false => Err(impossible(format!("{bytes} bytes for input {index}"), input.len().to_string())),
            }
        });
        checked.collect()
    }

    fn begin_run(&mut self, model: &Model, mode: Mode) -> Result<(), Fault> {
        let step = &format!("begin a run of {}", model.name);
        self.request(step, command::NETWORK_RUN, mode.param(), &model.name, 0)?;
        let bytes = model.inputs.first().and_then(Description::bytes).unwrap_or(0);
        self.acknowledged(step, State::Waiting, bytes)
    }

    fn send_inputs(&mut self, inputs: &[&[u8]]) -> Result<(), Fault> {
        for (index, input) in inputs.iter().enumerate() {
            let step = &format!("send input {index}");
            let size = u32::try_from(input.len()).unwrap_or(u32::MAX);
            let message =
                messages::Data { r#type: Some(0), size: Some(size), addr: Some(0), datas: Some(input.to_vec()) };
            self.wire.send(&message.encode_to_vec(), step)?;
            let state = if index + 1 == inputs.len() { State::Processing } else { State::Waiting };
            self.acknowledged(step, state, input.len())?;
            self.acknowledge(step)?;
        }
        Ok(())
    }

    /// The layers, and the model as a whole, which comes as one more.
    fn receive_layers(&mut self, model: &Model, mode: Mode) -> Result<(Vec<Layer>, Layer), Fault> {
        let mut layers: Vec<Layer> = Vec::new();
        let mut last = false;
        for _ in 0..MESSAGES_MAX {
            let step = &format!("receive layer {} of {}", layers.len(), model.name);
            let answer = self.answer(step, self.wire.patience.inference)?;
            in_state(step, &answer, State::Processing)?;
            let Payload::Operator(message) = answer.payload else {
                return Err(unexpected(step, "an operator", &answer.payload));
            };
            let (flags, mut layer) = whole(step, reply::operator(message))?;
            if flags == 0 {
                self.check_layers(step, model, mode, layers.len())?;
                return Ok((layers, layer));
            }
            if last || !mode.by_layer() {
                return Err(Fault::Unexpected {
                    step: step.clone(),
                    expected: "the model".to_owned(),
                    found: "a layer".to_owned(),
                });
            }
            last = flags & operator_flag::LAST != 0;
            if flags & operator_flag::WITHOUT_TENSOR == 0 {
                layer.tensors = self.receive_tensors(step, mode)?;
            }
            layers.push(layer);
        }
        let expected = format!("at most {MESSAGES_MAX} layers");
        Err(Fault::Unexpected { step: format!("run {}", model.name), expected, found: "more".to_owned() })
    }

    /// A layer whose message was lost whole leaves no other trace.
    fn check_layers(&self, step: &str, model: &Model, mode: Mode, layers: usize) -> Result<(), Fault> {
        if mode.by_layer() && (layers == 0 || model.counts_nodes && layers != model.nodes as usize) {
            let expected = format!("{} layers", model.nodes);
            return Err(Fault::Unexpected { step: step.to_owned(), expected, found: layers.to_string() });
        }
        Ok(())
    }

    fn receive_tensors(&mut self, step: &str, mode: Mode) -> Result<Vec<Tensor>, Fault> {
        let mut tensors = Vec::new();
        while tensors.len() < MESSAGES_MAX {
            let tensor = self.receive_tensor(step, State::Processing)?;
            if tensor.data.is_some() != (mode == Mode::PerLayerWithData) {
                return Err(data_or_not(step, &tensor));
            }
            let last = tensor.description.flags & tensor_flag::LAST != 0;
            tensors.push(tensor);
            if last {
                return Ok(tensors);
            }
        }
        let expected = format!("at most {MESSAGES_MAX} tensors");
        Err(Fault::Unexpected { step: step.to_owned(), expected, found: "more".to_owned() })
    }

    fn receive_outputs(&mut self, model: &Model, mode: Mode) -> Result<Vec<Tensor>, Fault> {
        let mut outputs = Vec::new();
        for (index, described) in model.outputs.iter().enumerate() {
            let step = &format!("receive output {index} of {}", model.name);
            let last = index + 1 == model.outputs.len();
            let tensor = self.receive_tensor(step, if last { State::Done } else { State::Processing })?;
            let description = &tensor.description;
            if (description.flags & tensor_flag::LAST != 0) != last {
                let (expected, found) =
                    if last { ("the last output", "more to come") } else { ("more outputs", "the last one") };
                return Err(Fault::Unexpected {
                    step: step.clone(),
                    expected: expected.to_owned(),
                    found: found.to_owned(),
                });
            }
            if (description.format, description.elements) != (described.format, described.elements) {
                let shown = |of: &Description| format!("{} elements of format {:#010x}", of.elements, of.format.raw);
                return Err(Fault::Unexpected {
                    step: step.clone(),
                    expected: shown(described),
                    found: shown(description),
                });
            }
            if tensor.data.is_some() != (mode != Mode::Time) {
                return Err(data_or_not(step, &tensor));
            }
            outputs.push(tensor);
        }
        Ok(outputs)
    }

    fn receive_tensor(&mut self, step: &str, state: State) -> Result<Tensor, Fault> {
        let answer = self.answer(step, self.wire.patience.answer)?;
        in_state(step, &answer, state)?;
        match answer.payload {
            Payload::Tensor(message) => whole(step, reply::tensor(message)),
            other => Err(unexpected(step, "a tensor", &other)),
        }
    }

    /// Receives an ack in `state` for `bytes` bytes.
    fn acknowledged(&mut self, step: &str, state: State, bytes: usize) -> Result<(), Fault> {
        let answer = self.answer(step, self.wire.patience.answer)?;
        in_state(step, &answer, state)?;
        let Payload::Ack(message) = answer.payload else {
            return Err(unexpected(step, "an acknowledgement", &answer.payload));
        };
        match whole(step, reply::ack(&message))? {
            (ErrorCode::None, param) if param as usize == bytes => Ok(()),
            (ErrorCode::None, param) => Err(Fault::Unexpected {
                step: step.to_owned(),
                expected: format!("{bytes} bytes"),
                found: param.to_string(),
            }),
            (code, param) => {
                let found = format!("error {code:?} ({param}) in state {state:?}");
                Err(Fault::Unexpected { step: step.to_owned(), expected: "no error".to_owned(), found })
            }
        }
    }

    fn acknowledge(&mut self, step: &str) -> Result<(), Fault> {
        let message = messages::Ack { param: Some(0), error: Some(0) };
        self.wire.send(&message.encode_to_vec(), step)
    }

    /// Begins a transaction, in step.
    fn request(&mut self, step: &str, cmd: i32, param: u32, name: &str, opt: u32) -> Result<(), Fault> {
        if self.out_of_step {
            self.resync()?;
        }
        self.send_request(step, cmd, param, name, opt)
    }

    fn send_request(&mut self, step: &str, cmd: i32, param: u32, name: &str, opt: u32) -> Result<(), Fault> {
        self.wire.drain(step)?;
        self.reqid = self.reqid.wrapping_add(1);
        let (reqid, name) = (Some(self.reqid), Some(name.to_owned()));
        let message = messages::Request { reqid, cmd: Some(cmd), param: Some(param), name, opt: Some(opt) };
        self.wire.send(&message.encode_to_vec(), step)
    }

    /// The next answer to the request that was sent last. Log lines are kept and acknowledged; an error is a refusal.
    fn answer(&mut self, step: &str, patience: Duration) -> Result<Answer, Fault> {
        let end = Instant::now() + patience + self.wire.patience.message;
        for _ in 0..MESSAGES_MAX {
            if Instant::now() > end {
                break;
            }
            let bytes = self.wire.receive(step, patience)?;
            let answer = reply::read(&bytes, step)?;
            if answer.reqid != self.reqid {
                let (expected, found) =
                    (format!("an answer to request {}", self.reqid), format!("one to {}", answer.reqid));
                return Err(Fault::Unexpected { step: step.to_owned(), expected, found });
            }
            match answer.payload {
                Payload::Log(message) => {
                    self.logs.push(whole(step, reply::log(message))?);
                    self.acknowledge(step)?;
                }
                Payload::Ack(message) if answer.state == State::Error => {
                    let (code, param) = whole(step, reply::ack(&message))?;
                    return Err(Fault::Refused { step: step.to_owned(), code, param });
                }
                payload => return Ok(Answer { payload, ..answer }),
            }
        }
        Err(Fault::Unexpected {
            step: step.to_owned(),
            expected: "an answer".to_owned(),
            found: "log lines without end".to_owned(),
        })
    }

    /// Remembers that a transaction broke off.
    fn heed<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &outcome {
            self.out_of_step |= !fault.in_step();
        }
        outcome
    }
}

fn in_state(step: &str, answer: &Answer, state: State) -> Result<(), Fault> {
    if answer.state == state {
        return Ok(());
    }
    let found = format!("{} in state {:?}", reply::called(&answer.payload), answer.state);
    Err(Fault::Unexpected { step: step.to_owned(), expected: format!("state {state:?}"), found })
}

fn unexpected(step: &str, expected: &str, found: &Payload) -> Fault {
    Fault::Unexpected { step: step.to_owned(), expected: expected.to_owned(), found: reply::called(found).to_owned() }
}

fn data_or_not(step: &str, tensor: &Tensor) -> Fault {
    let (expected, found) = if tensor.data.is_some() { ("no data", "data") } else { ("data", "none") };
    Fault::Unexpected { step: step.to_owned(), expected: format!("a tensor with {expected}"), found: found.to_owned() }
}

fn whole<T>(step: &str, read: Result<T, &'static str>) -> Result<T, Fault> {
    read.map_err(|lacking| Fault::NoMessage { step: step.to_owned(), lacking: lacking.to_owned() })
}
