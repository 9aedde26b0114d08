//! What the judge looks at: a record with the bytes of its files, opened as tensors. Reads nothing by itself.

use crate::compare::tensor::{DType, TensorError, TensorView};
use boardproof_record::observation::{CannotRun, Ended, FileRef, Observation, Outcome, PassObservation};
use boardproof_record::order::{ORDER, order, strata};
use boardproof_record::plan::{Affine, Cell, Clock, CustomMetric, FOREIGN, HOST, Model, Pass, PassPlan, Role, Task};
use boardproof_record::record::{
    NUMBERS, Numbers, Record, SHOWN_COLUMNS as COLUMNS, SHOWN_INPUT as INPUT, SHOWN_SAMPLES as SAMPLES,
};
use boardproof_record::{CellId, Digest};
use safetensors::SafeTensors;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// A record and the bytes of its files, by path as in the record.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The record.
    pub record: &'a Record,
    /// Its files; whoever read them has proved their digests.
    pub files: &'a BTreeMap<String, Vec<u8>>,
}

/// A record whose files do not hold what it says.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum EvidenceError {
    #[error("the record names {path}, which was not read")]
    NoFile { path: String },
    #[error("{path} is not a safetensors file")]
    Format { path: String, source: safetensors::SafeTensorError },
    #[error("{path}: tensor '{tensor}' cannot be used")]
    Tensor { path: String, tensor: String, source: TensorError },
    #[error("{path}: tensor '{tensor}' has {found} samples, expected {expected}")]
    Samples { path: String, tensor: String, expected: u64, found: u64 },
    #[error("the record has no labels of evalset {0}")]
    NoEvalset(Digest),
    #[error("{path}: {what}")]
    Damaged { path: String, what: String },
}

/// A tensor that owns its shape, so that views of it can be made at will.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    /// Name in the model, or in the evalset.
    pub name: String,
    dtype: DType,
    /// Shape; the first dimension is the sample.
    pub shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
    /// Element type and bytes as they were recorded, where integers stand for these numbers.
    integers: Option<(DType, Cow<'a, [u8]>)>,
}

impl<'a> Tensor<'a> {
    /// A tensor that a test makes up.
    #[cfg(test)]
    pub(crate) fn owned(name: &str, dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Tensor<'static> {
        Tensor { name: name.into(), dtype, shape, bytes: Cow::Owned(bytes), integers: None }
    }

