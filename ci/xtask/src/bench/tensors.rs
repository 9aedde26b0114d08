//! Files of tensors made longer: the rows of a real one, again and again. Knows as much of the safetensors format as that takes.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// The same file with `rows` rows in each tensor. Integers called `ids` are numbered anew, because no two may be the same.
pub fn repeated(bytes: &[u8], rows: usize) -> Result<Vec<u8>> {
    let (header, content) = split(bytes)?;
    let (mut new, mut blocks) = (Map::new(), Vec::new());
    // Wide elements first, so that each begins at a multiple of its size.
    let mut tensors: Vec<_> = header.iter().filter(|(name, _)| *name != "__metadata__").collect();
    tensors.sort_by_key(|(_, entry)| std::cmp::Reverse(entry["dtype"].as_str().map(element_bytes)));
    for (name, entry) in tensors {
        let block = if name == "ids" {
            (0..rows as i64).flat_map(i64::to_le_bytes).collect()
        } else {
            longer(entry, content, rows)?
        };
        let mut shape = entry["shape"].clone();
        shape[0] = json!(rows);
        let begin = blocks.len();
        blocks.extend(block);
        new.insert(
            name.clone(),
            json!({ "dtype": entry["dtype"], "shape": shape, "data_offsets": [begin, blocks.len()] }),
        );
    }
    if let Some(metadata) = header.get("__metadata__") {
        new.insert("__metadata__".into(), metadata.clone());
    }
    let mut head = serde_json::to_vec(&new)?;
    head.resize(head.len().next_multiple_of(8), b' ');
    Ok([&(head.len() as u64).to_le_bytes()[..], &head, &blocks].concat())
}

fn split(bytes: &[u8]) -> Result<(Map<String, Value>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk().context("no length")?;
    let length = usize::try_from(u64::from_le_bytes(*length))?;
    let (head, content) = rest.split_at_checked(length).context("the header is cut off")?;
    Ok((serde_json::from_slice(head)?, content))
}

fn element_bytes(dtype: &str) -> u8 {
    match dtype {
        "F64" | "I64" | "U64" => 8,
        "F32" | "I32" | "U32" => 4,
        "F16" | "I16" | "U16" | "BF16" => 2,
        _ => 1,
    }
}

fn longer(entry: &Value, content: &[u8], rows: usize) -> Result<Vec<u8>> {
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).context("not a number");
    let (begin, end) = (number(&entry["data_offsets"][0])?, number(&entry["data_offsets"][1])?);
    let block = content.get(begin..end).context("a tensor is cut off")?;
    let there = number(&entry["shape"][0])?;
    if there == 0 || block.is_empty() || !block.len().is_multiple_of(there) {
        bail!("a tensor has no rows");
    }
    let row = block.len() / there;
    Ok(block.iter().copied().cycle().take(row * rows).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, content: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), content].concat()
    }

    #[test]
    fn rows_are_repeated_and_ids_stay_unique() {
        let header = r#"{"x":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},"ids":{"dtype":"I64","shape":[2],"data_offsets":[4,20]},"__metadata__":{"names":"{}"}}"#;
        let content = [&[1, 2, 3, 4][..], &[0; 16]].concat();
        let bytes = repeated(&file(header, &content), 3).unwrap();
        let (header, content) = split(&bytes).unwrap();
        assert_eq!(header["x"], json!({ "dtype": "U8", "shape": [3, 2], "data_offsets": [24, 30] }));
        assert_eq!(header["__metadata__"]["names"], "{}");
        assert_eq!(&content[..24], [0_i64, 1, 2].map(i64::to_le_bytes).concat());
        assert_eq!(&content[24..], [1, 2, 3, 4, 1, 2]);
    }

    #[test]
    fn a_file_that_is_cut_is_refused() {
        let header = r#"{"x":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}"#;
        assert!(repeated(&file(header, &[1, 2, 3]), 3).is_err());
        assert!(repeated(&[9, 0], 3).is_err());
    }
}
