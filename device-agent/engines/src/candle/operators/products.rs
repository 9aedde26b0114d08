//! Sums of products: matrices and convolutions.

use candle_core::{Tensor, bail};

use super::elementwise::channel_shape;
use super::shapes::{pad, with_zeros_between};
use super::{Build, Known, Run, one};

pub(super) fn find(operator: &str) -> Option<Build> {
    Some(match operator {
        "MatMul" => matmul_operator,
        "Gemm" => gemm,
        "Conv" => conv_operator,
        _ => return None,
    })
}

/// Multiply-accumulates of one run over inputs and an output of these shapes; none for an operator that adds up no products.
pub(in crate::candle) fn multiply_accumulates(operator: &str, inputs: &[&[usize]], output: &[usize]) -> Option<u64> {
    let each = match operator {
        // What lies under the kernel, for one channel of the output.
        "Conv" | "ConvInteger" => inputs.get(1)?.get(1..)?.iter().product(),
        "QLinearConv" => inputs.get(3)?.get(1..)?.iter().product(),
        "MatMul" | "MatMulInteger" | "QLinearMatMul" => *inputs.first()?.last()?,
        // Turned or not: the elements of A over its rows.
        "Gemm" => inputs.first()?.iter().product::<usize>().checked_div(*output.first()?)?,
        _ => return None,
    };
    Some(output.iter().product::<usize>() as u64 * each as u64)
}

fn matmul_operator(_: &Known<'_>) -> Result<Run, String> {
    Ok(Box::new(|inputs| {
        let (a, b) = (inputs.get(0)?, inputs.get(1)?);
        if a.element != b.element || !a.element.is_float() {
            bail!("expected two operands of one float type, got {} and {}", a.element, b.element);
        }
        one(a.like(matmul(&a.held, &b.held)?))
    }))
}

/// The product as numpy defines it: vectors count as one row or one column, leading axes are stretched over each other.
pub(super) fn matmul(a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    match (a.rank(), b.rank()) {
        (0, _) | (_, 0) => bail!("expected matrices, got a single number"),
        (1, 1) => matmul(&a.unsqueeze(0)?, &b.unsqueeze(1)?)?.squeeze(1)?.squeeze(0),
        (1, _) => {
            let product = matmul(&a.unsqueeze(0)?, b)?;
            product.squeeze(product.rank() - 2)
        }
        (_, 1) => {
            let product = matmul(a, &b.unsqueeze(1)?)?;
            product.squeeze(product.rank() - 1)
        }
        (2, 2) => a.contiguous()?.matmul(&b.contiguous()?),
        (rank, 2) => {
            // One product of all rows: what stretching would bring about, without copies of b.
            let (rows, inner) = (a.dims()[..rank - 1].to_vec(), a.dims()[rank - 1]);
            let product = a.contiguous()?.reshape(((), inner))?.matmul(&b.contiguous()?)?;
            product.reshape([rows, vec![b.dims()[1]]].concat())
        }
        _ => a.contiguous()?.broadcast_matmul(&b.contiguous()?),
    }
}

/// `alpha A B + beta C`, A and B transposed where the model says so.
fn gemm(known: &Known<'_>) -> Result<Run, String> {
    let node = known.node;
    let alpha = f64::from(node.float("alpha").unwrap_or(1.0));
    let beta = f64::from(node.float("beta").unwrap_or(1.0));
    let transposes = |name: &str| node.int(name).unwrap_or(0) != 0;
    let (transposes_a, transposes_b) = (transposes("transA"), transposes("transB"));
    let turned = move |tensor: &Tensor, turn: bool| if turn { tensor.t()?.contiguous() } else { tensor.contiguous() };
    // What is constant is turned once.
    let b = known.constant(1).map(|b| turned(&b.held, transposes_b)).transpose().map_err(|error| error.to_string())?;
    Ok(Box::new(move |inputs| {
        let a = inputs.get(0)?;
        let turned_b;
        let b = match &b {
            Some(b) => b,
            None => {
                turned_b = turned(&inputs.get(1)?.held, transposes_b)?;
                &turned_b
            }
        };
        let mut product = match transposes_a || !a.held.is_contiguous() {
            true => turned(&a.held, transposes_a)?.matmul(b)?,
            false => a.held.matmul(b)?,
        };
        if alpha != 1.0 {
            product = (product * alpha)?;
        }
        if let Some(c) = inputs.optional(2) {
            product = if beta == 1.0 {
                product.broadcast_add(&c.held)?
            } else {
                product.broadcast_add(&(&c.held * beta)?)?
            };
        }
        one(a.like(product))
    }))
}

/// How a window moves over a picture, or over a row: convolutions and pools.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// One entry per spatial axis.
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    /// All beginnings, then all ends.
    pads: Option<Vec<usize>>,
    auto: AutoPad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AutoPad {
    Explicit,
    Valid,
    /// As large as the input divided by the stride; an odd element goes to the end, or to the beginning.
    Same {
        at_end: bool,
    },
}

