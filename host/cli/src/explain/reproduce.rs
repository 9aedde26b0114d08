//! The smallest thing that still goes wrong: a model of one layer with its input, what the reference answers, and a `model.toml`, so that
//! boardproof itself runs it, anywhere.

use anyhow::{Context, Result, bail};
use boardproof_judge::evidence::Evidence;
use boardproof_judge::explain::{Explanation, Numbers, Row, reference_numbers};
use boardproof_lab::store::{Opened, RecordFolder, evalset_of};
use boardproof_layers::Apart;
use boardproof_record::Digest;
use boardproof_record::layers::Inquiry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// Writes the first bad layer into a folder; says how to run it.
pub fn reproduce(
    into: &Path,
    apart: &Apart,
    inquiry: &Inquiry,
    explanation: &Explanation,
    opened: &Opened,
) -> Result<String> {
    let layer = bad_layer(explanation, inquiry).context("there is no bad layer to reproduce")?;
    let numbers = reference_numbers(Evidence { record: &opened.record, files: &opened.files }, inquiry)?;
    let shapes: BTreeMap<String, Vec<u64>> = numbers.iter().map(|(name, n)| (name.clone(), n.shape.clone())).collect();
    let found = &inquiry.layers.layers[layer];
    let Some(excerpt) = apart.excerpt(layer, &shapes) else {
        bail!("could not cut layer '{}' out: {}", found.tensor, why_not(inquiry, layer, &shapes));
    };
    let reads: BTreeSet<&String> = found.reads.iter().chain(&found.reads_reference).collect();
    let given: Vec<(&String, &Numbers)> = reads.into_iter().map(|name| (name, &numbers[name])).collect();
    let expected = &numbers[&found.tensor];
    let folder = RecordFolder::create(into)?;
    let tensors = |all: &[(&String, &Numbers)], prefix: &str| {
        let one =
            |(at, (_, n)): (usize, &(&String, &Numbers))| (format!("{prefix}.{at}"), n.shape.clone(), n.values.clone());
        all.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    let evalset = evalset_of(&tensors(&given, "given"), explanation.samples)?;
    let files = [
        ("reference.onnx", excerpt.reference),
        ("layer.onnx", excerpt.variant),
        ("given.safetensors", evalset),
        ("expected.safetensors", evalset_of(&tensors(&[(&found.tensor, expected)], "expected"), explanation.samples)?),
    ];
    for (name, bytes) in &files {
        folder.keep(name, bytes)?;
    }
    let manifest = manifest(inquiry, layer, &given, expected, explanation, &files);
    folder.keep("model.toml", manifest.as_bytes())?;
    Ok(format!("boardproof explain {} -v layer", into.display()))
}

/// The layer of the first cause that has one, else the first that breaks the budget; not an input, which no layer makes.
fn bad_layer(explanation: &Explanation, inquiry: &Inquiry) -> Option<usize> {
    let layers = &inquiry.layers.layers;
    let is_made = |layer: &usize| layers.get(*layer).is_some_and(|l| l.operator != "Input");
    let of_causes = explanation.causes.iter().filter_map(|cause| cause.layer).find(is_made);
    let is_broken = |row: &&Row| row.sides.iter().filter_map(|s| s.accumulated).any(|s| s.is_below(inquiry.budget_db));
    let by_row = |row: &Row| layers.iter().position(|layer| layer.tensor == row.tensor).filter(is_made);
    of_causes.or_else(|| explanation.rows.iter().filter(is_broken).find_map(by_row))
}

fn why_not(inquiry: &Inquiry, layer: usize, shapes: &BTreeMap<String, Vec<u64>>) -> String {
    let found = &inquiry.layers.layers[layer];
    let lacking = found.reads.iter().chain(&found.reads_reference).find(|tensor| !shapes.contains_key(*tensor));
    match (&inquiry.layers.not_alone, lacking) {
        (Some(why), _) => why.clone(),
        (None, Some(tensor)) => format!("the first dimension of '{tensor}' is not the sample's"),
        (None, None) => "it is an input".into(),
    }
}

fn manifest(
    inquiry: &Inquiry,
    layer: usize,
    given: &[(&String, &Numbers)],
    expected: &Numbers,
    explanation: &Explanation,
    files: &[(&str, Vec<u8>)],
) -> String {
    let found = &inquiry.layers.layers[layer];
    let mut text = format!(
        "# One layer of {}/{}: '{}' ({}), by itself.\nschema = 1\n\n[model]\nname = \"{}.layer{layer}\"\ntask = \"regression\"\n\
         summary = {}\nlicence = \"as the model that it is of\"\nprovenance = \"made by boardproof explain --reproduce\"\n",
        inquiry.model,
        inquiry.variant,
        found.tensor,
        found.operator,
        inquiry.model,
        quoted(&format!("{} alone", found.tensor)),
    );
    for (name, numbers) in given {
        text += &tensor("input", name, numbers);
    }
    text += &tensor("output", &found.tensor, expected);
    let names: Vec<String> = (0..given.len()).map(|at| format!("\"given.{at}\"")).collect();
    let of = |name: &str| files.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, bytes)| bytes);
    let content = |name: &str| {
        let bytes = of(name);
        format!("file = \"{name}\"\nsha256 = \"{}\"\nbytes = {}\n", Digest::of(bytes), bytes.len())
    };
    let _ = write!(
        text,
        "\n[evalset]\n{}samples = {}\ninputs = [{}]\nlabels = \"labels\"\n\n[evalset.accepts]\n\
         balance = \"a layer has no labels: it is compared with the reference and nothing else\"\n\n[reference]\nvariant = \"reference\"\n",
        content("given.safetensors"),
        explanation.samples,
        names.join(", ")
    );
    for (name, file, purpose) in [("reference", "reference.onnx", "reference"), ("layer", "layer.onnx", "release")] {
        let _ = write!(
            text,
            "\n[[variant]]\nname = \"{name}\"\n{}format = \"onnx\"\nquantization = {}\nbatch = \"N\"\nsame_weights = true\n\
             purpose = \"{purpose}\"\n",
            content(file),
            quoted(&format!("as in {}", if name == "layer" { &inquiry.variant } else { &inquiry.reference })),
        );
    }
    text
}

fn tensor(kind: &str, name: &str, numbers: &Numbers) -> String {
    let shape: Vec<String> = std::iter::once("\"N\"".into()).chain(numbers.shape.iter().map(u64::to_string)).collect();
    format!("\n[[{kind}]]\nname = {}\ndtype = \"F32\"\nshape = [{}]\n", quoted(name), shape.join(", "))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let escaped: String =
        text.chars().flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
    format!("\"{escaped}\"")
}