    /// A view for the comparers.
    pub fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, &self.shape, &self.bytes).expect("checked when the file was opened")
    }

    /// Some samples of it, in this order; those that it does not have are left out.
    pub fn of(&self, samples: &[usize]) -> Tensor<'static> {
        let width = self.bytes.len() / self.shape.first().copied().unwrap_or(1).max(1);
        let rows = samples.iter().filter_map(|sample| self.bytes.get(sample * width..(sample + 1) * width));
        let bytes = rows.clone().flatten().copied().collect();
        let shape = std::iter::once(rows.count()).chain(self.shape.iter().skip(1).copied()).collect();
        Tensor { name: self.name.clone(), dtype: self.dtype, shape, bytes: Cow::Owned(bytes), integers: None }
    }

    /// The first samples of it.
    #[must_use]
    pub fn first(&self, samples: u64) -> Self {
        let count = self.shape.first().copied().unwrap_or(0);
        let kept = usize::try_from(samples).unwrap_or(usize::MAX).min(count);
        let shape = std::iter::once(kept).chain(self.shape.iter().skip(1).copied()).collect();
        let cut = |bytes: &[u8]| Cow::Owned(bytes[..bytes.len() / count.max(1) * kept].to_vec());
        let integers = self.integers.as_ref().map(|(dtype, bytes)| (*dtype, cut(bytes)));
        Self { name: self.name.clone(), dtype: self.dtype, shape, bytes: cut(&self.bytes), integers }
    }

    /// These samples and behind them those of another tensor from there on; `None` where the two are not alike.
    pub fn completed_by(&self, other: &Tensor<'_>) -> Option<Tensor<'static>> {
        let (own, all) = (*self.shape.first()?, *other.shape.first()?);
        let alike = self.dtype == other.dtype && self.shape.get(1..) == other.shape.get(1..) && own <= all;
        let width = other.bytes.len() / all.max(1);
        let bytes = [&*self.bytes, other.bytes.get(own * width..)?].concat();
        let (name, dtype, shape) = (self.name.clone(), self.dtype, other.shape.clone());
        alike.then_some(Tensor { name, dtype, shape, bytes: Cow::Owned(bytes), integers: None })
    }

    /// The numbers that its integers stand for, in f32 as ONNX's DequantizeLinear computes them; itself where it holds floats.
    #[must_use]
    fn dequantized(self, Affine { scale, zero_point }: Affine) -> Self {
        if self.dtype.limits().is_none() {
            return self;
        }
        // Integers of 8 and 16 bits are exact in f32, and so is what is left of them without the zero point.
        let real = |integer: f64| (integer - f64::from(zero_point)) as f32 * scale as f32;
        let bytes = self.to_f64().into_iter().flat_map(|integer| real(integer).to_le_bytes()).collect();
        let integers = Some((self.dtype, self.bytes));
        Self { dtype: DType::F32, bytes: Cow::Owned(bytes), integers, ..self }
    }

    /// The integers that were recorded, where they stand for other numbers; else its own elements.
    pub fn recorded_view(&self) -> TensorView<'_> {
        let (dtype, bytes) = self.integers.as_ref().map_or((self.dtype, &self.bytes), |(dtype, bytes)| (*dtype, bytes));
        TensorView::new(dtype, &self.shape, bytes).expect("checked when the file was opened")
    }

    /// The same name, element type, shape and bits.
    pub fn is_bit_for_bit(&self, other: &Tensor<'_>) -> bool {
        (self.dtype, &self.shape, &self.bytes) == (other.dtype, &other.shape, &other.bytes)
    }

    /// Its elements are bytes without a sign.
    pub fn is_bytes(&self) -> bool {
        self.dtype == DType::U8
    }

    /// Its bytes, as they were recorded.
    pub(crate) fn raw(&self) -> Cow<'a, [u8]> {
        self.bytes.clone()
    }

    /// All elements, widened.
    pub fn to_f64(&self) -> Vec<f64> {
        self.view().to_f64()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.view().elements()
    }

    /// Elements that are NaN or infinite.
    pub fn non_finite(&self) -> usize {
        if !self.dtype.is_float() {
            return 0;
        }
        self.to_f64().iter().filter(|value| !value.is_finite()).count()
    }

    /// Elements of one sample.
    pub fn row_elements(&self) -> usize {
        self.shape.iter().skip(1).fold(1_usize, |product, extent| product.saturating_mul(*extent)).max(1)
    }
}

/// Labels and slices of an evalset, as far as the cell used it.
#[derive(Debug, Clone)]
pub struct Truth<'a> {
    /// One label per sample.
    pub labels: Vec<i64>,
    /// Id of each sample, where the evalset has ids.
    pub ids: Option<Vec<i64>>,
    /// Slice codes by column.
    pub slices: BTreeMap<String, Vec<i64>>,
    /// Inputs, where the task needs them.
    pub inputs: Vec<Tensor<'a>>,
    /// Number of each sample in the evalset as it came, where this one is in an order that was drawn.
    pub order: Option<Vec<u64>>,
}

impl Truth<'_> {
    /// That of the first samples alone.
    #[must_use]
    pub fn first(&self, samples: u64) -> Self {
        let samples = usize::try_from(samples).unwrap_or(usize::MAX);
        let cut = |column: &Vec<i64>| column.iter().take(samples).copied().collect::<Vec<_>>();
        Self {
            labels: cut(&self.labels),
            ids: self.ids.as_ref().map(cut),
            slices: self.slices.iter().map(|(name, codes)| (name.clone(), cut(codes))).collect(),
            inputs: self.inputs.clone(),
            order: self.order.as_ref().map(|order| order.iter().take(samples).copied().collect()),
        }
    }

    /// The number that people know a sample by: its place in the evalset as it came.
    pub fn number(&self, sample: usize) -> u64 {
        self.order.as_ref().and_then(|order| order.get(sample).copied()).unwrap_or(sample as u64)
    }
}

