//! Layer by layer, from outside: the cause of a variant that was damaged on purpose, told again offline, and its layer alone.

use crate::tool::{Home, root};
use serde_json::Value;

fn models() -> String {
    root().join("models").display().to_string()
}

#[test]
fn a_damaged_layer_is_named_told_again_and_handed_over_alone() {
    let home = Home::new();
    let models = models();
    let asked = ["explain", "adult_mlp", "-v", "bad_corrupt", "--models", &models, "--samples", "100", "--quiet"];
    let ended = home.run(asked.iter().chain(&["--out", "seen", "--reproduce", "alone"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let broken = "the first layer that breaks the budget is '/b/b.3/Gemm_output_0'";
    assert!(ended.stdout.contains(broken), "{}", ended.stdout);
    assert!(ended.stdout.contains("cause: corrupted weights: weights 'b.3.weight'"), "{}", ended.stdout);
    let of_samples = ended.stdout.split("SAMPLE  SITE").nth(1).expect("samples are told");
    let parted = of_samples.lines().filter(|line| line.contains("/b/b.3/Gemm_output_0")).count();
    assert!(parted > 0, "a sample parts where its layer was damaged: {of_samples}");
    let again = home.run(["explain", "seen", "--quiet"]);
    assert_eq!((again.code, &again.stdout), (Some(0), &ended.stdout), "{}", again.stderr);

    // Its one bad layer, as a model of its own that the tool takes like any other.
    let alone = home.run(["explain", "alone", "-v", "layer", "--quiet", "--json"]);
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    let told: Value = serde_json::from_str(&alone.stdout).unwrap_or_else(|error| panic!("{error}: {}", alone.stdout));
    assert_eq!(told[0]["causes"][0]["label"], "corrupted_weights", "{told}");
    assert_eq!(told[0]["rows"].as_array().map(Vec::len), Some(2), "its input and itself: {told}");
    let checked = home.run(["check", "alone", "-v", "layer", "--samples", "100", "--iterations", "50", "--quiet"]);
    assert_eq!(checked.code, Some(1), "{}{}", checked.stdout, checked.stderr);
}

#[test]
fn the_cells_of_a_record_that_fail_are_explained() {
    let home = Home::new();
    let models = models();
    let asked = ["check", "adult_mlp", "-v", "bad_calib_clip", "-v", "int8_qdq_pc", "--models", &models];
    let checked =
        home.run(asked.iter().chain(&["--samples", "500", "--iterations", "50", "--out", "record", "--quiet"]));
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    let ended = home.run(["explain", "record", "--models", &models, "--quiet", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout));
    let explained = told.as_array().expect("a list");
    assert_eq!(explained.len(), 1, "the good variant has nothing to be explained: {told}");
    assert_eq!(explained[0]["causes"][0]["label"], "saturation", "{told}");
    the_report_shows_it(&home, &explained[0]);
    what_does_not_belong_to_the_record_is_refused(&home);
}

/// The page before and after: what is shown, in the same bytes each time, and the flipped samples with their layers.
fn the_report_shows_it(home: &Home, explained: &Value) {
    let page = |name: &str| {
        let ended = home.run(["report", "record", "-f", "html", "-o", name]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        std::fs::read_to_string(home.path(name)).expect("a page")
    };
    let before = std::fs::read_to_string(home.path("record/report.html")).expect("the check's own page");
    let how = "boardproof explain RECORD adult_mlp/bad_calib_clip@host/tract";
    assert!(before.contains(how), "{before}");
    let (first, second) = (page("a.html"), page("b.html"));
    assert!(first == second, "the same bytes each time");
    assert!(!first.contains(how) && first.contains("Where it parts from the reference"), "{first}");
    assert!(
        first.contains("Cause: <b>saturation</b>") && first.contains("of the sample itself, on host/tract"),
        "{first}"
    );
    let flipped = explained["flipped"].as_array().expect("a list");
    assert!(!flipped.is_empty() && flipped.len() <= 24, "{explained}");
    let told = first.split("Which samples:").nth(1).expect("flips");
    let row = told.split("<tr>").find(|row| row.contains("<td class=\"n\"")).expect("a sample");
    assert!(row.contains("<code>"), "the surest sample has a layer: {row}");
    assert!(
        !told
            .split("</table>")
            .next()
            .unwrap_or_default()
            .split("<tr>")
            .skip(2)
            .take(24)
            .any(|row| row.contains("not explained"))
    );
}

fn what_does_not_belong_to_the_record_is_refused(home: &Home) {
    let folder = home.path("record/explain/adult_mlp+bad_calib_clip@host+tract/1");
    let inquiry = folder.join("explain.json");
    let good = std::fs::read_to_string(&inquiry).expect("what was asked");
    let report = || home.run(["report", "record", "-f", "html", "-o", "c.html"]);
    let other: Value = serde_json::from_str(&good).expect("JSON");
    let digest = other["of"]["record"].as_str().expect("a digest");
    std::fs::write(&inquiry, good.replace(digest, &digest.chars().rev().collect::<String>())).expect("written");
    let refused = report();
    assert_eq!(refused.code, Some(5), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("it explains the record") && refused.stderr.contains("hint: remove"),
        "{}",
        refused.stderr
    );
    std::fs::write(&inquiry, &good[..good.len() / 2]).expect("written");
    assert_eq!(report().code, Some(5));
    // No verdict depends on it.
    assert_eq!(home.run(["gate", "record"]).code, Some(1));
    std::fs::write(&inquiry, good).expect("written");
    let outputs = std::fs::read_dir(folder.join("cells")).expect("cells").next().expect("a cell").expect("a cell");
    std::fs::write(outputs.path().join("outputs.safetensors"), b"damaged").expect("written");
    let damaged = report();
    assert_eq!(damaged.code, Some(5), "{}", damaged.stderr);
    assert!(damaged.stderr.contains("could not read what was explained in"), "{}", damaged.stderr);
    std::fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(report().code, Some(0), "without it the report is what it was");
}

#[test]
fn a_check_explains_what_fails_when_it_is_asked_to() {
    let home = Home::new();
    let models = models();
    let asked = ["check", "adult_mlp", "-v", "bad_corrupt", "--models", &models, "--samples", "300"];
    let checked = home.run(asked.iter().chain(&["--iterations", "50", "--out", "record", "--quiet", "--explain"]));
    assert_eq!(checked.code, Some(1), "the verdict stays the check's: {}", checked.stderr);
    let page = std::fs::read_to_string(home.path("record/report.html")).expect("a page");
    assert!(page.contains("Cause: <b>corrupted weights</b>"), "{page}");
    assert!(page.contains("first below on host/tract"), "{page}");
}

#[test]
fn what_cannot_be_explained_is_refused_with_what_is_there() {
    let home = Home::new();
    let unknown = home.run(["explain", "adult_mlp", "-v", "int8_qdp_pc", "--models", &models()]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("no variant is called 'int8_qdp_pc'; known: int8_qdq_pc"), "{}", unknown.stderr);
    std::fs::create_dir(home.path("empty")).expect("could not make a folder");
    let nothing = home.run(["explain", "./empty"]);
    assert_eq!(nothing.code, Some(2), "{}", nothing.stderr);
}
