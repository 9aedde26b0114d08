//! What the tool says to wrong input: a clear error, exit code 2 (what people wrote) or 5 (what the machine lacks), no record.

use crate::material::Copy;
use crate::tool::{Ended, Home, root};
use std::path::Path;

/// Runs `check` with these arguments in a fresh home, on the models of the repository.
fn check(home: &Home, arguments: &[&str]) -> Ended {
    let models = root().join("models");
    let mut all = vec!["check", "--models", models.to_str().expect("a path of text"), "--out", "record"];
    all.extend(arguments);
    home.run(all)
}

/// Nothing may be left of a run that never began.
#[track_caller]
fn no_record(home: &Home) {
    assert!(!home.path("record").exists(), "a record was begun for nothing");
    assert!(!home.path("boardproof-out").exists(), "a record was begun for nothing");
}

#[test]
fn an_unknown_name_lists_the_known_ones_nearest_first() {
    for (arguments, says) in [
        (&["mnist_dscn"][..], "no model is called 'mnist_dscn'; known: mnist_dscnn, "),
        (&["mnist_dscnn", "-v", "int8_qdq_cp"], "no variant is called 'int8_qdq_cp'; known: int8_qdq_pc, "),
        (&["mnist_dscnn", "-t", "raspbery-pi-4"], "no target is called 'raspbery-pi-4'; known: raspberry-pi-4, "),
    ] {
        let home = Home::new();
        check(&home, arguments).expect_code(2).expect_said(&["error: ", says, "hint: "]);
        no_record(&home);
    }
}

/// A check that ends before anything is measured: the first file that is read is not there. So it tells what would have been checked.
fn expect_read(home: &Home, arguments: &[&str], evalset: &Path) {
    let ended = home.run([&["check", "--out", "record"], arguments].concat());
    ended.expect_code(5).expect_said(&["could not read evalset ", evalset.to_str().expect("a path of text")]);
    no_record(home);
}

#[test]
fn a_path_stands_for_every_model_in_it() {
    for gone in ["adult_mlp", "mnist_dscnn"] {
        let home = Home::new();
        for model in ["adult_mlp", "mnist_dscnn"] {
            Copy::of(model, &home.path("many"));
        }
        let evalset = Path::new("many").join(gone).join("data/test.safetensors");
        std::fs::remove_file(home.path("many").join(gone).join("data/test.safetensors")).unwrap();
        expect_read(&home, &["many/", "-v", "int8_qdq_pc"], &evalset);
    }
}

#[test]
fn a_path_without_a_model_is_an_error() {
    let home = Home::new();
    std::fs::create_dir_all(home.path("many/none")).unwrap();
    Copy::of("mnist_dscnn", &home.path("models"));
    for (path, says) in [("many/", "no model.toml in 'many/'"), ("./nowhere", "there is no folder './nowhere'")] {
        for arguments in [&["check", path][..], &["check", "mnist_dscnn", path]] {
            home.run(arguments).expect_code(2).expect_said(&[says]);
            no_record(&home);
        }
    }
}

#[test]
fn names_of_the_project_and_paths_stand_side_by_side() {
    for gone in ["models/mnist_dscnn", "else/adult_mlp"] {
        let home = Home::new();
        home.run(["init"]).expect_code(0);
        Copy::of("mnist_dscnn", &home.path("models"));
        Copy::of("adult_mlp", &home.path("else"));
        let evalset = Path::new(gone).join("data/test.safetensors");
        std::fs::remove_file(home.path(gone).join("data/test.safetensors")).unwrap();
        expect_read(&home, &["mnist_dscnn", "./else/adult_mlp", "./models/mnist_dscnn/"], &evalset);
    }
}

#[test]
fn a_model_that_has_none_of_the_variants_is_left_out_and_that_is_said() {
    let home = Home::new();
    Copy::of("mnist_dscnn", &home.path("models"));
    Copy::of("adult_mlp", &home.path("models")).replace("name = \"int8_qdq_pc\"", "name = \"int8_own\"");
    std::fs::remove_file(home.path("models/adult_mlp/data/test.safetensors")).unwrap();
    let evalset = Path::new("models/adult_mlp/data/test.safetensors");
    for model in [&[][..], &["models/"]] {
        expect_read(&home, &[model, &["-v", "int8_own"]].concat(), evalset);
        let ended = home.run([&["check"], model, &["-v", "int8_own"]].concat());
        ended.expect_said(&["left out: model 'mnist_dscnn' has no variant 'int8_own'"]);
    }
    for named in [&["mnist_dscnn", "adult_mlp"][..], &["models/mnist_dscnn"]] {
        let ended = home.run([&["check"], named, &["-v", "int8_own"]].concat());
        ended.expect_code(2).expect_said(&["no variant is called 'int8_own'; known: "]);
    }
}