/// One axis of a window over an input of known extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) before: usize,
    pub(super) after: usize,
}

impl Window {
    pub(super) fn read(known: &Known<'_>) -> Result<Self, String> {
        let list = |name: &str| -> Result<Option<Vec<usize>>, String> {
            let read =
                |list: &[i64]| list.iter().map(|number| usize::try_from(*number).ok()).collect::<Option<Vec<_>>>();
            match known.node.ints(name).map(read) {
                Some(None) => Err(format!("expected {name} of at least 0, got a negative number")),
                Some(list) => Ok(list),
                None => Ok(None),
            }
        };
        let (strides, dilations) = (list("strides")?, list("dilations")?);
        if strides.iter().chain(&dilations).flatten().any(|step| *step == 0) {
            return Err("expected strides and dilations of at least 1, got 0".into());
        }
        let auto = match known.node.text("auto_pad").unwrap_or("NOTSET") {
            "" | "NOTSET" => AutoPad::Explicit,
            "VALID" => AutoPad::Valid,
            "SAME_UPPER" => AutoPad::Same { at_end: true },
            "SAME_LOWER" => AutoPad::Same { at_end: false },
            other => return Err(format!("auto_pad = {other} is not known")),
        };
        Ok(Window { strides, dilations, pads: list("pads")?, auto })
    }

    /// The axes for inputs of these spatial extents under a kernel of those.
    pub(super) fn axes(&self, extents: &[usize], kernel: &[usize]) -> candle_core::Result<Vec<Axis>> {
        let rank = extents.len();
        let fits = |list: &Option<Vec<usize>>, count: usize| list.as_ref().is_none_or(|list| list.len() == count);
        if kernel.len() != rank
            || !fits(&self.strides, rank)
            || !fits(&self.dilations, rank)
            || !fits(&self.pads, 2 * rank)
        {
            bail!("expected a window over {rank} spatial axes, got kernel {kernel:?} and {self:?}");
        }
        let pick = |list: &Option<Vec<usize>>, index: usize, default| list.as_ref().map_or(default, |list| list[index]);
        let one = |dim: usize| {
            let (stride, dilation) = (pick(&self.strides, dim, 1), pick(&self.dilations, dim, 1));
            let (before, after) = match self.auto {
                AutoPad::Explicit => (pick(&self.pads, dim, 0), pick(&self.pads, dim + rank, 0)),
                AutoPad::Valid => (0, 0),
                AutoPad::Same { at_end } => {
                    let reach = (kernel[dim].max(1) - 1) * dilation + 1;
                    let needed = (extents[dim].div_ceil(stride).max(1) - 1) * stride + reach;
                    let missing = needed.saturating_sub(extents[dim]);
                    let (less, more) = (missing / 2, missing - missing / 2);
                    if at_end { (less, more) } else { (more, less) }
                }
            };
            Axis { stride, dilation, before, after }
        };
        Ok((0..rank).map(one).collect())
    }
}

/// A convolution with the kernel it has.
pub(super) struct Convolution {
    window: Window,
    kernel: Tensor,
    groups: usize,
}

impl Convolution {
    /// Reads the node's attributes; the kernel's shape must be what they say.
    pub(super) fn read(known: &Known<'_>, kernel: &Tensor) -> Result<Self, String> {
        let groups = usize::try_from(known.node.int("group").unwrap_or(1)).unwrap_or(0);
        let spatial = kernel.dims().get(2..).unwrap_or(&[]);
        if !matches!(spatial.len(), 1 | 2) || spatial.contains(&0) {
            return Err(format!("expected a kernel over one or two spatial axes, got shape {:?}", kernel.dims()));
        }
        if groups == 0 || !kernel.dims()[0].is_multiple_of(groups) {
            return Err(format!("expected groups that divide {} channels, got {groups}", kernel.dims()[0]));
        }
        if let Some(declared) = known.node.ints("kernel_shape")
            && declared.iter().map(|extent| *extent as usize).ne(spatial.iter().copied())
        {
            return Err(format!("expected a kernel of {declared:?}, got shape {:?}", kernel.dims()));
        }
        Ok(Convolution { window: Window::read(known)?, kernel: kernel.clone(), groups })
    }

    pub(super) fn channels_out(&self) -> usize {
        self.kernel.dims()[0]
    }

