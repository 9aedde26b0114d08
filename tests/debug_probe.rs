//! What a debug probe does in a run besides flashing: it writes models and samples into RAM, and is a link.

use crate::tool::{Home, root};
use boardproof_plan::builtin;
use boardproof_record::observation::{Observation, Outcome};

const BOARD: &str = "mps2-an386";

/// A good variant on a board whose target file is that of [`BOARD`] with these words changed; what was seen there.
fn measured(changes: &[(&str, &str)]) -> Observation {
    let home = Home::new();
    let (_, text) = builtin::TARGETS.iter().find(|(name, _)| *name == BOARD).expect("it is one of them");
    let mut text = text.replace("name = \"mps2-an386\"", "name = \"board\"");
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    std::fs::create_dir(home.path("targets")).expect("the home is new");
    std::fs::write(home.path("targets/board.toml"), text).expect("the home can be written");
    let models = root().join("models");
    let models = models.to_str().expect("a path of text");
    let fixed = ["check", "mnist_dscnn", "-v", "int8_qdq_pc", "--samples", "120", "--out", "out", "--models", models];
    let ended = home.run([&fixed[..], &["--target", "board", "--target-folder", "targets"]].concat());
    // So few samples do not decide about its accuracy; that the board answers as the host does, they do.
    ended.expect_code(3);
    assert!(ended.stdout.contains("deployment infinite (identical)"), "{}", ended.stdout);
    let record = home.record("out");
    let cell = record.plan.cells.iter().find(|cell| cell.judged).expect("one cell is judged");
    let Outcome::Measured(seen) = &record.outcomes[&cell.id] else { panic!("{:?}", record.outcomes[&cell.id]) };
    (**seen).clone()
}

fn loads(seen: &Observation) -> usize {
    seen.attempts.iter().filter(|attempt| attempt.action.starts_with("load the ") && attempt.error.is_none()).count()
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn models_and_samples_go_through_the_probe_where_that_is_granted_and_over_the_line_where_not() {
    let through = measured(&[]);
    let (sent, all) = (through.shipped, through.shipped.content_bytes);
    assert_eq!((sent.probe_bytes, sent.wire_bytes, loads(&through)), (all, 0, 2), "{sent:?}");
    let over = measured(&[(", \"write_ram\"", "")]);
    assert_eq!((over.shipped.probe_bytes, over.shipped.wire_bytes, loads(&over)), (0, all, 0), "{:?}", over.shipped);
}

#[test]
#[ignore = "boots a board; `cargo xtask test` runs it"]
fn rtt_is_a_link_like_any_other() {
    let rtt = ("kind = \"serial\"\nbaud = 115200", "kind = \"rtt\"");
    let feature = ("binary = \"mps2-an386\"", "binary = \"mps2-an386\"\nfeatures = [\"rtt\"]");
    let seen = measured(&[rtt, feature, (", \"write_ram\"", "")]);
    assert_eq!((seen.passes.len(), loads(&seen)), (4, 0));
    assert!(seen.shipped.wire_bytes > 100_000 && seen.shipped.probe_bytes == 0, "{:?}", seen.shipped);
    assert!(seen.attempts.iter().all(|attempt| attempt.error.is_none()), "{:?}", seen.attempts);
}