#[test]
fn nothing_stands_in_the_place_of_the_machine_that_references_are_measured_on() {
    let home = Home::new();
    std::fs::create_dir(home.path("targets")).unwrap();
    let (_, text) = boardproof_plan::builtin::TARGETS.iter().find(|(name, _)| *name == "sim").expect("it is builtin");
    std::fs::write(home.path("targets/mine.toml"), text.replace("name = \"sim\"", "name = \"host\"")).unwrap();
    let ended = check(&home, &["mnist_dscnn", "--target-folder", "targets"]);
    ended.expect_code(2).expect_said(&["targets/mine.toml: target.name: expected another name", "got 'host'"]);
    no_record(&home);
    let unit = "schema = 1\n[[unit]]\nname = 'host'\ntarget = 'raspberry-pi-4'\naddress = 'board'\n";
    std::fs::write(home.path("inventory.toml"), unit).unwrap();
    for command in
        [&["check", "mnist_dscnn"][..], &["targets"], &["doctor", "-t", "host"], &["agent", "clean", "-t", "host"]]
    {
        let ended = home.run([command, &["--inventory", "inventory.toml"]].concat());
        ended.expect_code(2).expect_said(&["inventory: name of a unit: expected a name of its own", "got 'host'"]);
    }
    no_record(&home);
}

#[test]
fn two_targets_of_a_folder_with_one_name_are_refused() {
    let home = Home::new();
    std::fs::create_dir(home.path("targets")).unwrap();
    let (_, text) = boardproof_plan::builtin::TARGETS.iter().find(|(name, _)| *name == "sim").expect("it is builtin");
    for file in ["targets/a.toml", "targets/b.toml"] {
        std::fs::write(home.path(file), text.replace("name = \"sim\"", "name = \"mine\"")).unwrap();
    }
    let ended = home.run(["targets", "--target-folder", "targets"]);
    ended.expect_code(2).expect_said(&["expected a name that no other file of the folder has, got 'mine'"]);
}

#[test]
fn a_target_that_is_somebodys_board_asks_for_the_unit() {
    let home = Home::new();
    check(&home, &["mnist_dscnn", "-t", "raspberry-pi-4"]).expect_code(2).expect_said(&["--unit", "no unit"]);
    no_record(&home);
}

