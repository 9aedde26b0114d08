//! The arithmetic between an evalset's raw values and a model's input: `(x * scale - mean) / std`.
//!
//! Owns that one formula, in f32 as training pipelines compute it. Refuses anything that is not elementwise per channel.

use crate::tensor::{DType, Tensor, TensorError, TensorView, encode_floats};

/// `(x * scale - mean[c]) / std[c]`, computed in f32, where `c` runs over `channel_axis`. One mean or std serves all channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// Factor on the raw value, for example 1/255.
    pub scale: f32,
    /// Subtracted after scaling: one value, or one per channel.
    pub mean: Vec<f32>,
    /// Divided by at the end: one value, or one per channel; never zero.
    pub std: Vec<f32>,
    /// The axis that channels run over, counted with the batch axis (1 for NCHW).
    pub channel_axis: usize,
}

impl Preprocess {
    /// The preprocessed tensor in `to`, which must be a float type.
    ///
    /// # Errors
    /// `TensorError::Preprocess` when a count of channels does not fit the shape, a number is not finite or a std is zero;
    /// `TensorError::Inexact` when `to` is an integer type.
    pub fn apply(&self, raw: TensorView<'_>, to: DType) -> Result<Tensor, TensorError> {
        if !to.is_float() {
            return Err(TensorError::Inexact { expected: to, got: DType::F32 });
        }
        let (channels, stride) = self.channels(raw.shape())?;
        let values: Vec<f64> = raw
            .to_f64()
            .into_iter()
            .enumerate()
            .map(|(index, value)| {
                let channel = index / stride % channels;
                let scaled = value as f32 * self.scale - pick(&self.mean, channel);
                f64::from(scaled / pick(&self.std, channel))
            })
            .collect();
        Tensor::new(to, raw.shape().to_vec(), encode_floats(&values, to))
    }

    /// Channel count and the distance in elements from one channel to the next.
    fn channels(&self, shape: &[usize]) -> Result<(usize, usize), TensorError> {
        let refuse = |reason: String| Err(TensorError::Preprocess { shape: shape.to_vec(), reason });
        let numbers = || self.mean.iter().chain(&self.std).chain(std::iter::once(&self.scale));
        if numbers().any(|number| !number.is_finite()) || self.std.contains(&0.0) {
            return refuse("expected finite numbers and a std other than zero".into());
        }
        if self.mean.len() == 1 && self.std.len() == 1 {
            return Ok((1, 1));
        }
        let Some(extent) = shape.get(self.channel_axis) else {
            return refuse(format!("expected a channel axis below {}, got {}", shape.len(), self.channel_axis));
        };
        for (name, list) in [("mean", &self.mean), ("std", &self.std)] {
            if list.len() != 1 && list.len() != *extent {
                return refuse(format!("expected 1 or {extent} values of {name}, got {}", list.len()));
            }
        }
        let stride = shape[self.channel_axis + 1..].iter().product::<usize>();
        Ok(((*extent).max(1), stride.max(1)))
    }
}

fn pick(list: &[f32], channel: usize) -> f32 {
    list.get(channel).or_else(|| list.first()).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels() -> Tensor {
        Tensor::new(DType::U8, vec![1, 2, 2], vec![0, 255, 51, 102]).unwrap()
    }

    fn per_channel(mean: Vec<f32>, std: Vec<f32>) -> Preprocess {
        Preprocess { scale: 1.0 / 255.0, mean, std, channel_axis: 1 }
    }

    #[test]
    fn a_zero_std_is_refused() {
        let error = per_channel(vec![0.0], vec![0.0]).apply(pixels().view(), DType::F32).unwrap_err();
        assert!(error.to_string().contains("std other than zero"), "{error}");
    }

    #[test]
    fn a_wrong_channel_count_is_refused() {
        let error = per_channel(vec![0.0; 3], vec![1.0]).apply(pixels().view(), DType::F32).unwrap_err();
        assert!(error.to_string().contains("expected 1 or 2 values of mean, got 3"), "{error}");
    }

    #[test]
    fn an_integer_result_is_refused() {
        let error = per_channel(vec![0.0], vec![1.0]).apply(pixels().view(), DType::I8).unwrap_err();
        assert!(matches!(error, TensorError::Inexact { .. }), "{error}");
    }

    #[test]
    fn channels_get_their_own_numbers() {
        let out = per_channel(vec![0.0, 0.2], vec![1.0, 0.5]).apply(pixels().view(), DType::F32).unwrap();
        let values = out.view().to_f64();
        for (value, expected) in values.iter().zip([0.0, 1.0, 0.0, 0.4]) {
            assert!((value - expected).abs() < 1e-6, "{values:?}");
        }
    }
}
