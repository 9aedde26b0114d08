//! What the report tells of a cell that was explained, and what sketches tell of a device. Failures first.

use crate::good::{Case, HOST_VARIANT, JUDGED, REFERENCE, answers, good, id};
use boardproof_judge::explain::{Explanation, Label, explain, render};
use boardproof_judge::report::html;
use boardproof_judge::report::summary::{Summary, summarize};
use boardproof_micro::{Dtype, SKETCH_BYTES, sketch};
use boardproof_record::layers::{INQUIRY, Inquiry, Layer, Layers, OfRecord, Site};
use boardproof_record::observation::Operator;
use boardproof_record::plan::{Pass, Shows};
use boardproof_record::{Digest, ModelName, VariantName};
use safetensors::Dtype as Stored;
use std::collections::BTreeMap;

/// Samples of what is explained.
const RUN: usize = 6;
/// Layers of the model.
const NAMES: [(&str, &str); 3] = [("input", "Input"), ("/body/conv<1>", "Conv"), ("scores", "Gemm")];

fn inquiry(site: Site) -> Inquiry {
    let layer = |(tensor, operator): (&str, &str)| Layer {
        tensor: tensor.into(),
        seen_as: tensor.into(),
        node: format!("node of {tensor}"),
        operator: operator.into(),
        quantizer: None,
        reads: Vec::new(),
        reads_reference: Vec::new(),
        to_input: Vec::new(),
        to_input_reference: Vec::new(),
    };
    Inquiry {
        schema: INQUIRY,
        model: ModelName::new("shapes").unwrap(),
        variant: VariantName::new("int8").unwrap(),
        reference: VariantName::new("f32").unwrap(),
        layers: Layers {
            layers: NAMES.map(layer).to_vec(),
            weights: Vec::new(),
            unseen: Vec::new(),
            not_alone: Some("the test runs none".into()),
        },
        budget_db: 15.0,
        reference_shown: id(REFERENCE),
        sites: vec![site],
        samples: vec![1, 2, 4, 5, 8, 9],
        of: Some(OfRecord { record: Digest::of(b"record"), cell: id(JUDGED), flipped: vec![8, 4] }),
    }
}

fn site(whole: &str, shown: Option<&str>, sketched: Option<&str>) -> Site {
    let place = whole.split_once('@').unwrap().1;
    Site { name: place.into(), whole: id(whole), shown: shown.map(id), alone: None, sketched: sketched.map(id) }
}

/// A record of so few samples.
fn short() -> Case {
    let mut case = good();
    for cell in [REFERENCE, HOST_VARIANT, JUDGED] {
        let passes = &mut case.planned(cell).passes;
        passes.iter_mut().filter(|pass| pass.pass == Pass::Accuracy).for_each(|pass| pass.samples = RUN as u64);
    }
    case
}

/// Sample 8, the fifth that was run, goes wrong from the second layer on; sample 4 only in the answers.
fn explained() -> Explanation {
    let mut case = short();
    let layer = |at: usize, broken: &[usize]| -> Vec<u8> {
        let value = |i: usize| match broken.contains(&(i / 3)) {
            true => -7.0,
            false => (i % 5) as f32 + 1.0 + at as f32 + if broken.is_empty() { 0.0 } else { 0.01 },
        };
        (0..RUN * 3).flat_map(|i| value(i).to_le_bytes()).collect()
    };
    let names = ["layer.0", "layer.1", "layer.2"];
    let all = |broken: [&[usize]; 3]| {
        (0..3).map(|at| (names[at], Stored::F32, vec![RUN, 3], layer(at, broken[at]))).collect::<Vec<_>>()
    };
    case.outputs(REFERENCE, &all([&[], &[], &[]]));
    case.outputs(HOST_VARIANT, &all([&[], &[4], &[4, 2]]));
    case.outputs(JUDGED, &[("scores", Stored::F32, vec![RUN, 3], layer(2, &[4, 2]))]);
    explain(case.evidence(), &inquiry(site(JUDGED, Some(HOST_VARIANT), None))).unwrap()
}

/// A record in which samples 8 and 4 flip.
fn failing() -> Case {
    let mut case = good();
    let mut own = answers(0.0);
    for sample in [4, 8] {
        own[sample * 3..][..3].rotate_left(1);
    }
    case.answers(JUDGED, &own);
    case.rule("drift").limit = 60.0;
    case
}

fn summary(case: &Case) -> Summary {
    summarize(case.evidence(), &case.judge().unwrap()).unwrap()
}

fn page(case: &Case, explanation: Option<Explanation>) -> String {
    let mut summary = summary(case);
    summary.explain(explanation.map(|explanation| (id(JUDGED), explanation)).into_iter().collect());
    html::render(&summary)
}