#[test]
fn a_wrong_word_on_the_command_line_is_wrong_use() {
    for arguments in [&["--samples", "0"][..], &["--iterations", "-1"], &["--no-such-thing"]] {
        let home = Home::new();
        check(&home, arguments).expect_code(2).expect_said(&["error: "]);
        no_record(&home);
    }
    Home::new().run(["chekc"]).expect_code(2).expect_said(&["check"]);
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let home = Home::new();
    std::fs::create_dir(home.path("record")).unwrap();
    std::fs::write(home.path("record/thesis.txt"), "precious").unwrap();
    let ended = check(&home, &["mnist_dscnn", "-v", "int8_qdq_pc"]);
    ended.expect_code(2).expect_said(&["thesis.txt", "empty folder"]);
    let kept: Vec<_> = std::fs::read_dir(home.path("record")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(kept, ["thesis.txt"]);
    assert_eq!(std::fs::read_to_string(Path::new(&home.path("record/thesis.txt"))).unwrap(), "precious");
}

/// Changes a copy of a model, checks it, and expects these words and wrong use.
fn refused(model: &str, damage: impl FnOnce(&Copy), says: &[&str]) {
    let home = Home::new();
    let copy = Copy::of(model, &home.path("models"));
    damage(&copy);
    let ended = home.run(["check", model, "-v", "int8_qdq_pc", "--models", "models", "--out", "record"]);
    ended.expect_code(2).expect_said(says);
    no_record(&home);
}

#[test]
fn a_model_file_that_is_not_the_one_of_the_manifest_is_refused() {
    let damage = |copy: &Copy| {
        let file = copy.folder.join("int8_qdq_pc.onnx");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[1000] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    };
    refused("mnist_dscnn", damage, &["int8_qdq_pc.onnx", "expected sha256 8c866061", "got "]);
}

#[test]
fn an_evalset_with_a_value_that_is_no_number_is_refused() {
    let damage = |copy: &Copy| {
        copy.change_evalset(|name, mut tensor| {
            if name == "inputs" {
                // Sample 3 of 62 values of four bytes each.
                tensor.bytes[3 * 62 * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
            }
            Some(tensor)
        });
    };
    refused("adult_mlp", damage, &["tensor 'inputs'", "1 values are not finite", "sample 3"]);
}

#[test]
fn an_evalset_without_labels_is_refused() {
    let damage = |copy: &Copy| copy.change_evalset(|name, tensor| (name != "labels").then_some(tensor));
    refused("mnist_dscnn", damage, &["tensor 'labels' is missing; the file has: "]);
}

#[test]
fn an_evalset_of_another_shape_is_refused() {
    let damage = |copy: &Copy| {
        copy.change_evalset(|name, mut tensor| {
            if name == "inputs" {
                tensor.shape = vec![2000, 1, 14, 56];
            }
            Some(tensor)
        });
    };
    refused("mnist_dscnn", damage, &["tensor 'inputs'", "expected shape [2000, 1, 28, 28]", "[2000, 1, 14, 56]"]);
}

#[test]
fn a_label_that_no_class_has_is_refused() {
    let damage = |copy: &Copy| {
        copy.change_evalset(|name, mut tensor| {
            if name == "labels" {
                tensor.bytes[8 * 7..][..8].copy_from_slice(&10i64.to_le_bytes());
            }
            Some(tensor)
        });
    };
    refused("mnist_dscnn", damage, &["label of sample 7", "expected 0 to 9, got 10"]);
}

#[test]
fn an_evalset_cut_short_is_refused_and_so_is_one_that_is_no_tensors_at_all() {
    let cut = |copy: &Copy| copy.change("data/test.safetensors", |bytes| bytes[..bytes.len() / 2].to_vec());
    refused("mnist_dscnn", cut, &["not a safetensors file"]);
    let hostile = |copy: &Copy| copy.change("data/test.safetensors", |_| u64::MAX.to_le_bytes().repeat(100));
    refused("mnist_dscnn", hostile, &["not a safetensors file"]);
}

#[test]
fn a_manifest_with_broken_toml_or_a_misspelt_key_shows_the_line() {
    refused(
        "mnist_dscnn",
        |copy| copy.replace("schema = 1", "schema = = 1"),
        &["model.toml", "line 2", "schema = = 1"],
    );
    let misspelt = |copy: &Copy| copy.replace("licence = ", "license = ");
    refused("mnist_dscnn", misspelt, &["model.toml", "line 8", "unknown field `license`"]);
}

#[test]
fn a_manifest_of_another_version_is_refused_with_both() {
    refused("mnist_dscnn", |copy| copy.replace("schema = 1", "schema = 7"), &["expected schema = 1, got 7"]);
}

/// Checks under a policy of this text, and expects these words and wrong use.
fn policy_refused(text: &str, says: &[&str]) {
    let home = Home::new();
    std::fs::write(home.path("policy.toml"), text).unwrap();
    check(&home, &["mnist_dscnn", "-v", "int8_qdq_pc", "--policy", "policy.toml"]).expect_code(2).expect_said(says);
    no_record(&home);
}

/// A policy with one rule; the line of its limit and its metric as given.
fn policy(metric: &str, limit: &str) -> String {
    format!(
        "schema = 1\n[policy]\nname = 'mine'\n[[rule]]\nid = 'drift'\nmetric = '{metric}'\ndirection = 'at_least'\n\
         limit = {limit}\nunit = 'dB'\nagainst = 'reference'\nreason = 'a test'\n"
    )
}

#[test]
fn a_policy_that_decides_nothing_is_refused_before_anything_is_measured() {
    policy_refused("schema = 1\nrule = []\n[policy]\nname = 'mine'\n", &["a policy without rules passes everything"]);
    policy_refused(&policy("sqnr_db", "nan"), &["rule 'drift' limit", "a finite number", "NaN"]);
    policy_refused(&policy("sqnr_db", "inf"), &["rule 'drift' limit", "a finite number"]);
    policy_refused(&policy("sqnr", "15.0"), &["no metric is called 'sqnr'; known: sqnr_db, "]);
    policy_refused(&policy("sqnr_db", "15.0").replace("limit", "limti"), &["line 8", "limti"]);
}

#[test]
fn a_tolerance_that_no_rule_would_use_is_refused_before_anything_is_measured() {
    let misspelt = |copy: &Copy| {
        let tolerance = "[[tolerance]]\nmetric = \"sqnr\"\nlimit = 30.0\nreason = \"a test\"\n\n[reference]";
        copy.replace("[reference]", tolerance);
    };
    refused("mnist_dscnn", misspelt, &["sets a limit for 'sqnr'", "no rule of policy 'default'", "hint: add a rule"]);
}

#[test]
fn a_policy_file_that_is_not_there_is_named() {
    let home = Home::new();
    check(&home, &["mnist_dscnn", "--policy", "no-such.toml"])
        .expect_code(2)
        .expect_said(&["could not read no-such.toml"]);
    no_record(&home);
    std::fs::create_dir(home.path("folder.toml")).unwrap();
    check(&home, &["mnist_dscnn", "--policy", "folder.toml"])
        .expect_code(2)
        .expect_said(&["could not read folder.toml"]);
    no_record(&home);
}

#[test]
fn a_record_that_is_none_or_was_changed_is_not_judged() {
    let home = Home::new();
    home.run(["gate", "nowhere"]).expect_code(5).expect_said(&["could not read nowhere/record.json"]);
    std::fs::create_dir(home.path("r")).unwrap();
    std::fs::write(home.path("r/record.json"), "{\"version\": 99}").unwrap();
    home.run(["gate", "r"]).expect_code(5).expect_said(&["version 99, this build reads"]);
    std::fs::write(home.path("r/record.json"), "{\"version\": 1}").unwrap();
    home.run(["report", "r"]).expect_code(5).expect_said(&["is not a record", "missing field"]);
}

#[test]
fn the_commands_that_need_no_board_print_and_their_json_parses() {
    let home = Home::new();
    let models = root().join("models");
    let models = models.to_str().unwrap();
    home.run(["targets"]).expect_code(0);
    home.run(["doctor", "-t", "host"]).expect_code(0);
    let listed = home.run(["models", "--models", models]);
    assert!(listed.expect_code(0).stdout.contains("mnist_dscnn"), "{}", listed.stdout);
    let json = |arguments: &[&str]| -> serde_json::Value {
        let ended = home.run(arguments);
        serde_json::from_str(&ended.expect_code(0).stdout).unwrap_or_else(|e| panic!("{e}\n{}", ended.stdout))
    };
    assert!(json(&["targets", "--json"])["targets"]["virtual-board-aarch64"].is_object());
    assert_eq!(json(&["models", "--json", "--models", models])["models"].as_array().unwrap().len(), 5);
    assert!(!json(&["doctor", "--json", "-t", "host"]).is_null());
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.run(["completions", shell]).expect_code(0).stdout.contains("boardproof"), "{shell}");
    }
    home.run(["man", "man"]).expect_code(0);
    assert!(std::fs::read_to_string(home.path("man/boardproof-check.1")).unwrap().contains("SYNOPSIS"));
}

