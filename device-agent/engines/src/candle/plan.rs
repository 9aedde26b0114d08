//! From a source to steps: what is constant is computed once, everything else becomes a step with its inputs' places.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use candle_core::{DType as Held, Tensor as CandleTensor};

use super::operators::{Inputs, Known, Run, find, multiply_accumulates};
use super::source::{Node, Source, concrete_shape, plain_refusal};
use super::value::{Value, Width, carrier};
use crate::engine::{LoadOptions, OperatorCost, OperatorFacts, Refusal, RunFailure, Stage, TensorFacts};

/// A node that runs with every inference.
pub(super) struct Step {
    run: Run,
    /// Places of the inputs; none where an optional one is left out.
    inputs: Vec<Option<usize>>,
    /// Places of the outputs; none where nobody wants one.
    outputs: Vec<Option<usize>>,
    /// Places that nothing needs after this step.
    last_uses: Vec<usize>,
    /// Multiply-accumulates, where it does any.
    macs: Option<u64>,
}

/// Everything that runs, in order.
pub(super) struct Plan {
    steps: Vec<Step>,
    /// What stands at each place: constants always, the rest while it is needed.
    places: Vec<Option<Value>>,
    pub(super) inputs: Vec<(usize, TensorFacts)>,
    pub(super) outputs: Vec<(usize, TensorFacts)>,
    pub(super) operators: Vec<OperatorFacts>,
}

impl Plan {
    /// Fixes every axis, computes what is constant, and tries the rest once on zeros: candle infers no types, it runs.
    pub(super) fn new(source: &Source, options: &LoadOptions, width: Width) -> Result<Self, Refusal> {
        let mut building = Building::new(source, options, width)?;
        for node in &source.nodes {
            building.add(node)?;
        }
        building.finish()
    }

    /// Runs all steps and returns the outputs; `tap` sees what each step made, by the step's number.
    pub(super) fn run(
        &mut self,
        inputs: &[Value],
        mut tap: impl FnMut(usize, &[Value]),
    ) -> Result<Vec<Value>, RunFailure> {
        for ((place, _), value) in self.inputs.iter().zip(inputs) {
            self.places[*place] = Some(value.clone());
        }
        for (index, step) in self.steps.iter().enumerate() {
            let given = Inputs { places: &self.places, at: &step.inputs };
            let made = guard(|| (step.run)(&given)).map_err(|trouble| {
                let facts = &self.operators[index];
                trouble.fail(&format!("operator {} (node {}): ", facts.op, facts.name))
            })?;
            tap(index, &made);
            for (place, value) in step.outputs.iter().zip(made) {
                if let Some(place) = place {
                    self.places[*place] = Some(value);
                }
            }
            for place in &step.last_uses {
                self.places[*place] = None;
            }
        }
        let missing = || RunFailure::Engine { reason: "an output was not made".into() };
        self.outputs.iter().map(|(place, _)| self.places[*place].clone().ok_or_else(missing)).collect()
    }

    /// Runs all steps so many times and times each: nanoseconds and bytes of output by step.
    pub(super) fn profile(&mut self, inputs: &[Value], inferences: u32) -> Result<Vec<OperatorCost>, RunFailure> {
        let (mut nanoseconds, mut bytes) = (vec![0_u64; self.steps.len()], vec![0_u64; self.steps.len()]);
        for _ in 0..inferences {
            let mut before = Instant::now();
            self.run(inputs, |index, made| {
                let now = Instant::now();
                nanoseconds[index] += now.duration_since(before).as_nanos() as u64;
                bytes[index] =
                    made.iter().map(|value| (value.held.elem_count() * value.element.size_bytes()) as u64).sum();
                before = Instant::now();
            })?;
        }
        let mean = |total: u64| total.checked_div(u64::from(inferences));
        let costs = nanoseconds.into_iter().zip(bytes).enumerate();
        Ok(costs
            .map(|(index, (total, bytes))| OperatorCost {
                index,
                time_ns: mean(total),
                output_bytes: Some(bytes),
                macs: self.steps[index].macs,
            })
            .collect())
    }

