//! A variant against itself by `boardproof ab`, with real inferences on this machine, many times; and the same times with a slowdown, a drift and
//! stalls put in. Says how often each was called slower. `cargo xtask bench real-ab` runs it.

use boardproof_judge::ab::{AbJudgement, Stopped, judge};
use boardproof_judge::evidence::Evidence;
use boardproof_lab::ab::open_run;
use boardproof_lab::store::Opened;
use boardproof_record::ab::{AbRun, Side, Terms};
use boardproof_record::plan::Pass;
use boardproof_record::verdict::Verdict;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is put into the real times.
#[derive(Clone, Copy)]
struct Put {
    truth: f64,
    limit: f64,
    drift: f64,
    stalls: f64,
}

const NOTHING: Put = Put { truth: 1.0, limit: 1.0, drift: 0.0, stalls: 0.0 };
const CASES: [Put; 7] = [
    NOTHING,
    Put { limit: 1.02, ..NOTHING },
    Put { drift: 0.1, stalls: 0.1, ..NOTHING },
    Put { truth: 1.03, limit: 1.0, drift: 0.1, stalls: 0.1 },
    Put { truth: 1.05, limit: 1.0, drift: 0.1, stalls: 0.1 },
    Put { truth: 1.03, limit: 1.02, drift: 0.1, stalls: 0.1 },
    Put { truth: 1.05, limit: 1.02, drift: 0.1, stalls: 0.1 },
];
const BLOCKS: u32 = 80;
/// How many times as long an inference takes that stalls.
const STALL: f64 = 1.3;

/// What was said of one case.
#[derive(Clone, Copy, Default)]
struct Said {
    slower: u32,
    not_slower: u32,
    undecided: u32,
    faults: u32,
    blocks: u64,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [comparisons, models] = words.as_slice() else { panic!("usage: real_ab COMPARISONS MODELS") };
    let comparisons: u32 = comparisons.parse().expect("COMPARISONS is a number");
    let mut said = [Said::default(); CASES.len()];
    for number in 0..comparisons {
        let folder = tempfile::tempdir().expect("could not make a temporary folder");
        let out = folder.path().join("ab");
        run(models, &out);
        let (run, opened) = open_run(&out).expect("what was just measured can be read");
        for (case, said) in CASES.iter().zip(&mut said) {
            said.hear(&judged(&run, &opened, case, number));
        }
        // A run of hours that is stopped has said something, too.
        if (number + 1).is_multiple_of(20) {
            eprintln!("{} of {comparisons} comparisons\n{}", number + 1, table(&said, number + 1));
        }
    }
    println!("{}", table(&said, comparisons));
}

fn table(said: &[Said], comparisons: u32) -> String {
    const HEAD: &str = "| true ratio | limit | drift | stalls | comparisons | slower | not slower | undecided | fault | blocks used |\n\
        |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|";
    let lines = CASES.iter().zip(said).map(|(case, said)| said.line(case, comparisons));
    std::iter::once(HEAD.to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

fn run(models: &str, out: &Path) {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/boardproof");
    let mut command = Command::new(tool);
    let variant = "int8_qdq_pc";
    command
        .args(["ab", "adult_mlp", variant, variant, "--limit", "1.0", "--quiet", "--models", models, "--out"])
        .arg(out);
    let blocks = BLOCKS.to_string();
    let done = command.args(["--blocks", &blocks]).stdin(Stdio::null()).output().expect("could not start the tool");
    let verdict = [0, 1, 3, 4].map(Some).contains(&done.status.code());
    assert!(verdict, "{}: {}", done.status, String::from_utf8_lossy(&done.stderr));
}

/// The judgement of a run whose times were changed.
fn judged(run: &AbRun, opened: &[Opened], put: &Put, seed: u32) -> AbJudgement {
    let terms = Terms { limit: put.limit, ..run.terms };
    let run = AbRun { terms, ..run.clone() };
    let mut random = Random(u64::from(seed) + 1);
    let mut changed: Vec<Opened> = opened.to_vec();
    for (number, block) in changed.iter_mut().enumerate() {
        let side = if Side::of_block(number) == Side::A { 1.0 } else { put.truth };
        let slower = side * (1.0 + put.drift * number as f64 / f64::from(BLOCKS));
        change(block, slower, put.stalls, &mut random);
    }
    let records: Vec<Evidence<'_>> =
        changed.iter().map(|block| Evidence { record: &block.record, files: &block.files }).collect();
    judge(&run, &records).expect("a run that was measured can be judged")
}

fn change(block: &mut Opened, slower: f64, stalls: f64, random: &mut Random) {
    let cell = &block.record.plan.cells[0];
    let Some(boardproof_record::observation::Outcome::Measured(seen)) = block.record.outcomes.get(&cell.id) else {
        return;
    };
    let Some(ticks) = seen.pass(Pass::Latency).and_then(|pass| pass.ticks.as_ref()) else { return };
    let bytes = block.files.get_mut(&ticks.path).expect("a record has its files");
    let tensors: Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)> = SafeTensors::deserialize(bytes)
        .expect("ticks are a safetensors file")
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let ticks = view.data().chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")));
            let mut longer = |ticks: u64| {
                let stall = if random.share() < stalls { STALL } else { 1.0 };
                ((ticks as f64 * slower * stall) as u64).to_le_bytes()
            };
            (name, view.dtype(), view.shape().to_vec(), ticks.flat_map(&mut longer).collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).expect("as many as there were"))
    });
    *bytes = safetensors::serialize(views, None).expect("what was read can be written");
}

impl Said {
    fn hear(&mut self, found: &AbJudgement) {
        self.blocks += found.blocks as u64;
        match (found.stopped, found.verdict) {
            (Stopped::Fault, _) => self.faults += 1,
            (Stopped::Answered, Verdict::Fail) => self.slower += 1,
            (Stopped::Answered, _) => self.not_slower += 1,
            (Stopped::BudgetSpent | Stopped::NotYet, _) => self.undecided += 1,
        }
    }

    fn line(&self, case: &Put, comparisons: u32) -> String {
        let share = |count: u32| format!("{:.1} %", 100.0 * f64::from(count) / f64::from(comparisons));
        let percent = |ratio: f64| format!("{:+.0} %", (ratio - 1.0) * 100.0);
        let Self { slower, not_slower, undecided, faults, blocks } = *self;
        format!(
            "| {} | {} | {:.0} % | {:.0} % | {comparisons} | {} | {} | {} | {} | {:.0} |",
            percent(case.truth),
            percent(case.limit),
            case.drift * 100.0,
            case.stalls * 100.0,
            share(slower),
            share(not_slower),
            share(undecided),
            share(faults),
            blocks as f64 / f64::from(comparisons)
        )
    }
}

/// Numbers that look like chance (splitmix64) and are the same in every run.
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
    }
}