#[test]
fn a_cell_that_fails_and_was_not_explained_says_what_does_it() {
    let page = page(&failing(), None);
    let told = format!("<code>boardproof explain RECORD {JUDGED}</code>");
    assert!(page.contains(&told) && !page.contains("first layer below"), "{page}");
    let of_other: BTreeMap<_, _> = [(id(REFERENCE), explained())].into();
    let mut summary = summary(&failing());
    summary.explain(of_other);
    assert!(html::render(&summary).contains(&told), "what is explained of another cell is no explanation of this one");
    assert!(!html::render(&self::summary(&good())).contains("boardproof explain"), "a good cell asks for nothing");
}

#[test]
fn the_report_tells_layers_causes_and_where_each_flipped_sample_parts() {
    let mut case = failing();
    let page = page(&case, Some(explained()));
    let section = page.split("<h3>Where it parts from the reference</h3>").nth(1).expect("a section");
    let section = section.split("<h3>").next().unwrap().split("<summary>Task metric").next().unwrap();
    insta::assert_snapshot!("explained", section);
    assert!(!section.contains("conv<1>"), "names are text");
    case.show(&[8, 4], &[3, 3]);
    case.model().inputs[0].shape = vec![3, 3];
    case.model().evalset.shows = Some(Shows::Image);
    let with_pictures = self::page(&case, Some(explained()));
    let row = with_pictures.split("<img class=\"sample\" alt=\"sample 8\"").nth(1).unwrap();
    assert!(row.split("</tr>").next().unwrap().contains("2 <code>/body/conv&lt;1&gt;</code>"), "{row}");
}

#[test]
fn flipped_samples_are_told_by_their_numbers_in_the_evalset() {
    let told: Vec<_> = explained().flipped.iter().map(|one| (one.sample, one.first_broken)).collect();
    assert_eq!(told, [(8, Some(1)), (4, Some(2))]);
}

/// Values of a layer of a sample on the host, and on a device whose second layer adds one to every eighth value, in every sample but the
/// first; the third layer makes it more.
fn values(layer: usize, sample: usize, device: bool) -> Vec<u8> {
    let host = (0..400).map(|i| ((i * 37 + layer * 11 + sample * 5) % 101) as i8 - 50);
    let wrong = device && sample > 0 && layer > 0;
    let own = |(i, value): (usize, i8)| if wrong && i % 8 == 0 { value + layer as i8 } else { value };
    host.enumerate().map(|pair| own(pair) as u8).collect()
}

/// Host and device, each with the sketches under a seed of so many layers.
fn told(seeds: [u32; 2], layers: [usize; 2], device: bool) -> Case {
    let mut case = short();

    let float = |at: usize| (0..RUN * 3).flat_map(|i| ((i + at) as f32).to_le_bytes()).collect();
    case.outputs(
        REFERENCE,
        &["layer.0", "layer.1", "layer.2"].map(|name| (name, Stored::F32, vec![RUN, 3], float(name.len()))),
    );
    for (at, cell) in [HOST_VARIANT, JUDGED].into_iter().enumerate() {
        let one = |(sample, layer): (usize, usize)| {
            sketch(seeds[at], layer as u32, (Dtype::I8, -2), &values(layer, sample, device && at == 1))
        };
        let bytes = (0..RUN).flat_map(|s| (0..layers[at]).map(move |l| (s, l))).flat_map(one).collect();
        case.outputs(cell, &[("sketch", Stored::U8, vec![RUN, layers[at], SKETCH_BYTES], bytes)]);
        let passes = &mut case.planned(cell).passes;
        passes.iter_mut().filter(|pass| pass.pass == Pass::Accuracy).for_each(|pass| pass.sketch = Some(seeds[at]));
    }
    case.pass(JUDGED, Pass::Inspect).operators = (0..3)
        .map(|index| Operator {
            index,
            name: format!("node of {}", NAMES[index as usize].0),
            op: "Conv2d".into(),
            dtypes: String::new(),
            kernel: String::new(),
        })
        .collect();
    case
}

fn held(case: &Case) -> Explanation {
    let sites = vec![site(HOST_VARIANT, None, Some(HOST_VARIANT)), site(JUDGED, None, Some(JUDGED))];
    explain(case.evidence(), &Inquiry { sites, ..inquiry(site(JUDGED, None, None)) }).unwrap()
}