    /// Forgets what an earlier run left behind.
    pub(super) fn forget(&mut self) {
        for step in &self.steps {
            for place in step.outputs.iter().flatten() {
                self.places[*place] = None;
            }
        }
    }
}

struct Building<'a> {
    source: &'a Source,
    width: Width,
    /// Place of each name that is known by now.
    named: BTreeMap<&'a str, usize>,
    /// What stands there: a constant, or what a try on zeros made. All of them are there; the plan's are not.
    values: Vec<Option<Value>>,
    is_constant: Vec<bool>,
    steps: Vec<Step>,
    inputs: Vec<(usize, TensorFacts)>,
    operators: Vec<OperatorFacts>,
}

impl<'a> Building<'a> {
    fn new(source: &'a Source, options: &LoadOptions, width: Width) -> Result<Self, Refusal> {
        let mut building = Building {
            source,
            width,
            named: BTreeMap::new(),
            values: Vec::new(),
            is_constant: Vec::new(),
            steps: Vec::new(),
            inputs: Vec::new(),
            operators: Vec::new(),
        };
        let bare = |error: candle_core::Error| plain_refusal(Stage::Type, one_line(&error));
        for (name, tensor) in &source.constants {
            building.place(name, Value::from_plain(tensor, width).map_err(bare)?, true);
        }
        for input in &source.inputs {
            let shape = concrete_shape(input, options)?;
            let held = CandleTensor::zeros(shape.as_slice(), carrier(input.element, width), &candle_core::Device::Cpu);
            let place = building.place(&input.name, Value { element: input.element, held: held.map_err(bare)? }, false);
            let (name, declared) = (input.name.clone(), input.declared.clone());
            building.inputs.push((place, TensorFacts { name, dtype: input.element, declared, shape }));
        }
        Ok(building)
    }

    fn place(&mut self, name: &'a str, value: Value, is_constant: bool) -> usize {
        let place = self.values.len();
        self.named.insert(name, place);
        self.values.push(Some(value));
        self.is_constant.push(is_constant);
        place
    }

    fn add(&mut self, node: &'a Node) -> Result<(), Refusal> {
        let places: Vec<Option<usize>> =
            node.inputs.iter().map(|name| self.named.get(name.as_str()).copied()).collect();
        let constant =
            |place: &Option<usize>| place.filter(|p| self.is_constant[*p]).and_then(|p| self.values[p].clone());
        let constants: Vec<Option<Value>> = places.iter().map(constant).collect();
        let known = Known { node, opset: self.source.opset, width: self.width, constants };
        let build = find(&node.operator).ok_or_else(|| node.refuse(Stage::Operator, "not implemented"))?;
        let run = guard(|| Ok(build(&known))).map_err(|trouble| trouble.refuse(node))?;
        let run = run.map_err(|reason| node.refuse(Stage::Type, &reason))?;
        let given = Inputs { places: &self.values, at: &places };
        let made = guard(|| run(&given)).map_err(|trouble| trouble.refuse(node))?;
        if made.len() < node.outputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1) {
            return Err(node.refuse(Stage::Type, &format!("it makes {} outputs, the model wants more", made.len())));
        }
        // Extents are fixed by now, so that a shape is as constant as a constant.
        if node.operator == "Shape" || places.iter().flatten().all(|place| self.is_constant[*place]) {
            for (name, value) in node.outputs.iter().zip(made).filter(|(name, _)| !name.is_empty()) {
                self.place(name, value, true);
            }
            return Ok(());
        }
        let shapes: Vec<&[usize]> = given.iter().map(|value| value.map_or(&[][..], |v| v.held.dims())).collect();
        let macs = made.first().and_then(|made| multiply_accumulates(&node.operator, &shapes, made.held.dims()));
        self.operators.push(operator_facts(self.operators.len(), node, (&given, &made), macs.is_some()));
        let mut outputs = Vec::new();
        for (name, value) in node.outputs.iter().zip(made) {
            outputs.push((!name.is_empty()).then(|| self.place(name, value, false)));
        }
        self.steps.push(Step { run, inputs: places, outputs, last_uses: Vec::new(), macs });
        Ok(())
    }

    fn finish(mut self) -> Result<Plan, Refusal> {
        let mut outputs = Vec::new();
        for (name, declared) in &self.source.outputs {
            let place = self.named.get(name.as_str()).copied();
            let place = place.ok_or_else(|| plain_refusal(Stage::Parse, format!("nothing makes the output {name}")))?;
            let value = self.values[place].as_ref().expect("a name has a value");
            let shape = value.held.dims().to_vec();
            let (name, declared, dtype) = (name.clone(), declared.clone(), value.element);
            outputs.push((place, TensorFacts { name, dtype, declared, shape }));
        }
        let mut kept: Vec<bool> = self.is_constant.clone();
        outputs.iter().for_each(|(place, _)| kept[*place] = true);
        for step in self.steps.iter_mut().rev() {
            let touched = step.inputs.iter().chain(&step.outputs).flatten();
            for place in touched.copied().collect::<Vec<_>>() {
                if !kept[place] {
                    kept[place] = true;
                    step.last_uses.push(place);
                }
            }
        }
        let places = self.values.into_iter().zip(self.is_constant);
        let places = places.map(|(value, is_constant)| value.filter(|_| is_constant)).collect();
        Ok(Plan { steps: self.steps, places, inputs: self.inputs, outputs, operators: self.operators })
    }
}

