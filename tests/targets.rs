//! Every target that this run was told of gives both verdicts, and answers as the host does.
//!
//! `BOARDPROOF_TEST_TARGETS` names them, as `cargo xtask test` does; without it only this machine is walked. Targets that boot a board
//! are left to the tests that boot one.

use crate::tool::{Home, root};
use boardproof_plan::{builtin, parse_target};
use boardproof_record::observation::Outcome;
use boardproof_record::plan::{Cell, Pass, PowerSpec, Target};
use boardproof_record::record::Record;
use boardproof_record::verdict::{Judgement, Verdict};
use safetensors::SafeTensors;

/// Variants of the small model, and what must become of them. The damaged one is as accurate as ever: only its drift gives it away.
const EXPECTED: [(&str, Verdict); 2] = [("int8_qdq_pc", Verdict::Pass), ("bad_calib_3", Verdict::Fail)];
/// Samples of its evalset whose most likely class may be another one than on the host, in a thousand. Kernels of another architecture
/// round and add in another order; a wrong integer conversion shows in far more.
const OTHER_CLASS_PERMILLE_MAX: usize = 5;

fn walked() -> Vec<Target> {
    let asked = std::env::var("BOARDPROOF_TEST_TARGETS").unwrap_or_else(|_| "host".into());
    let target = |name: &str| {
        let text = builtin::TARGETS.iter().find(|(known, _)| *known == name);
        let (_, text) = text.unwrap_or_else(|| panic!("BOARDPROOF_TEST_TARGETS names '{name}', which is no target"));
        parse_target(name, text).expect("a target of boardproof")
    };
    let targets = asked.split(',').filter(|name| !name.is_empty()).map(target);
    targets.filter(|target| !matches!(target.power, PowerSpec::Qemu { .. } | PowerSpec::Machine { .. })).collect()
}

#[test]
fn every_target_tells_good_from_bad_and_answers_as_the_host_does() {
    let targets = walked();
    assert!(!targets.is_empty(), "nothing to walk");
    let home = Home::new();
    std::fs::write(home.path("policy.toml"), patient_policy()).expect("a folder of the test's own");
    for target in targets {
        let name = target.name.as_str();
        let models = root().join("models");
        // As few timed inferences as a bound on p99 takes, and half of the evalset where floats are emulated: both are slow there.
        let mut words = vec!["check", "mnist_dscnn", "-t", name, "--iterations", "700", "--out", name];
        if target.emulated {
            words.extend(["--samples", "1000"]);
        }
        words.extend(["--policy", "policy.toml", "--models"]);
        words.push(models.to_str().expect("a path of text"));
        for (variant, _) in EXPECTED {
            words.extend(["-v", variant]);
        }
        let ended = home.run(words);
        eprintln!("{name}: {:.1} s", ended.elapsed.as_secs_f64());
        ended.expect_code(1);
        let run = Walk { home: &home, target: name, record: home.record(name) };
        for (variant, verdict) in EXPECTED {
            run.expect_verdict(variant, verdict);
            run.expect_answers_of_the_host(variant);
        }
    }
}

/// The default policy with a latency limit that only a hang would break: what else runs on this machine changes from cell to cell, and
/// it is answers that are proved here.
pub fn patient_policy() -> String {
    const LATENCY: &str = "metric = \"latency_ratio_p50\"\ndirection = \"at_most\"\nlimit = 3.0\n";
    assert!(builtin::POLICY.contains(LATENCY), "the default policy has another latency rule");
    builtin::POLICY.replace(LATENCY, &LATENCY.replace("3.0", "1000.0"))
}

/// A run on one target.
struct Walk<'a> {
    home: &'a Home,
    target: &'a str,
    record: Record,
}

impl Walk<'_> {
    fn cell(&self, target: &str, variant: &str) -> &Cell {
        let wanted = |cell: &&Cell| cell.target.as_str() == target && cell.variant.as_str() == variant;
        self.record.plan.cells.iter().find(wanted).unwrap_or_else(|| panic!("no cell for {variant} on {target}"))
    }

    fn expect_verdict(&self, variant: &str, expected: Verdict) {
        let text = std::fs::read_to_string(self.home.path(self.target).join("judgement.json")).expect("it was judged");
        let judgement: Judgement = serde_json::from_str(&text).expect("it is a judgement");
        let id = &self.cell(self.target, variant).id;
        let answer = judgement.cells.iter().find(|c| c.cell == *id).expect("every cell is judged");
        assert_eq!(answer.verdict, expected, "{variant} on {}: {}", self.target, answer.reason);
        let broken: Vec<_> = answer.rules.iter().filter(|r| r.verdict == Verdict::Fail).map(|r| &*r.metric).collect();
        let drift_alone = !broken.is_empty() && broken.iter().all(|metric| *metric == "sqnr_db");
        assert!(expected == Verdict::Pass || drift_alone, "{variant} on {}: {broken:?}", self.target);
    }

    fn expect_answers_of_the_host(&self, variant: &str) {
        let (here, there) = (self.classes("host", variant), self.classes(self.target, variant));
        let planned = self.cell(self.target, variant).passes.iter().find(|plan| plan.pass == Pass::Accuracy);
        let planned = planned.map_or(0, |plan| plan.samples as usize);
        assert!(planned >= 1000, "{planned} samples are too few to tell");
        assert_eq!((here.len(), there.len()), (planned, planned));
        let others = here.iter().zip(&there).filter(|(a, b)| a != b).count();
        assert!(others * 1000 <= here.len() * OTHER_CLASS_PERMILLE_MAX, "{variant} on {}: {others}", self.target);
    }

    /// The most likely class of each sample.
    fn classes(&self, target: &str, variant: &str) -> Vec<usize> {
        let cell = &self.cell(target, variant).id;
        let Outcome::Measured(seen) = &self.record.outcomes[cell] else { panic!("{:?}", self.record.outcomes[cell]) };
        let outputs = seen.pass(Pass::Accuracy).and_then(|pass| pass.outputs.as_ref()).expect("it has outputs");
        let bytes = std::fs::read(self.home.path(self.target).join(&outputs.path)).expect("the record is whole");
        let file = SafeTensors::deserialize(&bytes).expect("outputs are tensors");
        let tensor = file.tensor("output.0").expect("the model has an output");
        let values: Vec<f32> =
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let most = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
        values.chunks_exact(10).map(most).collect()
    }
}