    /// Convolves; what lies beyond the edges is 0.
    pub(super) fn run(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let spatial = &self.kernel.dims()[2..];
        if x.rank() != self.kernel.rank() {
            bail!("expected an input with {} axes, got {:?}", self.kernel.rank(), x.dims());
        }
        let axes = self.window.axes(&x.dims()[2..], spatial)?;
        for (dim, axis) in axes.iter().enumerate() {
            let (reach, extent) = ((spatial[dim] - 1) * axis.dilation + 1, x.dims()[dim + 2]);
            if extent + axis.before + axis.after < reach {
                bail!("expected at least {reach} elements under the kernel on axis {}, got {extent}", dim + 2);
            }
        }
        let first = axes[0];
        if axes.iter().any(|axis| axis.stride != first.stride) {
            return self.run_by_steps(x, &axes);
        }
        // candle pads all sides alike and knows one dilation: anything else is brought about before.
        let is_even = axes.iter().all(|axis| axis.before == axis.after && axis.before == first.before);
        let (x, padding) = if is_even { (x.clone(), first.before) } else { (self.padded(x, &axes)?, 0) };
        if axes.iter().all(|axis| axis.dilation == first.dilation) {
            return self.single(&x, &self.kernel, padding, first.stride, first.dilation);
        }
        self.single(&x, &with_zeros_between(&self.kernel, &axes)?, padding, first.stride, 1)
    }

    /// Every position is computed, and those that the strides leave out are dropped: candle knows one stride for both axes.
    fn run_by_steps(&self, x: &Tensor, axes: &[Axis]) -> candle_core::Result<Tensor> {
        let kernel = with_zeros_between(&self.kernel, axes)?;
        let mut result = self.single(&self.padded(x, axes)?, &kernel, 0, 1, 1)?;
        for (dim, axis) in axes.iter().enumerate() {
            let positions: Vec<u32> = (0..result.dims()[dim + 2] as u32).step_by(axis.stride).collect();
            result = result.contiguous()?.index_select(&Tensor::new(positions, x.device())?, dim + 2)?;
        }
        Ok(result)
    }

    fn padded(&self, x: &Tensor, axes: &[Axis]) -> candle_core::Result<Tensor> {
        let pads: Vec<(usize, usize)> =
            [(0, 0), (0, 0)].into_iter().chain(axes.iter().map(|axis| (axis.before, axis.after))).collect();
        pad(x, &pads, 0.0)
    }

    fn single(
        &self,
        x: &Tensor,
        kernel: &Tensor,
        padding: usize,
        stride: usize,
        dilation: usize,
    ) -> candle_core::Result<Tensor> {
        let x = x.contiguous()?;
        match kernel.rank() {
            3 => x.conv1d(kernel, padding, stride, dilation, self.groups),
            _ => x.conv2d(kernel, padding, stride, dilation, self.groups),
        }
    }
}

fn conv_operator(known: &Known<'_>) -> Result<Run, String> {
    let kernel = known.must(1, "kernel")?;
    let convolution = Convolution::read(known, &kernel.held)?;
    let element = kernel.element;
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        if x.element != element || !element.is_float() {
            bail!("expected input and kernel of one float type, got {} and {element}", x.element);
        }
        let mut result = convolution.run(&x.held)?;
        if let Some(bias) = inputs.optional(2) {
            let shape = channel_shape(convolution.channels_out(), 1, result.rank());
            result = result.broadcast_add(&bias.held.reshape(shape)?)?;
        }
        one(x.like(result))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(auto: AutoPad, stride: usize) -> Window {
        Window { strides: Some(vec![stride]), dilations: None, pads: Some(vec![1, 2]), auto }
    }

    #[test]
    fn padding_follows_the_words_of_the_model() {
        let pads = |auto, stride, extent| {
            let axis = window(auto, stride).axes(&[extent], &[3]).unwrap()[0];
            (axis.before, axis.after)
        };
        assert_eq!(pads(AutoPad::Explicit, 1, 8), (1, 2));
        assert_eq!(pads(AutoPad::Valid, 1, 8), (0, 0));
        assert_eq!(pads(AutoPad::Same { at_end: true }, 2, 8), (0, 1));
        assert_eq!(pads(AutoPad::Same { at_end: false }, 2, 8), (1, 0));
        assert_eq!(pads(AutoPad::Same { at_end: true }, 2, 7), (1, 1));
    }

    #[test]
    fn products_are_counted_from_shapes() {
        let count = |operator, inputs: &[&[usize]], output: &[usize]| multiply_accumulates(operator, inputs, output);
        assert_eq!(count("Conv", &[&[1, 6, 9, 9], &[4, 3, 3, 3]], &[1, 4, 7, 7]), Some(4 * 49 * 27));
        assert_eq!(count("MatMul", &[&[2, 3, 4], &[4, 5]], &[2, 3, 5]), Some(30 * 4));
        assert_eq!(count("Gemm", &[&[4, 3], &[5, 4]], &[3, 5]), Some(15 * 4));
        assert_eq!(count("Relu", &[&[4, 3]], &[4, 3]), None);
    }

    #[test]
    fn a_window_of_another_rank_is_refused() {
        let error = window(AutoPad::Explicit, 1).axes(&[8, 8], &[3, 3]).unwrap_err();
        assert!(error.to_string().contains("expected a window over 2 spatial axes"), "{error}");
    }
}