#[test]
fn a_project_file_is_written_once_and_works() {
    let home = Home::new();
    home.run(["init", "."]).expect_code(0);
    let written = std::fs::read_to_string(home.path("boardproof.toml")).unwrap();
    home.run(["init", "."]).expect_code(5).expect_said(&["boardproof.toml"]);
    assert_eq!(std::fs::read_to_string(home.path("boardproof.toml")).unwrap(), written);
    std::os::unix::fs::symlink(root().join("models"), home.path("models")).unwrap();
    assert!(home.run(["models"]).expect_code(0).stdout.contains("mnist_dscnn"));
    let broken = written.replacen("models =", "modles =", 1);
    std::fs::write(home.path("boardproof.toml"), broken).unwrap();
    home.run(["check"]).expect_code(2).expect_said(&["boardproof.toml", "modles"]);
}

#[test]
fn a_new_project_says_what_it_lacks_and_lists_targets_meanwhile() {
    let home = Home::new();
    home.run(["init"]).expect_code(0).expect_said(&["next: ", "mnist_dscnn", "--models"]);
    for command in ["check", "models"] {
        let ended = home.run([command]);
        ended
            .expect_code(2)
            .expect_said(&["there is no folder 'models'", "hint: a model is a folder with a model.toml"]);
    }
    no_record(&home);
    assert!(home.run(["targets"]).expect_code(0).stdout.contains("raspberry-pi-4"));
    home.run(["doctor", "-t", "host"]).expect_code(0);
}

