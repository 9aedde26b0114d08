//! Windows that take a maximum or a mean.

use candle_core::{Tensor, bail};

use super::products::{Axis, Window};
use super::shapes::pad;
use super::{Build, Known, Run, one};

pub(super) fn find(operator: &str) -> Option<Build> {
    Some(match operator {
        "MaxPool" => |known| pool(known, Kind::Max),
        "AveragePool" => |known| {
            let counts_padding = known.node.int("count_include_pad").unwrap_or(0) != 0;
            pool(known, Kind::Average { counts_padding })
        },
        _ => return None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Max,
    /// The mean of what lies in the input, or of everything under the window.
    Average {
        counts_padding: bool,
    },
}

fn pool(known: &Known<'_>, kind: Kind) -> Result<Run, String> {
    known.one_output()?;
    for name in ["ceil_mode", "storage_order"] {
        if known.node.int(name).unwrap_or(0) != 0 {
            return Err(format!("expected {name} = 0, got another"));
        }
    }
    let kernel = known.node.ints("kernel_shape").ok_or("expected a kernel_shape, got none")?;
    let kernel: Option<Vec<usize>> =
        kernel.iter().map(|extent| usize::try_from(*extent).ok().filter(|extent| *extent > 0)).collect();
    let kernel = kernel.ok_or("expected a kernel of at least 1 on each axis, got less")?;
    if !matches!(kernel.len(), 1 | 2) {
        return Err(format!("expected a kernel over one or two spatial axes, got {kernel:?}"));
    }
    let window = Window::read(known)?;
    Ok(Box::new(move |inputs| {
        let x = inputs.get(0)?;
        if x.held.rank() != kernel.len() + 2 {
            bail!("expected an input with {} axes, got {:?}", kernel.len() + 2, x.held.dims());
        }
        let axes = window.axes(&x.held.dims()[2..], &kernel)?;
        if axes.iter().any(|axis| axis.dilation != 1) {
            bail!("expected dilations of 1, got others");
        }
        one(x.like(pooled(&x.held, &kernel, &axes, kind)?))
    }))
}

fn pooled(x: &Tensor, kernel: &[usize], axes: &[Axis], kind: Kind) -> candle_core::Result<Tensor> {
    if kernel.len() == 1 {
        // A row is a picture of one column.
        let column = Axis { stride: 1, dilation: 1, before: 0, after: 0 };
        return pooled(&x.unsqueeze(3)?, &[kernel[0], 1], &[axes[0], column], kind)?.squeeze(3);
    }
    let (size, strides) = ((kernel[0], kernel[1]), (axes[0].stride, axes[1].stride));
    let pads = [(0, 0), (0, 0), (axes[0].before, axes[0].after), (axes[1].before, axes[1].after)];
    let is_padded = pads.iter().any(|sides| *sides != (0, 0));
    match kind {
        Kind::Max => {
            let padded = if is_padded { pad(x, &pads, f64::NEG_INFINITY)? } else { x.contiguous()? };
            padded.max_pool2d_with_stride(size, strides)
        }
        Kind::Average { counts_padding } => {
            let padded = if is_padded { pad(x, &pads, 0.0)? } else { x.contiguous()? };
            let means = padded.avg_pool2d_with_stride(size, strides)?;
            if counts_padding || !is_padded {
                return Ok(means);
            }
            // The share of each window that lies in the input, by which the mean over all of it is too small.
            let inside = pad(&x.narrow(0, 0, 1)?.narrow(1, 0, 1)?.ones_like()?, &pads, 0.0)?;
            means.broadcast_div(&inside.avg_pool2d_with_stride(size, strides)?)
        }
    }
}