#[test]
fn sketches_that_do_not_belong_together_are_not_compared() {
    for (case, why) in [
        (told([7, 8], [3, 3], false), "expected seed 7, got 8"),
        (told([7, 7], [3, 2], false), "expected layers 3, got 2"),
    ] {
        let found = held(&case);
        assert!(found.sketched.is_empty(), "{found:?}");
        assert!(found.notes.iter().any(|note| note.contains(why)), "{why}: {:?}", found.notes);
    }
    let mut other = told([7, 7], [3, 3], false);
    let mut bytes = vec![0; RUN * 3 * SKETCH_BYTES];
    bytes[15] = 9;
    other.outputs(JUDGED, &[("sketch", Stored::U8, vec![RUN, 3, SKETCH_BYTES], bytes.clone())]);
    assert!(
        held(&other).notes.iter().any(|note| note.contains("is no sketch of version 1")),
        "{:?}",
        held(&other).notes
    );
    other.outputs(JUDGED, &[("sketch", Stored::U8, vec![RUN, 6, SKETCH_BYTES / 2], bytes)]);
    assert!(held(&other).notes.iter().any(|note| note.contains("64 bytes a layer, got 'sketch' of shape")));
    other.answers(JUDGED, &answers(0.0)[..RUN * 3]);
    assert!(held(&other).notes.iter().any(|note| note.contains("expected an output 'sketch'")), "an old firmware");
}

#[test]
fn a_device_that_computes_what_the_host_does_is_the_same_in_every_layer() {
    let found = held(&told([7, 7], [3, 3], false));
    let [one] = found.sketched.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.first_apart, one.layers.len(), one.samples), (None, 3, RUN as u64));
    assert!(one.layers.iter().all(|layer| layer.relative_l2 == Some(0.0) && layer.cosine == Some(1.0)));
    assert!(render(&found).contains("all 3 layers are host/tract's, bit for bit, in 6 samples"), "{}", render(&found));
}

#[test]
fn a_device_with_a_wrong_layer_parts_there_and_by_about_as_much_as_it_does() {
    let found = held(&told([7, 7], [3, 3], true));
    let [one] = found.sketched.as_slice() else { panic!("{found:?}") };
    assert_eq!(one.first_apart, Some(1), "{one:?}");
    assert_eq!(one.layers.iter().map(|layer| layer.samples_apart).collect::<Vec<_>>(), [0, 5, 5]);
    let cause = &found.causes[0];
    assert_eq!((cause.label, cause.layer), (Label::KernelError, Some(1)), "{cause:?}");
    assert_eq!(one.layers[1].sum_moved, Some(50.0 * 5.0 / 6.0), "moments are exact");
    for (at, layer) in one.layers.iter().enumerate().skip(1) {
        let both = (0..RUN).flat_map(|s| values(at, s, false).into_iter().zip(values(at, s, true)));
        let [a, b, d, ab] = both.fold([0.0; 4], |[a, b, d, ab], (x, y)| {
            let (x, y) = (f64::from(x as i8) + 2.0, f64::from(y as i8) + 2.0);
            [a + x * x, b + y * y, d + (x - y) * (x - y), ab + x * y]
        });
        let square = layer.relative_l2.unwrap().powi(2) / (d / a);
        assert!((square - 1.0).abs() < 2.0 * one.standard_error, "{square} of |d|^2");
        let (cosine, bound) = (ab / (a * b).sqrt(), 2.0 * one.standard_error * d / (2.0 * (a * b).sqrt()));
        assert!((layer.cosine.unwrap() - cosine).abs() <= bound, "{:?}, {cosine} within {bound}", layer.cosine);
        assert!((layer.rms_ratio.unwrap() - (b / a).sqrt()).abs() < 1e-12);
    }
    assert!(render(&found).contains("one standard error is 43 % of the squared distance"), "{}", render(&found));
}

/// The stated error holds over seeds: of many, as few are beyond two of it as may be, and the mean is right.
#[test]
fn the_error_of_an_estimate_is_as_stated() {
    let found: Vec<(f64, f64)> = (0..60)
        .map(|seed| {
            let found = held(&told([seed, seed], [2, 2], true));
            let layer = &found.sketched[0].layers[1];
            let both = (0..RUN).flat_map(|s| values(1, s, false));
            let squares: f64 = both.map(|x| (f64::from(x as i8) + 2.0).powi(2)).sum();
            (layer.relative_l2.unwrap().powi(2) * squares / 250.0, found.sketched[0].standard_error)
        })
        .collect();
    let mean = found.iter().map(|(ratio, _)| ratio).sum::<f64>() / 60.0;
    let spread = (found.iter().map(|(ratio, _)| (ratio - mean).powi(2)).sum::<f64>() / 60.0).sqrt();
    let stated = found[0].1;
    assert!((mean - 1.0).abs() < 3.0 * stated / 60.0_f64.sqrt(), "mean {mean}");
    assert!(spread < 1.2 * stated, "spread {spread}, stated {stated}");
}
