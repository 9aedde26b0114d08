//! A safetensors file read in pieces: its head at once, its tensors some samples at a time.

use crate::elements::size_bytes;
use boardproof_record::Digest;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

/// Largest head that is read, as in the safetensors format itself.
const HEAD_BYTES_MAX: u64 = 100_000_000;
/// Bytes that are read at a time; more where one sample is larger.
const PIECE_BYTES: usize = 1 << 20;

/// A file that cannot be read as an evalset.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum ReadError {
    #[error("could not read it")]
    Io(#[from] std::io::Error),
    #[error("not a safetensors file: {why}")]
    Format { why: String },
    #[error("not a safetensors file: its head is not what the format says")]
    Head(#[from] serde_json::Error),
}

/// Element type and whole shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Element type.
    pub dtype: Dtype,
    /// Shape, the samples first.
    pub shape: Vec<u64>,
}

impl Form {
    /// Samples: the first dimension.
    pub fn samples(&self) -> u64 {
        self.shape.first().copied().unwrap_or(0)
    }

    /// Shape of one sample.
    pub fn of_sample(&self) -> &[u64] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// Elements of one sample.
    pub fn row_elements(&self) -> usize {
        self.of_sample().iter().product::<u64>() as usize
    }
}

/// An evalset whose head has been read.
#[derive(Debug)]
pub struct EvalsetFile<R> {
    reader: R,
    /// Where the tensors begin.
    start: u64,
    metadata: Metadata,
}

impl<R: Read + Seek> EvalsetFile<R> {
    /// Reads the head, and proves that the file is as long as it says.
    pub fn open(mut reader: R) -> Result<Self, ReadError> {
        let length = reader.seek(SeekFrom::End(0))?;
        reader.seek(SeekFrom::Start(0))?;
        let mut size = [0; 8];
        let short = |_| ReadError::Format { why: format!("it has {length} bytes") };
        reader.read_exact(&mut size).map_err(short)?;
        let size = u64::from_le_bytes(size);
        if size > HEAD_BYTES_MAX || size + 8 > length {
            let why = format!("a head of {size} bytes in a file of {length}");
            return Err(ReadError::Format { why });
        }
        let mut head = vec![0; size as usize];
        reader.read_exact(&mut head)?;
        let metadata: Metadata = serde_json::from_slice(&head)?;
        let start = size + 8;
        let expected = start + metadata.data_len() as u64;
        if expected != length {
            let why = format!("expected {expected} bytes by its head, got {length}");
            return Err(ReadError::Format { why });
        }
        Ok(Self { reader, start, metadata })
    }

    /// Digest of the whole file.
    pub fn digest(&mut self) -> Result<Digest, ReadError> {
        self.reader.seek(SeekFrom::Start(0))?;
        let mut sha = sha2::Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match self.reader.read(&mut piece)? {
                0 => return Ok(Digest(sha.finalize().into())),
                n => sha.update(&piece[..n]),
            }
        }
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.metadata.tensors().into_keys().collect();
        names.sort();
        names
    }

    /// What a tensor is, if it is there.
    pub fn form(&self, name: &str) -> Option<Form> {
        let info = self.metadata.info(name)?;
        Some(Form { dtype: info.dtype, shape: info.shape.iter().map(|n| *n as u64).collect() })
    }

    /// Text of the file's metadata.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Names of the columns of its table, where the file's metadata tell them: `meta` is JSON with a list `features`.
    pub fn features(&self) -> Vec<String> {
        let meta: Option<BTreeMap<String, serde_json::Value>> =
            self.text("meta").and_then(|text| serde_json::from_str(text).ok());
        let list = meta.as_ref().and_then(|meta| meta.get("features")?.as_array());
        list.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// Shows the bytes of a tensor some whole samples at a time, with the number of the first. A tensor that is not there, or whose elements
    /// are of a type that nobody here reads, has none.
    pub fn pieces(&mut self, name: &str, mut see: impl FnMut(usize, &[u8])) -> Result<(), ReadError> {
        let Some(info) = self.metadata.info(name) else { return Ok(()) };
        let Some(size) = size_bytes(info.dtype) else { return Ok(()) };
        let (from, to) = info.data_offsets;
        let row = info.shape.iter().skip(1).product::<usize>() * size;
        if row == 0 {
            return Ok(());
        }
        self.reader.seek(SeekFrom::Start(self.start + from as u64))?;
        let rows_at_once = (PIECE_BYTES / row).max(1);
        let mut piece = vec![0; rows_at_once * row];
        let (mut left, mut first) = ((to - from) / row, 0);
        while left > 0 {
            let rows = left.min(rows_at_once);
            self.reader.read_exact(&mut piece[..rows * row])?;
            see(first, &piece[..rows * row]);
            (left, first) = (left - rows, first + rows);
        }
        Ok(())
    }

    /// A tensor of one integer per sample; `None` where it is not that.
    pub fn integers(&mut self, name: &str) -> Result<Option<Vec<i64>>, ReadError> {
        let Some(form) = self.form(name).filter(|form| form.shape.len() == 1) else { return Ok(None) };
        let mut values = Vec::with_capacity(form.samples() as usize);
        match form.dtype {
            Dtype::I64 => self.pieces(name, |_, bytes| {
                values.extend(bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)));
            })?,
            Dtype::U8 => self.pieces(name, |_, bytes| values.extend(bytes.iter().map(|b| i64::from(*b))))?,
            _ => return Ok(None),
        }
        Ok(Some(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn file(bytes: Vec<u8>) -> Result<EvalsetFile<Cursor<Vec<u8>>>, ReadError> {
        EvalsetFile::open(Cursor::new(bytes))
    }

    #[test]
    fn what_is_no_safetensors_file_is_told_with_what_is_there() {
        let why = |bytes: &[u8]| file(bytes.to_vec()).unwrap_err().to_string();
        assert_eq!(why(b"abc"), "not a safetensors file: it has 3 bytes");
        assert!(why(&[255; 20]).contains("a head of 18446744073709551615 bytes in a file of 20"));
        let mut short = safetensors::serialize(
            [("a", safetensors::tensor::TensorView::new(Dtype::U8, vec![4], &[1, 2, 3, 4]).unwrap())],
            None,
        )
        .unwrap();
        short.pop();
        assert!(why(&short).contains("by its head, got"), "{}", why(&short));
    }

    #[test]
    fn large_tensors_come_in_pieces_of_whole_samples() {
        let rows = 5000;
        let bytes: Vec<u8> = (0..rows * 700).map(|i| (i % 251) as u8).collect();
        let view = safetensors::tensor::TensorView::new(Dtype::U8, vec![rows, 7, 100], &bytes).unwrap();
        let whole = safetensors::serialize([("x", view)], None).unwrap();
        let digest = Digest::of(&whole);
        let mut file = file(whole).unwrap();
        let (mut seen, mut firsts) = (Vec::new(), Vec::new());
        file.pieces("x", |first, piece| {
            assert_eq!(piece.len() % 700, 0);
            firsts.push(first);
            seen.extend_from_slice(piece);
        })
        .unwrap();
        assert!(firsts.len() > 1 && firsts[0] == 0 && firsts[1] == seen.len().min(PIECE_BYTES / 700 * 700) / 700);
        assert_eq!(seen, bytes);
        assert_eq!(file.digest().unwrap(), digest);
    }
}
