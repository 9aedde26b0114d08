//! From a graph to integer operators: node by node, numbers are kept as what they were made of until something quantizes them.

use crate::constant::{Constant, ElementType};
use crate::graph::{Graph, Input, Node};
use crate::operators::as_function;
use crate::value::{ALL, Body, Clamp, Layout, Operator, Quant, Real, RealSums, Sums, Tensor, Value, Window};
use crate::{CompileError, Edges, Unsupported};
use boardproof_micro::{Dtype, Kind, Multiplier};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What a graph becomes.
#[derive(Debug, Default)]
pub struct Program {
    pub tensors: Vec<Tensor>,
    pub operators: Vec<Operator>,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
}

/// Scale and zero point of a quantization, the latter of values from -128 to 127.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    pub scale: f64,
    pub zero_point: i32,
}

/// Why something cannot be lowered.
pub type Why = String;

/// A graph that is being lowered.
pub struct Lowering<'g> {
    pub graph: &'g Graph,
    pub program: Program,
    pub values: BTreeMap<String, Value>,
    edges: Edges,
    /// Number of the tensor of each input that is one of the result.
    inputs: BTreeMap<usize, usize>,
    /// Inputs whose values are quantized: with what.
    quantized: BTreeMap<usize, (Steps, usize)>,
    /// Tensors with their channels last, by the tensor in the order of the ONNX model.
    images: BTreeMap<usize, usize>,
    /// Tensors of 8-bit values that came in, as long as nobody has said what a step of them is worth.
    pub unread: BTreeSet<usize>,
}

/// Lowers a graph.
pub fn lower(graph: &Graph, edges: Edges) -> Result<Program, CompileError> {
    let values = graph.constants.iter().map(|(n, c)| (n.clone(), Value::Constant(Rc::new(c.clone()))));
    let mut lowering = Lowering {
        graph,
        program: Program::default(),
        values: values.collect(),
        edges,
        inputs: BTreeMap::new(),
        quantized: BTreeMap::new(),
        images: BTreeMap::new(),
        unread: BTreeSet::new(),
    };
    for (i, input) in graph.inputs.iter().enumerate() {
        let value = lowering.input(i, input);
        lowering.values.insert(input.name.clone(), value);
    }
    let mut refused: Vec<Unsupported> = graph.nodes.iter().filter_map(unknown).collect();
    if !refused.is_empty() {
        return Err(CompileError::Unsupported(refused));
    }
    for node in &graph.nodes {
        let made = lowering.node(node).unwrap_or_else(|reason| {
            refused.push(Unsupported { operator: node.op.clone(), node: node.name.clone(), reason });
            vec![Value::Refused; node.outputs.len()]
        });
        let named = node.outputs.iter().cloned().zip(made);
        lowering.values.extend(named.filter(|(name, _)| !name.is_empty()));
    }
    for name in &graph.outputs {
        if let Err(reason) = lowering.output(name) {
            let maker = graph.nodes.iter().find(|n| n.outputs.contains(name));
            let (operator, node) = maker.map_or(("output".into(), name.clone()), |n| (n.op.clone(), n.name.clone()));
            refused.push(Unsupported { operator, node, reason });
        }
    }
    if !refused.is_empty() {
        return Err(CompileError::Unsupported(refused));
    }
    lowering.order_inputs()?;
    crate::copies::drop_idle(&mut lowering.program);
    Ok(lowering.program)
}

/// A node that nothing here knows, whatever stands before it.
fn unknown(node: &Node) -> Option<Unsupported> {
    let reason = "it is none of the operators that a microcontroller runs (docs/micro.md lists them)".to_owned();
    let known = crate::operators::is_known(node);
    (!known).then(|| Unsupported { operator: node.op.clone(), node: node.name.clone(), reason })
}

