//! What is good has no error; each damage is found as what it is.

use crate::material::{Case, MODELS, grave, random};
use boardproof_evalset::{Finding, Kind, Severity};
use safetensors::Dtype;

#[test]
fn the_models_of_this_project_have_no_errors() {
    for model in MODELS {
        let findings = Case::of(model).findings();
        println!("== {model}");
        findings.iter().for_each(|f| println!("{:<8} {:<19} {f}", f.severity.word(), f.kind.name()));
        assert!(findings.iter().all(|f| f.severity < Severity::Error), "{model}: {:?}", grave(&findings));
    }
}

/// Damages the evalset of a model; the gravest findings must hold this one.
#[track_caller]
fn damaged(model: &str, damage: impl FnOnce(&mut Case), severity: Severity, kind: Kind) -> Finding {
    let mut case = Case::of(model);
    damage(&mut case);
    let findings = case.findings();
    let found = findings.iter().find(|f| f.severity == severity && f.kind == kind);
    found.unwrap_or_else(|| panic!("{model}: no {} {kind} in {findings:#?}", severity.word())).clone()
}

#[test]
fn another_element_type_than_the_calibration_data_is_an_error() {
    let found = damaged("mnist_dscnn", |case| case.inputs().become_f32(), Severity::Error, Kind::Dtype);
    assert!(found.message.contains("holds F32, the calibration data U8"), "{found}");
    let labels = |case: &mut Case| {
        let labels = case.tensors.get_mut("labels").unwrap();
        labels.bytes = labels.bytes.as_chunks::<8>().0.iter().flat_map(|b| [b[0], b[1], b[2], b[3]]).collect();
        labels.dtype = Dtype::I32;
    };
    damaged("vowels_dscnn", labels, Severity::Error, Kind::Dtype);
}

#[test]
fn a_column_that_is_no_number_is_named() {
    let found = damaged(
        "adult_mlp",
        |case| case.inputs().each(|i, v| if i % 62 == 1 { f32::NAN } else { v }),
        Severity::Error,
        Kind::NonFinite,
    );
    assert_eq!(found.count, Some((6000, 6000)));
    assert!(found.message.contains("in education-num"), "{found}");
}

#[test]
fn repeated_rows_are_counted() {
    let repeat = |case: &mut Case| {
        let inputs = case.inputs();
        let row = inputs.row_bytes();
        let half = inputs.bytes.len() / 2 / row * row;
        let (first, second) = inputs.bytes.split_at_mut(half);
        second[..half].copy_from_slice(first);
    };
    for model in MODELS {
        let found = damaged(model, repeat, Severity::Error, Kind::Duplicates);
        assert!(found.count.is_some_and(|(n, all)| n * 2 >= all - 1), "{model}: {found}");
    }
    // Half of the labels belong to other samples now.
    damaged("mnist_dscnn", repeat, Severity::Error, Kind::LabelConflict);
}

#[test]
fn samples_of_the_calibration_data_are_counted() {
    let leak = |case: &mut Case| {
        let row = case.inputs().row_bytes();
        let calibration = case.calibration.clone();
        let file = safetensors::SafeTensors::deserialize(&calibration).unwrap();
        let known = file.tensor("inputs").unwrap().data();
        case.inputs().bytes[..100 * row].copy_from_slice(&known[..100 * row]);
    };
    for model in ["mnist_dscnn", "vowels_former"] {
        let found = damaged(model, leak, Severity::Warning, Kind::CalibrationOverlap);
        assert!(found.count.is_some_and(|(n, _)| (100..110).contains(&n)), "{model}: {found}");
    }
}

#[test]
fn scaled_and_shifted_inputs_are_found() {
    for model in ["adult_mlp", "shuttle_ae", "vowels_dscnn", "vowels_former"] {
        for factor in [8.0, 0.125, 255.0, 1.0 / 255.0] {
            damaged(model, |case| case.inputs().each(|_, v| v * factor), Severity::Error, Kind::Scale);
        }
        damaged(model, |case| case.inputs().each(|_, v| v + 20.0), Severity::Error, Kind::Scale);
    }
    damaged("mnist_dscnn", |case| case.inputs().each(|_, v| v / 8.0), Severity::Error, Kind::Scale);
    // Pixels that were divided by 255 and then stored as fractions: the preprocessing would do it once more.
    let divided = |case: &mut Case| {
        case.inputs().become_f32();
        case.inputs().each(|_, v| v / 255.0);
    };
    damaged("mnist_dscnn", divided, Severity::Error, Kind::Scale);
}