impl<'a> Evidence<'a> {
    /// The cell's observation, if it was measured.
    pub fn observation(&self, cell: &CellId) -> Option<&'a Observation> {
        match self.record.outcomes.get(cell) {
            Some(Outcome::Measured(seen)) => Some(seen),
            _ => None,
        }
    }

    /// A pass of the cell that was completed.
    pub fn completed(&self, cell: &CellId, pass: Pass) -> Option<&'a PassObservation> {
        self.observation(cell)?.pass(pass).filter(|p| p.ended == Ended::Completed)
    }

    /// The model of a cell.
    pub fn model(&self, cell: &Cell) -> &'a Model {
        &self.record.plan.models[&cell.model]
    }

    /// The reference cell for answers: the float model on the host, by the engine that the policy names. Where that engine cannot load the
    /// float model, the cell's own engine has to answer for it, as it would without any other.
    pub fn reference(&self, cell: &Cell) -> Option<&'a Cell> {
        let planned = self.planned_reference(cell)?;
        let alone = self.no_second_opinion(cell).and_then(|_| self.float_on_host(cell, planned));
        Some(alone.unwrap_or(planned))
    }

    /// The same as it was planned, whatever became of it.
    pub fn planned_reference(&self, cell: &Cell) -> Option<&'a Cell> {
        self.record.plan.cells.iter().find(|c| c.model == cell.model && c.role == Role::Reference)
    }

    /// Why the engine that the policy names for the reference has not answered for the float model, when another one has to.
    pub fn no_second_opinion(&self, cell: &Cell) -> Option<(&'a Cell, &'a CannotRun)> {
        let planned = self.planned_reference(cell)?;
        self.float_on_host(cell, planned)?;
        Some((planned, self.observation(&planned.id)?.not_loaded()?))
    }

    /// The float model by the cell's own engine on the host, where that is not the planned reference.
    fn float_on_host(&self, cell: &Cell, planned: &Cell) -> Option<&'a Cell> {
        let engine = &self.on_host(cell)?.engine;
        let same = |c: &&Cell| c.model == cell.model && c.engine == *engine && c.unit.as_str() == HOST;
        let mut all = self.record.plan.cells.iter().filter(same).filter(|c| c.id != planned.id);
        all.find(|c| c.variant == planned.variant)
    }

    /// The same variant on the host; the cell itself when the host is its unit. The engine of a firmware that somebody else built is not
    /// on the host: this machine's own stands in for it.
    pub fn on_host(&self, cell: &Cell) -> Option<&'a Cell> {
        let plan = &self.record.plan;
        if cell.engine.as_str() != FOREIGN {
            return plan.on_host(cell);
        }
        let same = |c: &&Cell| c.model == cell.model && c.variant == cell.variant && c.unit.as_str() == HOST;
        plan.cells.iter().filter(same).find(|c| c.has_float_engine())
    }

    /// The cell's unit runs a firmware that somebody else built.
    pub fn is_foreign(&self, cell: &Cell) -> bool {
        self.record.plan.targets.get(&cell.target).is_some_and(|target| target.dialect.is_some())
    }

    /// The float model by the same engine on the same unit: what latency and memory are compared with.
    pub fn reference_on_unit(&self, cell: &Cell) -> Option<&'a Cell> {
        let reference = &self.model(cell).reference;
        let same = |c: &&Cell| c.model == cell.model && c.unit == cell.unit && c.engine == cell.engine;
        self.record.plan.cells.iter().filter(same).find(|c| c.variant == *reference)
    }

    /// The float model by the cell's engine on the host, where another engine answers for the reference: its second opinion.
    pub fn second_opinion(&self, cell: &Cell) -> Option<&'a Cell> {
        let planned = self.planned_reference(cell)?;
        if self.no_second_opinion(cell).is_some() { None } else { self.float_on_host(cell, planned) }
    }

    /// What an observed cell was planned to do in this pass.
    fn planned(&self, cell: &CellId, pass: Pass) -> Option<&'a PassPlan> {
        let cell = self.record.plan.cells.iter().find(|c| c.id == *cell)?;
        cell.passes.iter().find(|p| p.pass == pass)
    }

    /// Samples that a cell's accuracy pass was asked for and, where it may stop early, has come to.
    pub fn visited(&self, cell: &CellId) -> u64 {
        let Some(plan) = self.planned(cell, Pass::Accuracy) else { return 0 };
        let stopped = self.completed(cell, Pass::Accuracy).filter(|_| plan.may_stop());
        stopped.map_or(plan.samples, |pass| pass.inferences.min(plan.samples))
    }

    /// Outputs of a cell for the first samples; `None` when there are none.
    pub fn first_outputs(&self, cell: &CellId, samples: u64) -> Result<Option<Vec<Tensor<'a>>>, EvidenceError> {
        let Some(all) = self.outputs(cell)? else { return Ok(None) };
        let more = |tensor: &Tensor<'_>| tensor.shape.first().is_some_and(|count| *count as u64 > samples);
        Ok(Some(all.into_iter().map(|tensor| if more(&tensor) { tensor.first(samples) } else { tensor }).collect()))
    }

    /// Outputs of a cell's accuracy pass, each with one answer per sample that was visited; `None` when there are none. Where the variant
    /// answers in integers they are the numbers that these stand for.
    pub fn outputs(&self, cell: &CellId) -> Result<Option<Vec<Tensor<'a>>>, EvidenceError> {
        let Some(file) = self.completed(cell, Pass::Accuracy).and_then(|p| p.outputs.as_ref()) else { return Ok(None) };
        let bytes = self.bytes(file)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|source| format(file, source))?;
        let names = metadata.metadata().as_ref().and_then(|m| m.get("names")).map(String::as_str).unwrap_or("{}");
        let names: BTreeMap<String, String> = serde_json::from_str(names).map_err(|e| damaged(file, &e))?;
        let opened = self.open(file)?;
        let mut outputs = Vec::new();
        for index in 0..names.len() {
            let name =
                names.get(&index.to_string()).ok_or_else(|| damaged(file, &"outputs are not numbered without gaps"))?;
            let mut tensor = opened
                .iter()
                .find(|t| t.name == format!("output.{index}"))
                .cloned()
                .ok_or_else(|| damaged(file, &"an output is missing"))?;
            tensor.name.clone_from(name);
            outputs.push(tensor);
        }
        if outputs.len() != opened.len() || outputs.is_empty() {
            return Err(damaged(file, &"outputs and their names differ in number"));
        }
        let expected = self.visited(cell);
        for output in &outputs {
            let found = output.shape.first().copied().unwrap_or(0) as u64;
            if found != expected {
                return Err(samples_of(file, &output.name, expected, found));
            }
        }
        let affines = self.output_quantization(cell);
        if affines.is_empty() {
            return Ok(Some(outputs));
        }
        if affines.len() != outputs.len() {
            let what =
                format!("it holds {} outputs, and the plan has the quantization of {}", outputs.len(), affines.len());
            return Err(damaged(file, &what));
        }
        Ok(Some(outputs.into_iter().zip(affines).map(|(output, affine)| output.dequantized(*affine)).collect()))
    }

    /// What the integers of a cell's outputs stand for; nothing where its variant answers in floats.
    fn output_quantization(&self, cell: &CellId) -> &'a [Affine] {
        let plan = &self.record.plan;
        let cell = plan.cells.iter().find(|c| c.id == *cell);
        let variant = cell.and_then(|cell| plan.models.get(&cell.model)?.variants.get(&cell.variant));
        variant.map_or(&[], |variant| &variant.output_quantization)
    }

    /// The numbers of a custom metric of the model, one per answer of the cell's accuracy pass, or why there are none. Numbers that its range
    /// does not allow are no numbers of this metric.
    pub fn numbers(&self, cell: &Cell, metric: &CustomMetric) -> Result<Result<Vec<f64>, String>, EvidenceError> {
        let name = &metric.name;
        let file = match self.record.custom.get(&cell.id).and_then(|metrics| metrics.get(name)) {
            Some(Numbers::Given { file, .. }) => file,
            Some(Numbers::Failed { causes }) => {
                return Ok(Err(format!("{name} of {}: {}", cell.id, causes.join(": "))));
            }
            None => return Ok(Err(format!("the record has no numbers of {name} for {}", cell.id))),
        };
        let opened = self.open(file)?;
        let tensor = opened
            .iter()
            .find(|t| t.name == NUMBERS && t.dtype == DType::F64)
            .ok_or_else(|| damaged(file, &format!("no tensor '{NUMBERS}' of F64")))?;
        let numbers = tensor.to_f64();
        let answers = self.outputs(&cell.id)?.unwrap_or_default();
        let expected = answers.first().and_then(|output| output.shape.first().copied()).unwrap_or(0);
        if numbers.len() != expected {
            return Err(samples_of(file, NUMBERS, expected as u64, numbers.len() as u64));
        }
        let [least, most] = metric.range;
        match numbers.iter().find(|number| !(least..=most).contains(*number)) {
            Some(beyond) => Err(damaged(file, &format!("expected numbers from {least} to {most}, got {beyond}"))),
            None => Ok(Ok(numbers)),
        }
    }

    /// Latencies of a cell in nanoseconds, one per measured inference; `None` when there are none, also where the unit's clock does not
    /// count time.
    pub fn latencies_ns(&self, cell: &CellId) -> Result<Option<Vec<f64>>, EvidenceError> {
        if !self.clock(cell).is_time() {
            return Ok(None);
        }
        self.clock_ns(cell)
    }

    /// Instructions of each measured inference on an emulator that counts them; `None` when there are none. Exact to the width of a tick.
    pub fn instructions(&self, cell: &CellId) -> Result<Option<Vec<f64>>, EvidenceError> {
        match self.clock(cell) {
            Clock::Time => Ok(None),
            Clock::Instructions { ns_each } => {
                let counts = self.clock_ns(cell)?;
                Ok(counts.map(|ns| ns.into_iter().map(|ns| (ns / f64::from(ns_each.max(1))).round()).collect()))
            }
        }
    }

    /// What the clock of the cell's unit counts.
    pub fn clock(&self, cell: &CellId) -> Clock {
        let plan = &self.record.plan;
        let cell = plan.cells.iter().find(|c| c.id == *cell);
        cell.and_then(|cell| plan.targets.get(&cell.target)).map_or(Clock::Time, |target| target.clock)
    }

    /// What the unit's clock counted in each measured inference, in its own nanoseconds.
    ///
    /// As many as the plan allows and the pass says, no more and no fewer. Times that no clock can have measured are refused: they would
    /// decide a quantile as well as true ones.
    fn clock_ns(&self, cell: &CellId) -> Result<Option<Vec<f64>>, EvidenceError> {
        let Some(seen) = self.observation(cell) else { return Ok(None) };
        let Some(pass) = self.completed(cell, Pass::Latency) else { return Ok(None) };
        let Some(file) = &pass.ticks else { return Ok(None) };
        let opened = self.open(file)?;
        let ticks = opened
            .iter()
            .find(|t| t.name == "ticks" && t.dtype == DType::U64)
            .ok_or_else(|| damaged(file, &"no tensor 'ticks' of U64"))?;
        let ticks: Vec<u64> = ticks.bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        let plan = self.planned(cell, Pass::Latency);
        let found = ticks.len() as u64;
        let expected = match plan {
            Some(plan) if plan.is_whole(found) => pass.inferences,
            plan => plan.map_or(0, |p| u64::from(p.iterations)),
        };
        if found != expected {
            return Err(samples_of(file, "ticks", expected, found));
        }
        let hz = seen.device.tick_hz;
        if !(1..=TICK_HZ_MAX).contains(&hz) {
            return Err(damaged(file, &format!("expected a tick rate of 1 to {TICK_HZ_MAX} per second, got {hz}")));
        }
        let deadline_ms = plan.map_or(0, |p| p.deadline_ms);
        let sum_ms = ticks.iter().map(|t| u128::from(*t)).sum::<u128>() * 1000 / u128::from(hz);
        // A process that was ended at its deadline cannot have run for longer; twice, because two clocks measured.
        if sum_ms > 2 * u128::from(deadline_ms) {
            let what = format!("inferences of {sum_ms} ms in all were timed in a pass of at most {deadline_ms} ms");
            return Err(damaged(file, &what));
        }
        Ok(Some(ticks.into_iter().map(|t| t as f64 * (1e9 / hz as f64)).collect()))
    }

    /// Labels and slices for the first `samples` samples.
    pub fn truth(&self, model: &Model, samples: u64) -> Result<Truth<'a>, EvidenceError> {
        let evalset = &model.evalset;
        let file = self.record.evalsets.get(&evalset.digest).ok_or(EvidenceError::NoEvalset(evalset.digest))?;
        let opened = self.open(file)?;
        let find = |name: &str| opened.iter().find(|t| t.name == name).cloned();
        let whole = |name: &str| -> Result<Vec<i64>, EvidenceError> {
            let tensor = find(name).ok_or_else(|| damaged(file, &format!("no tensor '{name}'")))?;
            let error = |source| EvidenceError::Tensor { path: file.path.clone(), tensor: name.into(), source };
            let values = tensor.view().to_i64().map_err(error)?;
            // The whole evalset is in the record, also when a run used a part of it: labels of another one rarely fit.
            if values.len() as u64 != evalset.samples {
                return Err(samples_of(file, name, evalset.samples, values.len() as u64));
            }
            Ok(values)
        };
        let column = |name: &str| -> Result<Vec<i64>, EvidenceError> {
            let mut values = whole(name)?;
            values.truncate(samples as usize);
            Ok(values)
        };
        let labels = column(&evalset.labels)?;
        if let Some((sample, label)) = labels.iter().enumerate().find(|(_, label)| !is_label(&model.task, **label)) {
            return Err(damaged(
                file,
                &format!("the label of sample {sample} is {label}, which the task does not have"),
            ));
        }
        let ids = evalset.ids.as_ref().map(|ids| column(ids)).transpose()?;
        if let Some(ids) = &ids {
            let distinct: BTreeSet<_> = ids.iter().collect();
            if distinct.len() != ids.len() {
                return Err(damaged(file, &"a sample is there twice"));
            }
        }
        let slices = evalset.slices.iter().map(|(name, values)| {
            let codes = column(&format!("slice.{name}"))?;
            match codes.iter().find(|code| usize::try_from(**code).map_or(true, |code| code >= values.len())) {
                Some(code) => {
                    Err(damaged(file, &format!("slice '{name}' has {} values, found code {code}", values.len())))
                }
                None => Ok((name.clone(), codes)),
            }
        });
        let slices = slices.collect::<Result<_, EvidenceError>>()?;
        let order = match evalset.order {
            None => None,
            Some(drawn) => {
                let codes = evalset.slices.keys().map(|name| whole(&format!("slice.{name}")));
                let codes = codes.collect::<Result<Vec<_>, _>>()?;
                let order = drawn_again(&whole(ORDER)?, &codes, drawn.seed).map_err(|why| damaged(file, &why))?;
                Some(order.into_iter().take(samples as usize).collect())
            }
        };
        let inputs = evalset.inputs.iter().filter_map(|n| find(n)).collect();
        Ok(Truth { labels, ids, slices, inputs, order })
    }

    /// Inputs of some samples of a model's evalset, by the samples' numbers: those that the record has kept to be shown.
    pub fn shown(&self, model: &Model) -> Result<BTreeMap<u64, Tensor<'a>>, EvidenceError> {
        let Some(file) = self.record.shown.get(&model.evalset.digest) else { return Ok(BTreeMap::new()) };
        let opened = self.open(file)?;
        let find = |name: &str| opened.iter().find(|t| t.name == name);
        let (Some(numbers), Some(inputs)) = (find(SAMPLES), find(INPUT)) else {
            return Err(damaged(file, &format!("no tensors '{SAMPLES}' and '{INPUT}'")));
        };
        let error = |source| EvidenceError::Tensor { path: file.path.clone(), tensor: SAMPLES.into(), source };
        let numbers = numbers.view().to_i64().map_err(error)?;
        if inputs.shape.first() != Some(&numbers.len()) {
            let found = inputs.shape.first().copied().unwrap_or(0) as u64;
            return Err(samples_of(file, INPUT, numbers.len() as u64, found));
        }
        let of = |(row, number): (usize, &i64)| Some((u64::try_from(*number).ok()?, inputs.of(&[row])));
        Ok(numbers.iter().enumerate().filter_map(of).collect())
    }

    /// Names of the columns of a model's table: those of model.toml, else those that the evalset itself has.
    pub fn columns(&self, model: &Model) -> Vec<String> {
        let named = &model.evalset.columns;
        let kept = || {
            let bytes = self.bytes(self.record.shown.get(&model.evalset.digest)?).ok()?;
            let (_, metadata) = SafeTensors::read_metadata(bytes).ok()?;
            serde_json::from_str(metadata.metadata().as_ref()?.get(COLUMNS)?).ok()
        };
        if named.is_empty() { kept().unwrap_or_default() } else { named.clone() }
    }

    fn bytes(&self, file: &FileRef) -> Result<&'a [u8], EvidenceError> {
        self.files.get(&file.path).map(Vec::as_slice).ok_or_else(|| EvidenceError::NoFile { path: file.path.clone() })
    }

    fn open(&self, file: &FileRef) -> Result<Vec<Tensor<'a>>, EvidenceError> {
        let opened = SafeTensors::deserialize(self.bytes(file)?).map_err(|source| format(file, source))?;
        let tensor = |(name, view): (String, safetensors::tensor::TensorView<'a>)| {
            let error = |source| EvidenceError::Tensor { path: file.path.clone(), tensor: name.clone(), source };
            let dtype = DType::from_name(&format!("{:?}", view.dtype())).map_err(error)?;
            TensorView::new(dtype, view.shape(), view.data()).map_err(error)?;
            let (shape, bytes) = (view.shape().to_vec(), Cow::Borrowed(view.data()));
            Ok(Tensor { name: name.clone(), dtype, shape, bytes, integers: None })
        };
        opened.tensors().into_iter().map(tensor).collect()
    }
}

