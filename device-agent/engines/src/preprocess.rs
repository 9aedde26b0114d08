//! The arithmetic between an evalset's raw values and a model's input: `(x * scale - mean) / std`, and where the model reads integers that
//! stand for such numbers, their quantization.
//!
//! Owns these two formulas, in f32 as training pipelines and runtimes compute them. Refuses anything that is not elementwise per channel.

use crate::tensor::{DType, Tensor, TensorError, TensorView, encode_floats, integer_range};

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
    /// What the model's integers stand for, where it reads integers.
    pub quantize: Option<Quantize>,
}

/// `clamp(round(x / scale) + zero_point)` to the ends of the integer type, halves to even, computed in f32: ONNX's QuantizeLinear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantize {
    /// What one step of the integer is worth.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i32,
}

impl Quantize {
    /// Little-endian integers of type `to`. What is no number becomes the zero point.
    fn apply(self, values: &[f64], to: DType) -> Result<Vec<u8>, TensorError> {
        let refuse = |reason: String| Err(TensorError::Preprocess { shape: vec![values.len()], reason });
        let (min, max) = match to {
            DType::I8 | DType::U8 | DType::I16 | DType::U16 => integer_range(to),
            _ => return refuse(format!("expected integers of 8 or 16 bits to quantize to, got {}", to.name())),
        };
        let zero_point = i128::from(self.zero_point);
        if !self.scale.is_normal() || self.scale < 0.0 || !(min..=max).contains(&zero_point) {
            let (scale, dtype) = (self.scale, to.name());
            return refuse(format!(
                "expected a scale above 0 and a zero point within {dtype}, got {scale} and {zero_point}"
            ));
        }
        let (low, high) = (min as f32, max as f32);
        let integer = |value: &f64| {
            let near = (*value as f32 / self.scale).round_ties_even() + self.zero_point as f32;
            if near.is_nan() { self.zero_point } else { near.clamp(low, high) as i32 }
        };
        Ok(values.iter().flat_map(|value| integer(value).to_le_bytes().into_iter().take(to.size_bytes())).collect())
    }
}

impl Default for Preprocess {
    /// Leaves every value as it is.
    fn default() -> Self {
        Self { scale: 1.0, mean: vec![0.0], std: vec![1.0], channel_axis: 1, quantize: None }
    }
}

impl Preprocess {
    /// The preprocessed tensor in `to`: a float type, or where there is a quantization an integer type.
    ///
    /// # Errors
    /// `TensorError::Preprocess` when a count of channels does not fit the shape, a number is not finite, a std is zero, or the quantization
    /// does not fit `to`; `TensorError::Inexact` when `to` is an integer type and there is no quantization.
    pub fn apply(&self, raw: TensorView<'_>, to: DType) -> Result<Tensor, TensorError> {
        if !to.is_float() && self.quantize.is_none() {
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
        let bytes = match self.quantize {
            Some(quantize) => quantize.apply(&values, to)?,
            None => encode_floats(&values, to),
        };
        Tensor::new(to, raw.shape().to_vec(), bytes)
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
        Preprocess { scale: 1.0 / 255.0, mean, std, ..Preprocess::default() }
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

    fn quantized(values: &[f32], scale: f32, zero_point: i32, to: DType) -> Result<Vec<u8>, TensorError> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let raw = Tensor::new(DType::F32, vec![1, values.len()], bytes)?;
        let step = Preprocess { quantize: Some(Quantize { scale, zero_point }), ..Preprocess::default() };
        Ok(step.apply(raw.view(), to)?.bytes().to_vec())
    }

    #[test]
    fn quantized_values_round_halves_to_even_and_stop_at_the_ends_of_their_type() {
        let values = [0.0, 0.5, 1.5, 2.5, -0.5, -2.5, 1e9, -1e9, f32::INFINITY, f32::NAN];
        let signed = quantized(&values, 1.0, 3, DType::I8).unwrap();
        assert_eq!(signed.iter().map(|b| *b as i8).collect::<Vec<_>>(), [3, 3, 5, 5, 3, 1, 127, -128, 127, 3]);
        assert_eq!(quantized(&values, 1.0, 128, DType::U8).unwrap(), [128, 128, 130, 130, 128, 126, 255, 0, 255, 128]);
        assert_eq!(quantized(&[-1.0, 40_000.0], 1.0, 0, DType::U16).unwrap(), [0, 0, 64, 156]);
    }

    #[test]
    fn a_quantization_that_does_not_fit_is_refused() {
        let refused = |scale, zero_point, to| quantized(&[1.0], scale, zero_point, to).unwrap_err().to_string();
        assert!(refused(1.0, 128, DType::I8).contains("a zero point within i8, got 1 and 128"));
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
            assert!(refused(scale, 0, DType::I8).contains("expected a scale above 0"), "{scale}");
        }
        assert!(
            refused(1.0, 0, DType::F32).contains("expected integers of 8 or 16 bits"),
            "nothing is rounded in silence"
        );
        assert!(refused(1.0, 0, DType::I32).contains("got i32"));
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
