//! The tables of `docs/micro-layers.md`.

use super::Measured;
use super::layer::{Apart, Layer};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Behind it stands what this writes.
pub const MARK: &str = "<!-- tables: written by device-agent/compile/tests/layers -->\n";

type Cases = BTreeMap<String, Result<Vec<Layer>, String>>;

/// All of them.
pub fn tables(variants: &[Measured], cases: &Cases) -> String {
    let layers = variants.iter().flat_map(|variant| variant.layers.iter().map(|layer| (variant.name.as_str(), layer)));
    let small = cases.iter().filter_map(|(name, outcome)| Some((name, outcome.as_ref().ok()?)));
    let small = small.flat_map(|(name, layers)| layers.iter().map(|layer| (name.as_str(), layer)));
    let all: Vec<(&str, &Layer)> = layers.chain(small).collect();
    [of_variants(variants), of_kinds(&all), of_layers(&all), of_kernels(variants), of_refused(cases)].concat()
}

fn head(title: &str, columns: &[&str]) -> String {
    let rule = columns.iter().map(|_| "---").collect::<Vec<_>>().join("|");
    format!("\n## {title}\n| {} |\n|{rule}|\n", columns.join(" | "))
}

fn row(text: &mut String, cells: &[&dyn std::fmt::Display]) {
    for cell in cells {
        write!(text, "| {cell} ").unwrap();
    }
    text.push_str("|\n");
}

fn sum(all: impl Iterator<Item = Apart>) -> Apart {
    all.fold(Apart::default(), |mut sum, one| {
        sum.add(one);
        sum
    })
}

fn of_variants(variants: &[Measured]) -> String {
    let columns = [
        "variant",
        "layers",
        "values",
        "off by 1",
        "off by more",
        "in a whole run: largest, any layer",
        "largest, outputs",
        "one step becomes",
        "onnxruntime's defaults",
    ];
    let mut text = head("Variants", &columns);
    for Measured { name, layers, swing, defaults, .. } in variants {
        let alone = sum(layers.iter().map(|layer| layer.alone));
        let in_turn = sum(layers.iter().map(|layer| layer.in_turn));
        let outputs = sum(layers.iter().filter(|layer| layer.kind == "Dequantize").map(|layer| layer.in_turn));
        row(
            &mut text,
            &[
                name,
                &layers.len(),
                &alone.values,
                &alone.by_one,
                &alone.by_more,
                &in_turn.largest,
                &outputs.largest,
                swing,
                defaults,
            ],
        );
    }
    text
}

fn of_kinds(layers: &[(&str, &Layer)]) -> String {
    let mut kinds: BTreeMap<&str, (usize, Apart)> = BTreeMap::new();
    for (_, layer) in layers {
        let (count, apart) = kinds.entry(layer.kind).or_default();
        *count += 1;
        apart.add(layer.alone);
    }
    let mut text = head("Operators", &["operator", "layers", "values", "off by 1", "off by more"]);
    for (kind, (count, Apart { values, by_one, by_more, .. })) in kinds {
        row(&mut text, &[&kind, &count, &values, &by_one, &by_more]);
    }
    text
}

fn of_layers(layers: &[(&str, &Layer)]) -> String {
    let mut text = head("Layers that are off", &["model", "layer", "operator", "values", "off by 1", "off by more"]);
    for (name, layer) in layers.iter().filter(|(_, layer)| layer.alone.largest > 0) {
        let Apart { values, by_one, by_more, .. } = layer.alone;
        row(&mut text, &[name, &layer.name, &layer.kind, &values, &by_one, &by_more]);
    }
    text
}

fn of_refused(cases: &Cases) -> String {
    let mut text = head("Small models that are refused", &["model", "why"]);
    for (name, outcome) in cases {
        if let Err(reason) = outcome {
            row(&mut text, &[name, reason]);
        }
    }
    text
}

fn of_kernels(variants: &[Measured]) -> String {
    let columns = ["variant", "tensor", "values", "off by 1", "off by more", "largest"];
    let mut text = head("onnxruntime's own kernels that are off", &columns);
    for Measured { name, fixture, .. } in variants {
        for (tensor, counts) in fixture.kernels() {
            let [values, by_one, by_more, largest] = counts;
            if largest > 0 {
                row(&mut text, &[name, &tensor, &values, &by_one, &by_more, &largest]);
            }
        }
    }
    text
}
