//! Engines side by side: the same variant by tract and by onnxruntime, and a reference that another engine answers for.

use crate::tool::{Home, Running, root};
use boardproof_record::observation::{Observation, Outcome};
use boardproof_record::record::Record;
use boardproof_record::verdict::{Judgement, Verdict};
use std::collections::BTreeMap;
use std::path::PathBuf;

const INT8: &str = "mnist_dscnn/int8_qdq_pc";

fn check(home: &Home, out: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let models = root().join("models");
    let models = models.to_str().expect("a path in UTF-8");
    let usual =
        ["check", "mnist_dscnn", "-v", "int8_qdq_pc", "--models", models, "--samples", "128", "--iterations", "200"];
    let ended = home.run(usual.iter().chain(more).chain(&["--out", out, "--quiet"]));
    (ended.code, ended.stdout, ended.stderr)
}

fn judgement(home: &Home, out: &str) -> Judgement {
    let ended = home.run(["gate", out, "--json"]);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

fn detail(judgement: &Judgement, cell: &str, rule: &str) -> (Verdict, String) {
    let cell = judgement.cells.iter().find(|found| found.cell.as_str() == cell).expect("judged");
    let rule = cell.rules.iter().find(|found| found.rule.as_str() == rule).expect("asked");
    (rule.verdict, rule.detail.clone())
}

fn measured<'r>(record: &'r Record, cell: &str) -> &'r Observation {
    let (_, outcome) = record.outcomes.iter().find(|(id, _)| id.as_str() == cell).expect("planned");
    let Outcome::Measured(seen) = outcome else { panic!("{cell}: {outcome:?}") };
    seen
}

/// Kernels that the operators of a cell ran with.
fn kernels(record: &Record, cell: &str) -> Vec<String> {
    let seen = measured(record, cell);
    seen.passes.iter().flat_map(|pass| &pass.operators).map(|op| format!("{} {}", op.op, op.kernel)).collect()
}

#[test]
fn two_engines_run_the_same_variant_side_by_side() {
    let home = Home::new();
    let (code, stdout, stderr) = check(&home, "out", &["--engine", "tract,onnxruntime"]);
    assert!(matches!(code, Some(0 | 1 | 3)), "{stderr}");
    assert!(stdout.contains("engines side by side") && stdout.contains("by onnxruntime"), "{stdout}");
    let judgement = judgement(&home, "out");
    for engine in ["tract", "onnxruntime"] {
        let cell = format!("{INT8}@host/{engine}");
        for rule in ["runs", "self-check", "accuracy-drop", "drift"] {
            let (verdict, detail) = detail(&judgement, &cell, rule);
            // 128 samples may be too few to show an accuracy: no more than that.
            assert!(matches!(verdict, Verdict::Pass | Verdict::Inconclusive), "{cell} {rule}: {detail}");
        }
    }
    let (_, said) = detail(&judgement, &format!("{INT8}@host/onnxruntime"), "compared-with");
    assert!(said.contains("candle and onnxruntime agree on the float model"), "{said}");
    let record = home.record("out");
    let ran = kernels(&record, &format!("{INT8}@host/onnxruntime"));
    assert!(ran.iter().any(|op| op == "QLinearConv CPU accumulates in i32"), "{ran:?}");
    let library = record.builds.iter().find(|build| build.program == "library of onnxruntime").expect("it was shipped");
    // Builds of one version may differ: every pass says which one it had.
    let seen = measured(&record, &format!("{INT8}@host/onnxruntime"));
    let told = format!("library {}", library.digest);
    assert!(seen.passes.iter().all(|pass| pass.facts.texts["engine[1]"] == told), "{told}");
}

#[test]
fn a_reference_by_candle_has_tract_as_its_second_opinion() {
    let home = Home::new();
    let (code, _, stderr) = check(&home, "out", &[]);
    assert!(matches!(code, Some(0 | 1 | 3)), "{stderr}");
    let (verdict, said) = detail(&judgement(&home, "out"), &format!("{INT8}@host/tract"), "compared-with");
    assert_eq!(verdict, Verdict::Pass, "{said}");
    assert!(said.contains("candle and tract agree on the float model"), "{said}");
}

/// A machine that has the library is none to prove its absence on.
fn has_own_library() -> bool {
    let folders = ["/usr/local/lib", "/usr/lib", "/lib", "/usr/lib/x86_64-linux-gnu"];
    let files =
        folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flat_map(|entries| entries.flatten());
    let found = files.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("/libonnxruntime.so"));
    if let Some(file) = &found {
        eprintln!("skipped: this machine has {}", file.display());
    }
    found.is_some()
}