#[test]
fn constant_and_random_inputs_are_found() {
    for model in ["mnist_dscnn", "vowels_dscnn"] {
        let found = damaged(model, |case| case.inputs().each(|_, _| 7.0), Severity::Error, Kind::Constant);
        assert!(found.count.is_some(), "{found}");
        let noise = |case: &mut Case| case.inputs().each(|i, _| random(i) * 255.0);
        let found = damaged(model, noise, Severity::Error, Kind::Noise);
        assert!(found.count.is_some_and(|(n, asked)| n * 10 > asked * 9), "{model}: {found}");
    }
    for model in ["adult_mlp", "shuttle_ae"] {
        damaged(model, |case| case.inputs().each(|i, _| random(i) * 2.0 - 1.0), Severity::Error, Kind::Noise);
        damaged(model, |case| case.inputs().each(|_, _| 1.0), Severity::Error, Kind::Constant);
    }
    // A tenth of the pictures.
    let tenth = |case: &mut Case| {
        let row = 28 * 28;
        case.inputs().each(|i, v| if i / row % 11 == 0 { random(i) * 255.0 } else { v });
    };
    let found = damaged("mnist_dscnn", tenth, Severity::Warning, Kind::Noise);
    assert!(found.count.is_some_and(|(n, _)| (170..200).contains(&n)), "{found}");
}

#[test]
fn overexposed_pictures_and_clipped_values_are_found() {
    let brighter = |case: &mut Case| case.inputs().each(|_, v| v * 3.0);
    damaged("mnist_dscnn", brighter, Severity::Warning, Kind::Saturation);
    let clipped = |case: &mut Case| case.inputs().each(|_, v| v.clamp(-0.3, 0.3));
    damaged("vowels_dscnn", clipped, Severity::Warning, Kind::Saturation);
}

#[test]
fn labels_slices_and_ids_that_are_none_are_found() {
    fn set(case: &mut Case, tensor: &str, change: impl Fn(usize, i64) -> i64) {
        let tensor = case.tensors.get_mut(tensor).unwrap();
        if tensor.dtype == Dtype::U8 {
            tensor.bytes.iter_mut().enumerate().for_each(|(i, b)| *b = change(i, i64::from(*b)) as u8);
            return;
        }
        for (i, bytes) in tensor.bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *bytes = change(i, i64::from_le_bytes(*bytes)).to_le_bytes();
        }
    }
    let model = "mnist_dscnn";
    let found =
        damaged(model, |c| set(c, "labels", |i, l| if i % 100 == 3 { 10 } else { l }), Severity::Error, Kind::Label);
    assert_eq!((found.count, found.samples[0]), (Some((20, 2000)), 3));
    damaged(model, |c| set(c, "labels", |_, _| 4), Severity::Error, Kind::Balance);
    damaged(model, |c| set(c, "labels", |_, l| if l == 4 { 5 } else { l }), Severity::Warning, Kind::Balance);
    damaged(model, |c| set(c, "slice.slant", |_, _| 3), Severity::Error, Kind::SliceCode);
    damaged(model, |c| set(c, "slice.slant", |_, _| 0), Severity::Warning, Kind::Slices);
    damaged(model, |c| set(c, "ids", |i, _| i as i64 / 2), Severity::Error, Kind::Id);
    damaged(model, |c| drop(c.tensors.remove("slice.slant")), Severity::Error, Kind::Missing);
    damaged(model, |c| drop(c.tensors.remove("inputs")), Severity::Error, Kind::Missing);
    let shorter = |case: &mut Case| {
        for tensor in case.tensors.values_mut() {
            let row = tensor.row_bytes();
            tensor.bytes.truncate(1999 * row);
            tensor.shape[0] = 1999;
        }
    };
    damaged(model, shorter, Severity::Error, Kind::Shape);
}
