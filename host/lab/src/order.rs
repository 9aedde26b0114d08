//! An evalset in the order in which a pass that may stop early visits its samples: a file of this machine's cache, in the place of the one that
//! a model came with. All that is told of a sample, its label, id and slices, moves with it.

use crate::micro::{PrepareError, keep, read};
use boardproof_record::order::{ORDER, order, strata};
use boardproof_record::plan::{Evalset, Ordered};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Metadata that judges and reports read.
const META: &str = "meta";

/// Puts the samples of an evalset into its order, as a file in `cache`, and returns what a plan says of it. The file has one tensor more: the
/// number that each sample had.
///
/// # Errors
/// A file that cannot be read or kept, is not the one that was planned, or lacks a slice.
pub fn ordered(evalset: &Evalset, drawn: Ordered, cache: &Path) -> Result<Evalset, PrepareError> {
    let path = PathBuf::from(&evalset.file);
    let bytes = read(&path, drawn.of)?;
    let failed = |source| PrepareError::Evalset { path: path.clone(), source };
    let file = SafeTensors::deserialize(&bytes).map_err(failed)?;
    let samples = usize::try_from(evalset.samples).unwrap_or(usize::MAX);
    let codes = evalset.slices.keys().map(|column| Ok(file.tensor(&format!("slice.{column}"))?.data()));
    let codes: Vec<&[u8]> = codes.collect::<Result<_, SafeTensorError>>().map_err(failed)?;
    let of_sample = |sample: usize| codes.iter().map(|column| column.get(sample).copied()).collect::<Vec<_>>();
    let order = order(drawn.seed, &strata(&(0..samples).map(of_sample).collect::<Vec<_>>()));
    let bytes = in_order(&bytes, &file, &order).map_err(failed)?;
    let kept = keep("evalset", &bytes, cache, "safetensors")?;
    Ok(Evalset {
        file: kept.path.display().to_string(),
        digest: kept.digest,
        bytes: bytes.len() as u64,
        order: Some(drawn),
        ..evalset.clone()
    })
}

/// The same tensors, those with a row for each sample with their rows in this order.
fn in_order(bytes: &[u8], file: &SafeTensors<'_>, order: &[u64]) -> Result<Vec<u8>, SafeTensorError> {
    let moved = |(name, view): (String, TensorView<'_>)| {
        let rows = view.shape().first().copied().unwrap_or(0);
        let width = view.data().len() / rows.max(1);
        let row = |sample: &u64| &view.data()[*sample as usize * width..(*sample as usize + 1) * width];
        let data =
            if rows == order.len() { order.iter().flat_map(row).copied().collect() } else { view.data().to_vec() };
        (name, view.dtype(), view.shape().to_vec(), data)
    };
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = file.tensors().into_iter().map(moved).collect();
    let numbers = order.iter().flat_map(|number| number.to_le_bytes()).collect();
    tensors.push((ORDER.into(), Dtype::I64, vec![order.len()], numbers));
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        TensorView::new(*dtype, shape.clone(), data).map(|view| (name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    // One key at most: a file's digest must not depend on how a map is walked.
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let meta = metadata.metadata().as_ref().and_then(|known| known.get(META)).cloned();
    safetensors::serialize(views, meta.map(|meta| HashMap::from([(META.to_owned(), meta)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use boardproof_record::Digest;
    use std::collections::BTreeMap;

    /// Eight samples that tell in each tensor which they are, and one tensor that has nothing to do with samples.
    fn evalset(folder: &Path) -> Evalset {
        let numbers: Vec<u8> = (0..8_i64).flat_map(|i| (100 + i).to_le_bytes()).collect();
        let wide: Vec<u8> = (0..8_u8).flat_map(|i| [i, i + 10, i + 20]).collect();
        let (side, other) = ([0_u8, 0, 0, 0, 1, 1, 2, 2], [9_u8; 5]);
        let views = [
            ("labels", TensorView::new(Dtype::I64, vec![8], &numbers).unwrap()),
            ("inputs", TensorView::new(Dtype::U8, vec![8, 3], &wide).unwrap()),
            ("slice.side", TensorView::new(Dtype::U8, vec![8], &side).unwrap()),
            ("other", TensorView::new(Dtype::U8, vec![5], &other).unwrap()),
        ];
        let meta = HashMap::from([(META.to_owned(), "{}".to_owned())]);
        let bytes = safetensors::serialize(views, Some(meta)).unwrap();
        let path = folder.join("test.safetensors");
        std::fs::write(&path, &bytes).unwrap();
        Evalset {
            file: path.display().to_string(),
            digest: Digest::of(&bytes),
            bytes: bytes.len() as u64,
            samples: 8,
            inputs: vec!["inputs".into()],
            labels: "labels".into(),
            ids: None,
            slices: BTreeMap::from([("side".into(), vec!["a".into(), "b".into(), "c".into()])]),
            shows: None,
            columns: Vec::new(),
            order: None,
        }
    }

    #[test]
    fn an_evalset_that_has_changed_is_not_ordered() {
        let folder = tempfile::tempdir().unwrap();
        let evalset = evalset(folder.path());
        std::fs::write(&evalset.file, "other bytes").unwrap();
        let drawn = Ordered { of: evalset.digest, seed: 1 };
        assert!(matches!(ordered(&evalset, drawn, folder.path()), Err(PrepareError::Changed { .. })));
    }

    #[test]
    fn all_that_is_told_of_a_sample_moves_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let evalset = evalset(folder.path());
        let drawn = Ordered { of: evalset.digest, seed: 1 };
        let found = ordered(&evalset, drawn, folder.path()).unwrap();
        assert_eq!((found.order, found.samples), (Some(drawn), 8));
        let bytes = read(Path::new(&found.file), found.digest).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let longs = |name: &str| {
            let data = file.tensor(name).unwrap().data().to_vec();
            data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect::<Vec<_>>()
        };
        let expected = order(1, &[0, 0, 0, 0, 1, 1, 2, 2]);
        let numbers = longs(ORDER);
        assert_eq!(numbers, expected.iter().map(|n| *n as i64).collect::<Vec<_>>());
        assert_eq!(longs("labels"), numbers.iter().map(|n| 100 + n).collect::<Vec<_>>());
        let inputs = file.tensor("inputs").unwrap();
        let rows: Vec<i64> = inputs.data().chunks(3).map(|row| i64::from(row[2]) - 20).collect();
        assert_eq!(rows, numbers);
        assert_eq!(file.tensor("other").unwrap().data(), [9; 5]);
        let again = ordered(&evalset, drawn, folder.path()).unwrap();
        assert_eq!(again, found, "the same file each time");
    }
}