/// The library is not the model's doing: without it there is no verdict, and a hint that says how to get it.
#[test]
fn a_library_that_is_not_there_is_a_fault_and_no_verdict() {
    let home = Home::new();
    let link = home.path("cache/boardproof/host/engines");
    std::fs::remove_file(&link).expect("the tests' own link");
    if has_own_library() {
        return;
    }
    let (code, stdout, stderr) = check(&home, "out", &["--engine", "onnxruntime"]);
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stdout.contains("libonnxruntime.so"), "{stdout}");
    let record = home.record("out");
    let hints = record.outcomes.values().filter_map(|outcome| match outcome {
        Outcome::DeviceFault(fault) => Some(fault.hints.join("; ")),
        _ => None,
    });
    let hints: Vec<String> = hints.collect();
    assert!(
        !hints.is_empty() && hints.iter().all(|hint| hint.contains("boardproof engine add onnxruntime")),
        "{hints:?}"
    );
}

/// The library that the tests have kept for this machine.
fn kept_library(home: &Home) -> PathBuf {
    let folder = home.path("cache/boardproof/host/engines/onnxruntime/x86_64");
    let mut files =
        std::fs::read_dir(&folder).expect("`cargo xtask test` keeps it").flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|end| end == "so")).expect("a library is kept")
}

/// As on a board whose product brings it: nobody keeps one here, and the unit's loader knows it by a product's name.
#[test]
fn a_library_of_the_units_own_is_found_under_a_products_name_and_told_by_its_file() {
    let home = Home::new();
    let folder = home.path("lib");
    let own = folder.join("libonnxruntime.so.1");
    std::fs::create_dir_all(&folder).expect("a folder of the test's own");
    std::fs::copy(kept_library(&home), &own).expect("a folder of the test's own");
    std::fs::remove_file(home.path("cache/boardproof/host/engines")).expect("the tests' own link");
    if has_own_library() {
        return;
    }
    let models = root().join("models");
    let models = models.to_str().expect("a path in UTF-8");
    let words = ["check", "mnist_dscnn", "-v", "int8_qdq_pc", "--models", models, "--engine", "onnxruntime"];
    let more = ["--samples", "128", "--iterations", "200", "--out", "out", "--quiet"];
    let mut command = home.command(words.iter().chain(&more));
    command.env("LD_LIBRARY_PATH", &folder);
    let ended = Running::of(command).end();
    assert!(matches!(ended.code, Some(0 | 1 | 3)), "{}{}", ended.stdout, ended.stderr);
    let record = home.record("out");
    assert!(record.builds.iter().all(|build| build.program != "library of onnxruntime"), "nothing was shipped");
    let seen = measured(&record, &format!("{INT8}@host/onnxruntime"));
    let own = own.canonicalize().expect("it is there").display().to_string();
    assert!(seen.passes.iter().all(|pass| pass.facts.texts["engine[1]"] == own), "{own}: {:?}", seen.passes[0].facts);
}

/// A product's own library is what its users run: the one that is kept here does not take its place.
#[test]
fn a_library_that_the_target_names_is_used_in_place_of_one_that_is_kept() {
    let home = Home::new();
    let own = home.path("product/libonnxruntime_of_a_product.so");
    std::fs::create_dir_all(home.path("product")).expect("a folder of the test's own");
    std::fs::copy(kept_library(&home), &own).expect("a folder of the test's own");
    let file = own.to_str().expect("a path in UTF-8");
    write_target_with(&home, "product", &format!("library = \"{file}\""));
    let (code, stdout, stderr) = check(&home, "out", &["--target-folder", "targets", "-t", "product"]);
    assert!(matches!(code, Some(0 | 1 | 3)), "{stdout}{stderr}");
    let record = home.record("out");
    let seen = measured(&record, &format!("{INT8}@product/onnxruntime"));
    assert!(seen.passes.iter().all(|pass| pass.facts.texts["engine[1]"] == file), "{:?}", seen.passes[0].facts);
    std::fs::remove_file(&own).expect("the test's own file");
    let (code, stdout, _) = check(&home, "gone", &["--target-folder", "targets", "-t", "product"]);
    assert!(code == Some(4) && stdout.contains(file), "{stdout}");
    let ended = home.run(["doctor", "--target", "product", "--target-folder", "targets"]);
    assert!(ended.code == Some(5) && ended.stdout.contains("is not there"), "{}", ended.stdout);
}