impl Lowering<'_> {
    fn input(&mut self, index: usize, input: &Input) -> Value {
        if input.element.is_byte() {
            // Its quantization stands in the node that reads it; until then one step is worth 1.
            let zero_point = if input.element == ElementType::U8 { -128 } else { 0 };
            let tensor = self.tensor(&input.name, Dtype::I8, &input.dims, Steps { scale: 1.0, zero_point });
            self.add_input(index, tensor);
            self.unread.insert(tensor);
            return Value::Quant(Quant { tensor, dims: input.dims.clone(), layout: Layout::Plain });
        }
        Value::Input(index)
    }

    fn add_input(&mut self, index: usize, tensor: usize) {
        self.program.inputs.push(tensor);
        self.inputs.insert(index, tensor);
    }

    /// Inputs stand in the order of the ONNX model, all of them: who feeds it goes by that.
    fn order_inputs(&mut self) -> Result<(), CompileError> {
        let found = self.graph.inputs.iter().enumerate().map(|(i, input)| {
            let unused = || CompileError::Malformed(format!("nothing uses input '{}'", input.name));
            self.inputs.get(&i).copied().ok_or_else(unused)
        });
        self.program.inputs = found.collect::<Result<_, _>>()?;
        Ok(())
    }

    pub fn tensor(&mut self, name: &str, dtype: Dtype, dims: &[usize], steps: Steps) -> usize {
        let (scale, zero_point) = (steps.scale as f32, steps.zero_point);
        self.program.tensors.push(Tensor { name: name.into(), dtype, dims: dims.to_vec(), scale, zero_point });
        self.program.tensors.len() - 1
    }

    pub fn steps(&self, tensor: usize) -> Steps {
        let tensor = &self.program.tensors[tensor];
        Steps { scale: f64::from(tensor.scale), zero_point: tensor.zero_point }
    }

    pub fn push(&mut self, name: &str, kind: Kind, inputs: &[usize], output: usize, body: Body) {
        let (name, inputs) = (name.to_owned(), inputs.to_vec());
        self.program.operators.push(Operator { name, kind, inputs, output, body });
    }

    /// Quantizes an input of numbers: its values become the input of the result, or the result's first operator makes them.
    pub fn quantize_input(&mut self, index: usize, steps: Steps, name: &str) -> Result<Quant, Why> {
        let input = &self.graph.inputs[index];
        let quant = |tensor| Quant { tensor, dims: input.dims.clone(), layout: Layout::Plain };
        if let Some((known, tensor)) = self.quantized.get(&index) {
            return match *known == steps {
                true => Ok(quant(*tensor)),
                false => Err(format!("input '{}' is quantized in two ways", input.name)),
            };
        }
        let tensor = match self.edges {
            Edges::HostQuantizes => {
                let tensor = self.tensor(&input.name, Dtype::I8, &input.dims, steps);
                self.add_input(index, tensor);
                tensor
            }
            Edges::DeviceQuantizes => {
                let numbers = self.tensor(&input.name, Dtype::F32, &input.dims, Steps { scale: 1.0, zero_point: 0 });
                self.add_input(index, numbers);
                let tensor = self.tensor(name, Dtype::I8, &input.dims, steps);
                self.push(name, Kind::Quantize, &[numbers], tensor, Body::Numbers([0; 4], ALL));
                tensor
            }
        };
        self.quantized.insert(index, (steps, tensor));
        Ok(quant(tensor))
    }

    /// The same values with channels last, in memory.
    pub fn image(&mut self, of: &Quant) -> Result<Quant, Why> {
        let (channels, height, width) = as_image(&of.dims)?;
        let image = |tensor| Quant { tensor, dims: of.dims.clone(), layout: Layout::Image };
        match of.layout {
            Layout::Image => return Ok(of.clone()),
            Layout::Flat { .. } => return Err("a flattened image cannot be an image again".into()),
            Layout::Plain => {}
        }
        if let Some(known) = self.images.get(&of.tensor) {
            return Ok(image(*known));
        }
        let name = format!("{} channels last", self.program.tensors[of.tensor].name);
        let dims = [height, width, channels];
        let tensor = if channels == 1 || height * width == 1 {
            // The same order of elements.
            self.copied(of.tensor, &dims, &name, &name)
        } else {
            let order: &[usize] = if of.dims.len() == 2 { &[2, 1, 0] } else { &[1, 2, 0] };
            self.transposed(of.tensor, order, &dims, &name, &name)
        };
        self.images.insert(of.tensor, tensor);
        Ok(image(tensor))
    }

    /// The same values in the order of the ONNX model, in memory.
    pub fn plain(&mut self, of: &Quant) -> Result<Quant, Why> {
        let (channels, height, width) = match of.layout {
            Layout::Plain => return Ok(of.clone()),
            Layout::Flat { channels, pixels } => (channels, 1, pixels),
            Layout::Image => as_image(&of.dims)?,
        };
        let name = format!("{} channels first", self.program.tensors[of.tensor].name);
        let same_order = channels == 1 || height * width == 1;
        let mut tensor = of.tensor;
        if !same_order {
            let rows = self.copied(of.tensor, &[height, width, channels], &name, &name);
            tensor = self.transposed(rows, &[2, 0, 1], &[channels, height, width], &name, &name);
        }
        let tensor = self.copied(tensor, &of.dims, &name, &name);
        Ok(Quant { tensor, dims: of.dims.clone(), layout: Layout::Plain })
    }

    /// The same bytes under another shape: a copy, which is dropped again where nothing relies on the old shape.
    fn copied(&mut self, tensor: usize, dims: &[usize], node: &str, name: &str) -> usize {
        if self.program.tensors[tensor].dims == dims {
            return tensor;
        }
        let steps = self.steps(tensor);
        let copy = self.tensor(name, Dtype::I8, dims, steps);
        self.push(node, Kind::Copy, &[tensor], copy, Body::Numbers([0; 4], ALL));
        copy
    }

    /// Dimensions in another order: each is the input's of that number.
    pub fn transposed(&mut self, tensor: usize, order: &[usize], dims: &[usize], node: &str, name: &str) -> usize {
        let steps = self.steps(tensor);
        let output = self.tensor(name, Dtype::I8, dims, steps);
        let numbers = std::array::from_fn(|i| order.get(i).map_or(i as i32, |d| *d as i32));
        self.push(node, Kind::Transpose, &[tensor], output, Body::Numbers(numbers, ALL));
        output
    }

    /// The same values with another shape in the ONNX model.
    pub fn reshaped(&mut self, of: &Quant, dims: &[usize], name: &str) -> Result<Quant, Why> {
        if dims.len() > 4 {
            return Err(format!("shape {dims:?} has more than four dimensions"));
        }
        if of.layout == Layout::Image {
            let (channels, height, width) = as_image(&of.dims)?;
            if dims.len() == 1 && channels > 1 && height * width > 1 {
                let layout = Layout::Flat { channels, pixels: height * width };
                return Ok(Quant { tensor: of.tensor, dims: dims.to_vec(), layout });
            }
            if matches!(dims.len(), 2 | 3) && dims[0] == channels {
                // Height and width in other proportions: the same pixels in the same order.
                let stored = self.stored(dims, Layout::Image)?;
                let tensor = self.copied(of.tensor, &stored, name, name);
                return Ok(Quant { tensor, dims: dims.to_vec(), layout: Layout::Image });
            }
        }
        let plain = self.plain(of)?;
        let tensor = self.copied(plain.tensor, dims, name, name);
        Ok(Quant { tensor, dims: dims.to_vec(), layout: Layout::Plain })
    }

    /// Works numbers out and makes 8-bit values of them.
    pub fn quantize(&mut self, real: &Real, steps: Steps, node: &str, name: &str) -> Result<Quant, Why> {
        match real {
            Real::Of(of) if self.steps(of.tensor) == steps => Ok(of.clone()),
            Real::Of(of) => {
                let own = self.steps(of.tensor);
                let table: Vec<f64> = (-128..=127).map(|q| f64::from(q - own.zero_point) * own.scale).collect();
                self.table(of, &table, steps, node, name)
            }
            Real::Function { of, table } => self.table(of, table, steps, node, name),
            Real::Sums(sums) => self.sums(sums, steps, node, name),
            Real::Affine { of, factors, offsets, ends } => {
                if let Some((of, table)) = as_function(self, real) {
                    return self.table(&of, &table, steps, node, name);
                }
                let sums = self.affine(of, factors, offsets, *ends)?;
                self.sums(&sums, steps, node, name)
            }
            Real::Both { kind, of, ends } => self.both(*kind, of, steps, clamp_of(*ends, steps), (node, name)),
            Real::Pool { kind, of, window, dims, ends } => {
                let clamp = clamp_of(*ends, steps);
                let pool = Pool { kind: *kind, window: *window, dims: dims.clone(), clamp };
                self.pool(&pool, of, steps, (node, name))
            }
            Real::Softmax(of) => self.softmax(of, steps, node, name),
            Real::Concat { of, axis } => self.concat(of, *axis, steps, (node, name)),
            Real::Pad { of, before, dims } => self.pad(of, before, dims, steps, (node, name)),
        }
    }

    fn table(&mut self, of: &Quant, numbers: &[f64], steps: Steps, node: &str, name: &str) -> Result<Quant, Why> {
        let mut table = Box::new([0_i8; 256]);
        for (value, number) in table.iter_mut().zip(numbers) {
            // In f32, as the model would have it.
            *value = boardproof_micro::quantize(*number as f32, steps.scale as f32, steps.zero_point);
        }
        let dims = self.program.tensors[of.tensor].dims.clone();
        let tensor = self.tensor(name, Dtype::I8, &dims, steps);
        self.push(node, Kind::Table, &[of.tensor], tensor, Body::Table(table));
        Ok(Quant { tensor, ..of.clone() })
    }

    /// A number per channel times the value, and one more: a depthwise convolution with a window of one.
    fn affine(&mut self, of: &Quant, factors: &[f64], offsets: &[f64], ends: (f64, f64)) -> Result<Rc<RealSums>, Why> {
        let of = if of.dims.len() == 1 { self.plain(of)? } else { self.image(of)? };
        let own = self.steps(of.tensor);
        // One step of the sum is a fraction of a step of what comes in, so that the offset is not rounded to whole ones.
        let worth = |factor: &f64| own.scale * factor.abs().max(1e-30);
        let sizes: Vec<i32> = factors.iter().zip(offsets).map(|(f, offset)| fraction_near(offset / worth(f))).collect();
        let weights = factors.iter().zip(&sizes).map(|(f, size)| if *f < 0.0 { -size } else { *size }).collect();
        let steps = factors.iter().zip(&sizes).map(|(f, size)| worth(f) / f64::from(*size)).collect();
        Ok(Rc::new(RealSums {
            kind: Kind::DepthwiseConv2d,
            weights,
            steps,
            biases: offsets.to_vec(),
            window: Window::ONE,
            dims: of.dims.clone(),
            layout: of.layout,
            ends,
            of,
        }))
    }

    fn sums(&mut self, sums: &RealSums, steps: Steps, node: &str, name: &str) -> Result<Quant, Why> {
        let input = self.steps(sums.of.tensor);
        let row = sums.weights.len() / sums.steps.len().max(1);
        let narrow = |w: &i32| {
            i8::try_from(*w).map_err(|_| format!("a weight of {w} without its zero point has no place in 8 bit"))
        };
        let weights: Vec<i8> = sums.weights.iter().map(narrow).collect::<Result<_, _>>()?;
        let mut biases = Vec::new();
        let mut multipliers = Vec::new();
        for (channel, (step, bias)) in sums.steps.iter().zip(&sums.biases).enumerate() {
            let folded: i64 = sums.weights[channel * row..(channel + 1) * row].iter().map(|w| i64::from(*w)).sum();
            let whole = (bias / step).round() - (folded * i64::from(input.zero_point)) as f64;
            if whole.is_nan() || whole.abs() > BIAS_MAX {
                return Err(format!(
                    "the bias {bias} of channel {channel} is {whole:.0} steps of its sum, which have no place"
                ));
            }
            biases.push(whole as i32);
            let by = Multiplier::from_real(step / steps.scale);
            multipliers.push(by.ok_or_else(|| format!("the scale of channel {channel} cannot be: {step}"))?);
        }
        let clamp = clamp_of(sums.ends, steps);
        let dims = self.stored(&sums.dims, sums.layout)?;
        let tensor = self.tensor(name, Dtype::I8, &dims, steps);
        let body = Body::Sums(Sums { weights, biases, multipliers, window: sums.window, clamp });
        self.push(node, sums.kind, &[sums.of.tensor], tensor, body);
        Ok(Quant { tensor, dims: sums.dims.clone(), layout: sums.layout })
    }

    /// Dimensions in memory.
    fn stored(&self, dims: &[usize], layout: Layout) -> Result<Vec<usize>, Why> {
        Ok(match layout {
            Layout::Plain => dims.to_vec(),
            Layout::Flat { channels, pixels } => vec![pixels, channels],
            Layout::Image => {
                let (channels, height, width) = as_image(dims)?;
                vec![height, width, channels]
            }
        })
    }

    /// Tensors of one order in memory.
    fn alike(&mut self, of: &[Quant]) -> Result<Vec<Quant>, Why> {
        if of.iter().all(|q| q.layout == of[0].layout) {
            return Ok(of.to_vec());
        }
        let one_is_image = of.iter().any(|q| q.layout == Layout::Image);
        if one_is_image && of.iter().all(|q| q.layout != Layout::Plain || as_image(&q.dims).is_ok()) {
            return of.iter().map(|q| self.image(q)).collect();
        }
        of.iter().map(|q| self.plain(q)).collect()
    }

    fn both(
        &mut self,
        kind: Kind,
        of: &[Quant; 2],
        to: Steps,
        clamp: Clamp,
        names: (&str, &str),
    ) -> Result<Quant, Why> {
        if of[0].dims != of[1].dims {
            return Err(format!("shapes {:?} and {:?} differ", of[0].dims, of[1].dims));
        }
        let alike = self.alike(of)?;
        let [one, two] = [self.steps(alike[0].tensor), self.steps(alike[1].tensor)];
        let numbers = if kind == Kind::Add {
            sum_factors(one.scale / to.scale, two.scale / to.scale)?
        } else {
            let by = Multiplier::from_real(one.scale * two.scale / to.scale).ok_or("the scales cannot be")?;
            [by.factor, by.shift, 0, 0]
        };
        let dims = self.program.tensors[alike[0].tensor].dims.clone();
        // Both are one block of memory; an image that lies there as another shape has the same order.
        if self.program.tensors[alike[1].tensor].dims != dims {
            return Err("the two tensors lie in memory in different shapes".into());
        }
        let tensor = self.tensor(names.1, Dtype::I8, &dims, to);
        self.push(names.0, kind, &[alike[0].tensor, alike[1].tensor], tensor, Body::Numbers(numbers, clamp));
        Ok(Quant { tensor, ..alike[0].clone() })
    }

    fn pool(&mut self, pool: &Pool, of: &Quant, to: Steps, (node, name): (&str, &str)) -> Result<Quant, Why> {
        let own = self.steps(of.tensor);
        let image = self.image(of)?;
        let (channels, height, width) = as_image(&of.dims)?;
        let by = |count: usize| {
            Multiplier::from_real(own.scale / to.scale / count as f64).ok_or_else(|| "the scales cannot be".to_owned())
        };
        if pool.kind == Kind::GlobalAveragePool {
            let by = by(height * width)?;
            let layout = if pool.dims.len() == 1 { Layout::Plain } else { Layout::Image };
            let dims = self.stored(&pool.dims, layout)?;
            let tensor = self.tensor(name, Dtype::I8, &dims, to);
            let numbers = Body::Numbers([by.factor, by.shift, 0, 0], pool.clamp);
            self.push(node, pool.kind, &[image.tensor], tensor, numbers);
            return Ok(Quant { tensor, dims: pool.dims.clone(), layout });
        }
        let (_, height, width) = as_image(&pool.dims)?;
        // The largest value needs no arithmetic: another scale, or an end, is looked up behind it.
        let looked_up = pool.kind == Kind::MaxPool && (own != to || pool.clamp != ALL);
        let steps = if pool.kind == Kind::MaxPool { own } else { to };
        let pooled = if looked_up { format!("{name} pooled") } else { name.to_owned() };
        let tensor = self.tensor(&pooled, Dtype::I8, &[height, width, channels], steps);
        let taps = pool.window.kernel.0 * pool.window.kernel.1;
        let by_count =
            if pool.kind == Kind::AveragePool { (1..=taps).map(by).collect::<Result<_, _>>()? } else { Vec::new() };
        let body = Body::Pool { window: pool.window, by_count, clamp: pool.clamp };
        self.push(node, pool.kind, &[image.tensor], tensor, body);
        let pooled = Quant { tensor, dims: pool.dims.clone(), layout: Layout::Image };
        if !looked_up {
            return Ok(pooled);
        }
        let ends = (number_of(pool.clamp.0, to), number_of(pool.clamp.1, to));
        let numbers: Vec<f64> = (-128..=127).map(|q| number_of(q, own).clamp(ends.0, ends.1)).collect();
        self.table(&pooled, &numbers, to, node, name)
    }

    fn softmax(&mut self, of: &Quant, to: Steps, node: &str, name: &str) -> Result<Quant, Why> {
        let of = self.plain(of)?;
        let own = self.steps(of.tensor);
        let exponentials = (0..256).map(|i| ((own.scale * f64::from(i - 255)).exp() * 8_388_608.0).round() as i32);
        let inverse = (65_536.0 / to.scale).round();
        if !(1.0..=2_147_483_647.0).contains(&inverse) {
            return Err(format!("the scale {} of its output cannot be", to.scale));
        }
        let body = Body::Softmax { exponentials: exponentials.collect(), inverse: inverse as i32 };
        let tensor = self.tensor(name, Dtype::I8, &of.dims, to);
        self.push(node, Kind::Softmax, &[of.tensor], tensor, body);
        Ok(Quant { tensor, ..of })
    }

    fn concat(&mut self, of: &[Quant], axis: usize, to: Steps, (node, name): (&str, &str)) -> Result<Quant, Why> {
        let is_flat = |q: &Quant| matches!(q.layout, Layout::Flat { .. });
        let alike = match of.iter().any(is_flat) {
            true => of.iter().map(|q| self.plain(q)).collect::<Result<_, _>>()?,
            false => self.alike(of)?,
        };
        let first = alike.first().map(|quant| quant.dims.clone()).ok_or("it has no inputs")?;
        let mut all = Vec::new();
        for one in &alike {
            let sides = first.iter().zip(&one.dims).enumerate();
            if first.len() != one.dims.len() || sides.into_iter().any(|(i, (a, b))| i != axis && a != b) {
                return Err(format!("shapes {first:?} and {:?} differ", one.dims));
            }
            // Each in the steps of the whole first.
            all.push(self.quantize(&Real::Of(one.clone()), to, node, &format!("{name} part"))?);
        }
        let along = match (alike[0].layout, axis, first.len()) {
            (Layout::Image, 0, _) => 2,
            (Layout::Image, 1, 3) => 0,
            (Layout::Image, ..) => 1,
            // None is a flattened image here.
            (Layout::Plain | Layout::Flat { .. }, axis, _) => axis,
        };
        let mut rest = all.into_iter();
        let mut whole = rest.next().ok_or("it has no inputs")?;
        while let Some(next) = rest.next() {
            let mut dims = self.program.tensors[whole.tensor].dims.clone();
            dims[along] += self.program.tensors[next.tensor].dims[along];
            let name = if rest.len() == 0 { name.to_owned() } else { format!("{name} part") };
            let tensor = self.tensor(&name, Dtype::I8, &dims, to);
            let numbers = Body::Numbers([along as i32, 0, 0, 0], ALL);
            self.push(node, Kind::Concat, &[whole.tensor, next.tensor], tensor, numbers);
            let mut onnx = whole.dims.clone();
            onnx[axis] += next.dims[axis];
            whole = Quant { tensor, dims: onnx, layout: whole.layout };
        }
        Ok(whole)
    }

    fn pad(
        &mut self,
        of: &Quant,
        before: &[usize],
        dims: &[usize],
        to: Steps,
        (node, name): (&str, &str),
    ) -> Result<Quant, Why> {
        let of = if matches!(of.layout, Layout::Flat { .. }) { &self.plain(of)? } else { of };
        let own = self.steps(of.tensor);
        let stored = self.stored(dims, of.layout)?;
        let before = match (of.layout, before) {
            (Layout::Image, [c, h, w]) => vec![*h, *w, *c],
            (Layout::Image, [c, w]) => vec![0, *w, *c],
            (_, before) => before.to_vec(),
        };
        let padded = if own == to { name.to_owned() } else { format!("{name} padded") };
        let tensor = self.tensor(&padded, Dtype::I8, &stored, own);
        let numbers = std::array::from_fn(|i| before.get(i).copied().unwrap_or(0) as i32);
        self.push(node, Kind::Pad, &[of.tensor], tensor, Body::Numbers(numbers, ALL));
        let padded = Quant { tensor, dims: dims.to_vec(), layout: of.layout };
        self.quantize(&Real::Of(padded), to, node, name)
    }

    /// Gives the result an output: numbers, or the values as they are where the model says so.
    fn output(&mut self, name: &str) -> Result<(), Why> {
        let value = self.values.get(name).cloned().ok_or("nothing makes it")?;
        let numbers = Steps { scale: 1.0, zero_point: 0 };
        let (quant, add) = match value {
            Value::Refused => return Ok(()),
            Value::Quant(quant) => {
                let quant = self.plain(&quant)?;
                let dims = quant.dims.clone();
                let steps = self.steps(quant.tensor);
                let tensor = self.tensor(name, Dtype::I8, &dims, steps);
                self.push(name, Kind::Copy, &[quant.tensor], tensor, Body::Numbers([0; 4], ALL));
                self.program.outputs.push(tensor);
                return Ok(());
            }
            Value::Real(Real::Of(quant)) => (quant, None),
            Value::Real(Real::Affine { of, factors, offsets, ends })
                if factors.iter().all(|f| *f == 1.0) && ends == crate::value::ENDS && of.dims.len() == 1 =>
            {
                (of, Some(offsets.iter().map(|o| *o as f32).collect()))
            }
            Value::Real(real @ (Real::Softmax(_) | Real::Function { .. })) => {
                let steps = own_steps(&real);
                (self.quantize(&real, steps, name, &format!("{name} quantized"))?, None)
            }
            Value::Real(_) => return Err("its numbers are an output and nothing quantizes them".into()),
            Value::Input(_) | Value::Constant(_) | Value::Weights(_) => {
                return Err("an output is made of no operator".into());
            }
        };
        let quant = self.plain(&quant)?;
        let tensor = self.tensor(name, Dtype::F32, &quant.dims, numbers);
        self.push(name, Kind::Dequantize, &[quant.tensor], tensor, Body::Add(add));
        self.program.outputs.push(tensor);
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<Vec<Value>, Why> {
        let refused = |name: &String| matches!(self.values.get(name), Some(Value::Refused));
        if node.inputs.iter().any(refused) {
            return Ok(vec![Value::Refused; node.outputs.len()]);
        }
        if node.op == "Constant" {
            let constant = node.constant().ok_or("it has no value that is read here")?.map_err(|e| e.to_string())?;
            return Ok(vec![Value::Constant(Rc::new(constant))]);
        }
        let value = crate::operators::lower(self, node)?;
        if let Value::Quant(quant) | Value::Real(Real::Of(quant)) = &value {
            self.expect_in_place(quant)?;
        }
        Ok(vec![value])
    }

    /// Everything that moves values relies on this: a tensor lies in memory as its shape and layout say.
    fn expect_in_place(&self, quant: &Quant) -> Result<(), Why> {
        let expected = self.stored(&quant.dims, quant.layout)?;
        let found = &self.program.tensors[quant.tensor].dims;
        let is_flat = matches!(quant.layout, Layout::Flat { .. }) && found.iter().product::<usize>() == quant.dims[0];
        if *found == expected || is_flat {
            return Ok(());
        }
        Err(format!("a mistake of the compiler: it lies in memory as {found:?}, expected {expected:?}"))
    }

    /// A constant input.
    pub fn constant(&self, node: &Node, index: usize) -> Option<Rc<Constant>> {
        match self.values.get(node.inputs.get(index)?) {
            Some(Value::Constant(constant)) => Some(constant.clone()),
            _ => None,
        }
    }
}

