//! Samples of an evalset, by input of the model. They are read when they are needed: an evalset may be larger than the board's memory, and
//! what it takes must not look like the model's.

use crate::options::Options;
use crate::pass::RunError;
use boardproof_engines::{DType, TensorView};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Largest header that is read, as in the safetensors format itself.
const HEADER_MAX: u64 = 100_000_000;

/// One tensor of the evalset.
struct Column {
    dtype: DType,
    /// Shape of one sample.
    shape: Vec<usize>,
    sample_bytes: usize,
    /// Where its first sample begins in the file.
    start: u64,
}

/// The evalset, one column per input of the model.
pub struct Samples {
    file: File,
    path: PathBuf,
    columns: Vec<Column>,
    count: usize,
}

/// A batch of samples, ready to be viewed.
#[derive(PartialEq)]
pub struct Batch {
    parts: Vec<(DType, Vec<usize>, Vec<u8>)>,
}

impl Batch {
    /// Views of all inputs.
    pub fn views(&self) -> Result<Vec<TensorView<'_>>, RunError> {
        self.parts
            .iter()
            .map(|(dtype, shape, bytes)| TensorView::new(*dtype, shape, bytes).map_err(RunError::Tensor))
            .collect()
    }
}

impl Samples {
    /// Finds the tensors that the options name.
    pub fn open(path: &Path, options: &Options) -> Result<Self, RunError> {
        let read = |source| RunError::Read { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let header = header(&mut file, length).map_err(read)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(RunError::Evalset)?;
        let data = 8 + header.len() as u64;
        let mut columns = Vec::new();
        let mut count = None;
        for input in &options.inputs {
            let name = &input.tensor;
            let found = metadata.info(name).ok_or_else(|| RunError::NoTensor { tensor: name.clone() })?;
            let (samples, shape) = found.shape.split_first().ok_or_else(|| RunError::no_samples(name))?;
            if shape != input.shape || count.is_some_and(|c| c != *samples) || *samples == 0 {
                return Err(RunError::Shape {
                    tensor: name.clone(),
                    expected: input.shape.clone(),
                    found: found.shape.clone(),
                });
            }
            count = Some(*samples);
            let dtype = dtype(found.dtype)
                .ok_or_else(|| RunError::Dtype { tensor: name.clone(), found: format!("{:?}", found.dtype) })?;
            let sample_bytes = shape.iter().product::<usize>() * dtype.size_bytes();
            let (from, to) = (found.data_offsets.0 as u64, found.data_offsets.1 as u64);
            if to.checked_sub(from) != Some(*samples as u64 * sample_bytes as u64) || data + to > length {
                return Err(RunError::Extent { tensor: name.clone(), from, to, length: length - data });
            }
            columns.push(Column { dtype, shape: shape.to_vec(), sample_bytes, start: data + from });
        }
        let count = count.ok_or(RunError::NoInputs)?;
        Ok(Self { file, path: path.to_path_buf(), columns, count })
    }

    /// Number of samples.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Samples `first .. first + batch`; past the end the last sample is repeated, so that a fixed batch is always full.
    pub fn batch(&self, first: usize, batch: usize) -> Result<Batch, RunError> {
        let parts = self.columns.iter().map(|column| {
            let shape: Vec<usize> = std::iter::once(batch).chain(column.shape.iter().copied()).collect();
            let bytes = self.bytes(column, first, batch);
            let bytes = bytes.map_err(|source| RunError::Read { path: self.path.clone(), source })?;
            Ok((column.dtype, shape, bytes))
        });
        Ok(Batch { parts: parts.collect::<Result<_, RunError>>()? })
    }

    /// A batch of the range other than `asked`, which begins at `than`, with the sample at which it begins; none where those that are looked
    /// at are all alike.
    pub fn another(
        &self,
        range: Range<usize>,
        than: usize,
        asked: &Batch,
        batch: usize,
    ) -> Result<Option<(usize, Batch)>, RunError> {
        /// A search through a whole evalset of equal samples would take longer than what it is for.
        const LOOKED_AT: usize = 16;
        for at in range.filter(|at| *at != than).take(LOOKED_AT) {
            let found = self.batch(at, batch)?;
            if found != *asked {
                return Ok(Some((at, found)));
            }
        }
        Ok(None)
    }

    fn bytes(&self, column: &Column, first: usize, batch: usize) -> io::Result<Vec<u8>> {
        let size = column.sample_bytes;
        let end = (first + batch).min(self.count);
        let mut bytes = vec![0; batch * size];
        let real = (end - first) * size;
        self.file.read_exact_at(&mut bytes[..real], column.start + first as u64 * size as u64)?;
        let (known, missing) = bytes.split_at_mut(real);
        for sample in missing.chunks_exact_mut(size.max(1)) {
            sample.copy_from_slice(&known[real - size..]);
        }
        Ok(bytes)
    }
}

/// The JSON at the head of a safetensors file, behind its length.
fn header(file: &mut File, length: u64) -> io::Result<Vec<u8>> {
    let mut size = [0; 8];
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    if size > HEADER_MAX || size + 8 > length {
        let text =
            format!("expected a header of at most {} bytes, got {size}", HEADER_MAX.min(length.saturating_sub(8)));
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut header = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_exact(&mut header)?;
    Ok(header)
}

fn dtype(dtype: Dtype) -> Option<DType> {
    DType::from_name(&format!("{dtype:?}"))
}