#[test]
fn doctor_says_whether_a_library_is_kept_or_the_units_own_or_how_to_get_one() {
    let home = Home::new();
    write_target(&home, "shelf", "\"CPUExecutionProvider\"");
    let asked = |folder: &str| {
        let mut command = home.command(["doctor", "--target", "shelf", "--target-folder", "targets"]);
        command.env("LD_LIBRARY_PATH", folder);
        let ended = Running::of(command).end();
        let line = ended.stdout.lines().find(|line| line.contains("library of onnxruntime for x86_64"));
        (ended.code, line.unwrap_or_else(|| panic!("{}", ended.stdout)).to_owned(), ended.stdout)
    };
    assert!(asked("").1.contains("package onnxruntime-"), "{}", asked("").1);
    std::fs::remove_file(home.path("cache/boardproof/host/engines")).expect("the tests' own link");
    let folder = home.path("lib");
    let own = folder.join("libonnxruntime.so.1");
    std::fs::create_dir_all(&folder).expect("a folder of the test's own");
    std::fs::write(&own, "").expect("a folder of the test's own");
    let (_, line, _) = asked(folder.to_str().expect("a path in UTF-8"));
    assert!(line.contains("the unit's own") && line.contains(own.to_str().expect("a path in UTF-8")), "{line}");
    if has_own_library() {
        return;
    }
    let (code, line, whole) = asked("");
    assert!(code == Some(5) && line.contains("MISSING"), "{whole}");
    assert!(whole.contains("boardproof engine add onnxruntime --target shelf"), "{whole}");
}

/// What the tables of docs/engines.md say of the variants that an engine does not run.
fn documented(engine: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("docs/engines.md")).expect("a document of the workspace");
    let (_, block) = text.split_once(&format!("<!-- {engine}: made by the test `table` -->")).expect("its table");
    let (block, _) = block.split_once("<!-- end -->").expect("a table that ends");
    let lines = block.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(": "));
    let each = lines.flat_map(|(who, why)| who.split(", ").map(move |who| (who.to_owned(), why.to_owned())));
    each.collect()
}

#[test]
fn the_reason_in_the_tables_is_the_error_that_a_user_gets() {
    let home = Home::new();
    let models = root().join("models");
    let models = models.to_str().expect("a path in UTF-8");
    let words = ["check", "adult_mlp", "-v", "f16", "-v", "int8_qop", "--models", models, "--engine", "tract,candle"];
    let ended = home.run(words.iter().chain(&["--samples", "64", "--iterations", "50", "--out", "out", "--quiet"]));
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    let record = home.record("out");
    let mut refused = 0;
    for cell in record.plan.cells.iter().filter(|cell| cell.judged) {
        let reasons = measured(&record, cell.id.as_str()).passes.iter().filter_map(|pass| pass.cannot_run.as_ref());
        let found = reasons.map(|why| why.reason.clone()).next();
        let known = documented(cell.engine.as_str()).remove(&format!("{}/{}", cell.model, cell.variant));
        assert_eq!(found, known, "{}", cell.id);
        if let Some(reason) = found {
            assert!(ended.stdout.contains(&reason), "{reason}: {}", ended.stdout);
            refused += 1;
        }
    }
    assert_eq!(refused, 3, "f16 and int8_qop by tract, int8_qop by candle");
}