#[test]
fn doctor_names_what_a_target_lacks_and_how_to_get_it() {
    let home = Home::new();
    let target = |builder: &str, linker: &str| {
        format!(
            "schema = 1\n[target]\nname = 'mine'\nsummary = 'Mine'\narchitecture = 'aarch64'\nproved = false\n\
             proved_note = 'a test'\nemulated = true\n[build]\nrunner_triple = 'aarch64-unknown-linux-gnu'\n\
             agent_triple = 'no-such-linux-musl'\nbuilder = '{builder}'\nlinker = '{linker}'\npackages = ['gcc-mine']\n\
             [link]\nkind = 'emulated'\nemulator = 'qemu-mine'\nsysroot = '/no/such/sysroot'\n[limits]\npass_deadline_s = 60\n"
        )
    };
    std::fs::create_dir(home.path("targets")).unwrap();
    std::fs::write(home.path("targets/mine.toml"), target("cargo", "mine-gcc")).unwrap();
    let ended = home.run(["doctor", "-t", "mine", "--target-folder", "targets"]);
    let text = &ended.expect_code(5).stdout;
    let channel = "rustup target add --toolchain 1.";
    for part in [
        "MISSING  C compiler and linker mine-gcc",
        "MISSING  qemu-mine",
        "    apt-get install gcc-mine\n",
        channel,
        " no-such-linux-musl\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("pip install"), "another builder was not asked for:\n{text}");
    let ended = home.run(["agent", "build", "-t", "mine", "--target-folder", "targets"]);
    ended.expect_code(5).expect_said(&["no standard library for no-such-linux-musl", "hint: `boardproof doctor"]);
}

#[test]
fn a_builder_on_the_command_line_stands_above_the_target() {
    let home = Home::new();
    let json = |builder: &str| -> serde_json::Value {
        let ended = home.run(["doctor", "-t", "qemu-aarch64", "--json", "--builder", builder]);
        assert!(matches!(ended.code, Some(0 | 5)), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    for (builder, row) in [("zig", "builder zig"), ("cross", "builder cross")] {
        let findings = json(builder);
        let findings = findings["qemu-aarch64"].as_array().unwrap();
        let found = findings.iter().find(|f| f["what"].as_str().unwrap().starts_with(row)).unwrap();
        assert_eq!(found["needed"], true, "{found}");
    }
    home.run(["doctor", "--builder", "gcc"]).expect_code(2).expect_said(&["auto, cargo, zig, cross"]);
}

#[test]
fn a_target_to_build_for_that_nobody_knows_is_wrong_use() {
    let home = Home::new();
    home.run(["agent", "build", "-t", "hots"]).expect_code(2).expect_said(&["known: host, "]);
    home.run(["agent", "clean", "-t", "hots"]).expect_code(2).expect_said(&["known: host, "]);
    home.run(["doctor", "-t", "hots"]).expect_code(2).expect_said(&["known: host, "]);
}

#[test]
fn a_baseline_that_is_wanted_or_named_and_not_there_is_missed_before_measuring() {
    let baseline = policy("sqnr_db", "15.0").replace("'reference'", "'baseline'");
    policy_refused(&baseline, &["compares with a baseline, and none was given", "hint: give one with --baseline"]);
    let home = Home::new();
    let ended = check(&home, &["mnist_dscnn", "-v", "int8_qdq_pc", "--baseline", "nowhere"]);
    ended.expect_code(5).expect_said(&["could not open the baseline", "nowhere/record.json"]);
    no_record(&home);
}
