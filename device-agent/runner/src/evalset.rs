//! Samples of an evalset, by input of the model.

use crate::options::Options;
use crate::pass::RunError;
use boardproof_engines::{DType, TensorView};
use safetensors::{Dtype, SafeTensors};

/// One tensor of the evalset.
struct Column<'a> {
    dtype: DType,
    /// Shape of one sample.
    shape: Vec<usize>,
    sample_bytes: usize,
    bytes: &'a [u8],
}

/// The evalset, one column per input of the model.
pub struct Samples<'a> {
    columns: Vec<Column<'a>>,
    count: usize,
}

/// A batch of samples, ready to be viewed: `bytes` is borrowed from the file, or a padded copy.
pub struct Batch<'a> {
    parts: Vec<(DType, Vec<usize>, std::borrow::Cow<'a, [u8]>)>,
}

impl Batch<'_> {
    /// Views of all inputs.
    pub fn views(&self) -> Result<Vec<TensorView<'_>>, RunError> {
        self.parts
            .iter()
            .map(|(dtype, shape, bytes)| TensorView::new(*dtype, shape, bytes).map_err(RunError::Tensor))
            .collect()
    }
}

impl<'a> Samples<'a> {
    /// Finds the tensors that the options name.
    pub fn open(file: &'a [u8], options: &Options) -> Result<Self, RunError> {
        let file = SafeTensors::deserialize(file).map_err(RunError::Evalset)?;
        let mut columns = Vec::new();
        let mut count = None;
        for input in &options.inputs {
            let view = file.tensor(&input.tensor).map_err(RunError::Evalset)?;
            let (samples, shape) = view.shape().split_first().ok_or_else(|| RunError::no_samples(&input.tensor))?;
            if shape != input.shape || count.is_some_and(|c| c != *samples) || *samples == 0 {
                return Err(RunError::Shape {
                    tensor: input.tensor.clone(),
                    expected: input.shape.clone(),
                    found: view.shape().to_vec(),
                });
            }
            count = Some(*samples);
            let dtype = dtype(view.dtype()).ok_or_else(|| RunError::Dtype {
                tensor: input.tensor.clone(),
                found: format!("{:?}", view.dtype()),
            })?;
            let sample_bytes = shape.iter().product::<usize>() * dtype.size_bytes();
            columns.push(Column { dtype, shape: shape.to_vec(), sample_bytes, bytes: view.data() });
        }
        let count = count.ok_or(RunError::NoInputs)?;
        Ok(Self { columns, count })
    }

    /// Number of samples.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Samples `first .. first + batch`; past the end the last sample is repeated, so that a fixed batch is always full.
    pub fn batch(&self, first: usize, batch: usize) -> Batch<'a> {
        let parts = self.columns.iter().map(|column| {
            let shape: Vec<usize> = std::iter::once(batch).chain(column.shape.iter().copied()).collect();
            let end = (first + batch).min(self.count);
            let real = &column.bytes[first * column.sample_bytes..end * column.sample_bytes];
            let missing = first + batch - end;
            let bytes = if missing == 0 {
                real.into()
            } else {
                let last = &column.bytes[(self.count - 1) * column.sample_bytes..self.count * column.sample_bytes];
                [real, &last.repeat(missing)].concat().into()
            };
            (column.dtype, shape, bytes)
        });
        Batch { parts: parts.collect() }
    }
}

fn dtype(dtype: Dtype) -> Option<DType> {
    DType::from_name(&format!("{dtype:?}"))
}