/// A pool without what it is of.
struct Pool {
    kind: Kind,
    window: Window,
    dims: Vec<usize>,
    clamp: Clamp,
}

/// Largest bias, as the format has it.
const BIAS_MAX: f64 = 1_073_741_824.0;

/// Channels, height and width of an ONNX image without the sample.
pub fn as_image(dims: &[usize]) -> Result<(usize, usize, usize), Why> {
    match dims {
        [c] => Ok((*c, 1, 1)),
        [c, w] => Ok((*c, 1, *w)),
        [c, h, w] => Ok((*c, *h, *w)),
        _ => Err(format!("shape {dims:?} is no image: expected channels, height and width")),
    }
}

/// The denominator, no larger than a weight may be, of the fraction that is nearest to a number.
fn fraction_near(number: f64) -> i32 {
    let error = |denominator: i32| {
        let scaled = number * f64::from(denominator);
        (scaled - scaled.round()).abs() / f64::from(denominator)
    };
    // Of equal ones the largest.
    (1..=127).rev().min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(1)
}

pub fn number_of(value: i32, steps: Steps) -> f64 {
    f64::from(value - steps.zero_point) * steps.scale
}

/// Values between which the numbers between two ends lie.
pub fn clamp_of((low, high): (f64, f64), steps: Steps) -> Clamp {
    let value = |number: f64, end: i32| match number.is_finite() {
        true => i32::from(boardproof_micro::quantize(number as f32, steps.scale as f32, steps.zero_point)),
        false => end,
    };
    (value(low, -128), value(high, 127))
}

/// Factors and shift of a sum: as large as the format allows.
fn sum_factors(one: f64, two: f64) -> Result<[i32; 4], Why> {
    let largest = one.abs().max(two.abs());
    if !(largest > 0.0 && largest < 4_194_304.0) {
        return Err(format!("scales of {one} and {two} of the output's cannot be added"));
    }
    let shift = (0..=30).rev().find(|shift| largest * 2_f64.powi(*shift) < 4_194_303.0).unwrap_or(0);
    if shift == 0 {
        return Err(format!("a scale of {largest} of the output's cannot be added"));
    }
    let factor = |real: f64| (real * 2_f64.powi(shift)).round() as i32;
    Ok([factor(one), factor(two), shift, 0])
}

/// Steps for an output that the model leaves in numbers: shares have 256, anything else the range of its table.
fn own_steps(real: &Real) -> Steps {
    let Real::Function { table, .. } = real else { return Steps { scale: 1.0 / 256.0, zero_point: -128 } };
    let low = table.iter().copied().fold(0.0, f64::min);
    let high = table.iter().copied().fold(0.0, f64::max);
    let scale = f64::from(((high - low) / 255.0).max(1e-30) as f32);
    Steps { scale, zero_point: (-128.0 - low / scale).round() as i32 }
}