/// The order of an evalset, proved to be the one that its seed draws: in any other, the samples that a pass stopped after could have been
/// chosen.
fn drawn_again(numbers: &[i64], slices: &[Vec<i64>], seed: u32) -> Result<Vec<u64>, String> {
    let count = numbers.len();
    let mut place = vec![None; count];
    for (at, number) in numbers.iter().enumerate() {
        let known = usize::try_from(*number).ok().and_then(|number| place.get_mut(number));
        match known {
            Some(known) if known.is_none() => *known = Some(at),
            _ => return Err(format!("its order names sample {number} twice, or has none of that number")),
        }
    }
    let of_sample = |at: &Option<usize>| slices.iter().map(|codes| codes[at.expect("each is there")]).collect();
    let strata = strata(&place.iter().map(of_sample).collect::<Vec<Vec<i64>>>());
    let drawn = order(seed, &strata);
    let same = drawn.iter().zip(numbers).all(|(drawn, number)| i64::try_from(*drawn) == Ok(*number));
    if same { Ok(drawn) } else { Err(format!("its samples are not in the order that seed {seed} draws")) }
}

fn format(file: &FileRef, source: safetensors::SafeTensorError) -> EvidenceError {
    EvidenceError::Format { path: file.path.clone(), source }
}

/// Clocks of processors tick a few billion times per second; a rate beyond this would make every latency vanish.
const TICK_HZ_MAX: u64 = 100_000_000_000;

/// Can a sample of this task have this label? A label beyond would be counted as some class or as none.
fn is_label(task: &Task, label: i64) -> bool {
    match task {
        Task::Classification { classes } => usize::try_from(label).is_ok_and(|label| label < classes.len()),
        Task::Binary { .. } | Task::Anomaly => matches!(label, 0 | 1),
        Task::Regression => true,
    }
}

fn samples_of(file: &FileRef, tensor: &str, expected: u64, found: u64) -> EvidenceError {
    EvidenceError::Samples { path: file.path.clone(), tensor: tensor.to_owned(), expected, found }
}

fn damaged(file: &FileRef, what: &dyn std::fmt::Display) -> EvidenceError {
    EvidenceError::Damaged { path: file.path.clone(), what: what.to_string() }
}