#[test]
fn an_engine_that_nobody_knows_is_named_with_those_that_are() {
    let home = Home::new();
    let (code, _, stderr) = check(&home, "out", &["--engine", "onnxruntim"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("no engine is called 'onnxruntim'") && stderr.contains("onnxruntime"), "{stderr}");
}

/// Asks the engines about a model and reads what they say.
fn reference(home: &Home, model: &str, more: &[&str]) -> (Option<i32>, serde_json::Value) {
    let models = root().join("models");
    let models = models.to_str().expect("a path in UTF-8");
    let usual = ["reference", model, "--models", models, "--out", "asked", "--json", "--quiet"];
    let ended = home.run(usual.iter().chain(more));
    let said: serde_json::Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    (ended.code, said[0].clone())
}

#[test]
fn engines_that_agree_on_the_float_model_make_a_reference() {
    let (code, said) = reference(&Home::new(), "vowels_former", &["--engine", "candle,tract"]);
    assert_eq!((code, said["verdict"].as_str()), (Some(0), Some("agreed")), "{said}");
    let beside = &said["engines"][1]["answers"][0];
    assert!(beside["sqnr_db"].as_f64().is_some_and(|db| db > 100.0), "{said}");
}

/// tract's optimizer breaks this one: its own self-check knows where, and so does a look at tensor after tensor.
#[test]
fn engines_that_part_are_refused() {
    let more = ["--variant", "int8_qdq_pc", "--engine", "candle,tract", "--samples", "64"];
    let (code, said) = reference(&Home::new(), "vowels_former", &more);
    assert_eq!((code, said["verdict"].as_str()), (Some(1), Some("refused")), "{said}");
    assert!(said["engines"][1]["self_check"].as_str().is_some_and(|text| text.contains("Softmax")), "{said}");
    let parting = &said["parting"];
    assert_eq!((&parting["engine"], &parting["operator"]), (&"tract".into(), &"Softmax".into()), "{said}");
}

/// Each rounds halves at another place, from the first product on: more than two right evaluations of a float model may differ by.
#[test]
fn the_first_operator_at_which_engines_part_is_named() {
    let home = Home::new();
    let more = ["--variant", "f16_portable", "--engine", "candle,tract", "--samples", "32"];
    let (code, said) = reference(&home, "adult_mlp", &more);
    assert_eq!((code, said["verdict"].as_str()), (Some(1), Some("refused")), "{said}");
    let parting = &said["parting"];
    assert_eq!(parting["engine"], "tract", "{said}");
    assert_eq!((&parting["operator"], &parting["node"]), (&"MatMul".into(), &"/b/b.0/Gemm_mm".into()), "{said}");
}

#[test]
fn an_engine_that_cannot_run_the_model_is_no_second_opinion() {
    let more = ["--variant", "int8_qop", "--engine", "candle,tract"];
    let (code, said) = reference(&Home::new(), "adult_mlp", &more);
    assert_eq!((code, said["verdict"].as_str()), (Some(4), Some("incomplete")), "{said}");
    let silent = said["engines"][0]["silent"].as_str().unwrap_or_default();
    assert!(silent.contains("com.microsoft.QGemm") && silent.contains("candle"), "{said}");
}

#[test]
fn one_engine_is_no_second_opinion() {
    let models = root().join("models");
    let models = models.to_str().expect("a path in UTF-8");
    let ended = Home::new().run(["reference", "adult_mlp", "--models", models, "--engine", "candle"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("two engines or more"), "{}", ended.stderr);
}

/// A target like `host` with onnxruntime as its engine, on these providers.
fn write_target(home: &Home, name: &str, providers: &str) {
    write_target_with(home, name, &format!("providers = [{providers}]"));
}

/// A target like `host` with onnxruntime as its engine, of which it says this.
fn write_target_with(home: &Home, name: &str, lines: &str) {
    let (_, text) = boardproof_plan::builtin::TARGETS.iter().find(|(name, _)| *name == "host").expect("it is builtin");
    let text = text.replace("name = \"host\"", &format!("name = \"{name}\"\nengine = \"onnxruntime\""));
    let text = text.replace("[build]", &format!("[target.onnxruntime]\n{lines}\n\n[build]"));
    std::fs::create_dir_all(home.path("targets")).expect("a folder of the test's own");
    std::fs::write(home.path("targets").join(format!("{name}.toml")), text).expect("a folder of the test's own");
}

/// Azure's provider is in every library and takes no operator of an ordinary model: all of them run on the CPU, and that is told.
#[test]
fn operators_that_fall_back_to_the_cpu_fail_the_cell_unless_a_rule_counts_them() {
    let home = Home::new();
    write_target(&home, "cloud", "\"AzureExecutionProvider\", \"CPUExecutionProvider\"");
    let (code, stdout, stderr) = check(&home, "out", &["--target-folder", "targets", "-t", "cloud"]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("fell back from Azure"), "{stdout}");
    let cell = format!("{INT8}@cloud/onnxruntime");
    let (verdict, said) = detail(&judgement(&home, "out"), &cell, "no-fallback");
    assert_eq!(verdict, Verdict::Fail, "{said}");
    let ran = kernels(&home.record("out"), &cell);
    assert!(ran.iter().any(|op| op == "QLinearConv CPU (fell back from Azure) accumulates in i32"), "{ran:?}");
    let counted = "\n[[rule]]\nid = \"on-the-cpu\"\nmetric = \"fallback_nodes\"\ndirection = \"at_most\"\nlimit = 100\n\
                   unit = \"count\"\nagainst = \"absolute\"\nreason = \"nothing better is there\"\n";
    let policy = boardproof_plan::builtin::POLICY.to_owned() + counted;
    std::fs::write(home.path("mine.toml"), policy).expect("a folder of the test's own");
    let ended = home.run(["gate", "out", "--policy", "mine.toml", "--json"]);
    let judged: Judgement = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let (verdict, said) = detail(&judged, &cell, "on-the-cpu");
    assert!(verdict == Verdict::Pass && said.contains("operators fell back from Azure"), "{said}");
    assert!(!judged.cells[0].rules.iter().any(|rule| rule.rule.as_str() == "no-fallback"));
}

/// Not the model's doing, and never left out in silence.
#[test]
fn a_provider_that_the_library_has_not_is_a_fault_that_names_those_it_has() {
    let home = Home::new();
    write_target(&home, "phone", "\"QNNExecutionProvider\"");
    let (code, stdout, stderr) = check(&home, "out", &["--target-folder", "targets", "-t", "phone"]);
    assert_eq!(code, Some(4), "{stdout}{stderr}");
    assert!(stdout.contains("QNNExecutionProvider") && stdout.contains("CPUExecutionProvider"), "{stdout}");
    let record = home.record("out");
    let of_unit = record.plan.cells.iter().filter(|cell| cell.unit.as_str() == "phone");
    for cell in of_unit {
        let Outcome::DeviceFault(fault) = &record.outcomes[&cell.id] else { panic!("{:?}", record.outcomes[&cell.id]) };
        assert!(fault.hints.iter().any(|hint| hint.contains("engine add onnxruntime --from FILE")), "{fault:?}");
    }
}

#[test]
fn a_provider_that_nobody_knows_is_wrong_use() {
    let home = Home::new();
    write_target(&home, "typo", "\"CudaExecutionProvider\"");
    let (code, _, stderr) = check(&home, "out", &["--target-folder", "targets", "-t", "typo"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("known: CUDAExecutionProvider"), "{stderr}");
}

/// The library reads what processor it is on as it is loaded: an emulated one must find one of its own kind.
#[test]
fn onnxruntime_runs_in_an_emulated_process() {
    let asked = std::env::var("BOARDPROOF_TEST_TARGETS").unwrap_or_default();
    if !asked.split(',').any(|name| name == "qemu-aarch64") {
        eprintln!("skipped: BOARDPROOF_TEST_TARGETS does not name qemu-aarch64");
        return;
    }
    let home = Home::new();
    let more = ["--engine", "onnxruntime", "-t", "qemu-aarch64"];
    let (code, stdout, stderr) = check(&home, "out", &more);
    assert!(matches!(code, Some(0 | 1 | 3)), "{stdout}{stderr}");
    let judgement = judgement(&home, "out");
    for rule in ["runs", "self-check", "drift"] {
        let (verdict, said) = detail(&judgement, &format!("{INT8}@qemu-aarch64/onnxruntime"), rule);
        assert_eq!(verdict, Verdict::Pass, "{rule}: {said}");
    }
}

#[test]
fn what_is_reached_of_a_units_peak_is_in_every_report_and_a_peak_that_is_too_low_is_found_out() {
    let home = Home::new();
    let checked = |out: &str| {
        let (code, stdout, stderr) = check(&home, out, &[]);
        assert!(matches!(code, Some(0 | 1 | 3)), "{stderr}");
        assert!(stdout.contains("  roof    "), "{stdout}");
        let record = home.record(out);
        let cell = record.plan.cells.iter().find(|cell| cell.judged).expect("one is judged");
        let Outcome::Measured(seen) = &record.outcomes[&cell.id] else { panic!("{:?}", record.outcomes[&cell.id]) };
        assert!(seen.environment_before.texts["peak_read_of"].starts_with("a buffer of "));
        let numbers = seen.environment_before.numbers.iter().filter(|(name, _)| name.starts_with("peak_"));
        numbers.map(|(name, value)| (name.clone(), *value)).collect::<Vec<_>>()
    };
    let first = checked("out");
    assert!(first.len() == 3 && first.iter().all(|(_, value)| *value > 0), "{first:?}");
    // A busy machine is measured again; whatever comes of it, peaks only rise.
    let again = checked("again");
    assert!(first.iter().zip(&again).all(|(was, is)| was.0 == is.0 && was.1 <= is.1), "{first:?} and {again:?}");
    // As if the unit had done nothing else while it was measured: any model does more, and is not believed to.
    let kept = std::fs::read_dir(home.path("cache/boardproof/host/peaks")).expect("they are kept").flatten();
    let kept: Vec<_> = kept.map(|entry| entry.path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let text = std::fs::read_to_string(&kept[0]).expect("a file");
    let mut planted: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    planted["at_rest"] = true.into();
    planted["peaks"]["numbers"]["peak_f32_mac_per_s"] = 1000.into();
    planted["peaks"]["numbers"]["peak_i8_mac_per_s"] = 1000.into();
    std::fs::write(&kept[0], planted.to_string()).expect("written");
    let corrected = checked("corrected");
    assert!(corrected.iter().all(|(_, value)| *value > 1_000_000), "{corrected:?}");
}