fn operator_facts(
    index: usize,
    node: &Node,
    (inputs, made): (&Inputs<'_>, &[Value]),
    adds_products: bool,
) -> OperatorFacts {
    let names =
        |values: &mut dyn Iterator<Item = &Value>| values.map(|value| value.element.name().to_owned()).collect();
    OperatorFacts {
        index,
        name: node.name.clone(),
        op: node.operator.clone(),
        source: Some(node.name.clone()),
        source_op: Some(node.operator.clone()),
        dtypes_in: names(&mut inputs.iter().flatten()),
        dtypes_out: names(&mut made.iter().take(node.outputs.len())),
        kernel: Some("candle-cpu".into()),
        accumulator: adds_products.then(|| accumulator(inputs, made)).flatten(),
    }
}

/// Integers are multiplied as f64 here. Of halves candle leaves it to the processor, so it is not known.
fn accumulator(inputs: &Inputs<'_>, made: &[Value]) -> Option<String> {
    let first = inputs.iter().next().flatten()?;
    if !first.element.is_float() {
        return Some("f64".into());
    }
    match made.first()?.held.dtype() {
        Held::F32 => Some("f32".into()),
        Held::F64 => Some("f64".into()),
        _ => None,
    }
}

/// What went wrong inside candle.
pub(super) enum Trouble {
    Error(candle_core::Error),
    Panic(String),
}

/// Calls into candle; a panic becomes a value.
pub(super) fn guard<T>(call: impl FnOnce() -> candle_core::Result<T>) -> Result<T, Trouble> {
    // A caught panic can leave what the closure captures half changed; callers drop it or run the model anew.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(Trouble::Error),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            Err(Trouble::Panic(text.unwrap_or("no message").to_owned()))
        }
    }
}

impl Trouble {
    fn refuse(&self, node: &Node) -> Refusal {
        match self {
            Trouble::Error(error) => node.refuse(Stage::Type, &one_line(error)),
            Trouble::Panic(text) => node.refuse(Stage::Type, &format!("panicked: {text}")),
        }
    }

    pub(super) fn fail(&self, place: &str) -> RunFailure {
        match self {
            Trouble::Error(error) => RunFailure::Engine { reason: format!("{place}{}", one_line(error)) },
            Trouble::Panic(text) => RunFailure::Panicked { reason: format!("{place}{text}") },
        }
    }
}

/// The error in one line: behind the first one candle may print where it was made.
fn one_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().trim().to_owned()
}
