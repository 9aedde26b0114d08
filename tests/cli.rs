//! What the tool says to wrong input: a clear error, exit code 2 (what people wrote) or 5 (what the machine lacks), no record.

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
