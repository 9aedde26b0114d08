//! Every target over its committed corpus and over seeded mutations of it: bounded, and the same on every machine.
//!
//! A failure names the input's file in `target/fuzz/found` and the command that repeats it. `BOARDPROOF_FUZZ_SEED=N` takes other
//! mutations, `BOARDPROOF_FUZZ_ROUNDS=N` more of them. `BOARDPROOF_FUZZ_SEEDS=write` writes the seeds of the corpus anew.

use boardproof_fuzz::{INPUT_BYTES_MAX, TARGETS, Target, mutate};
use boardproof_sim::Dice;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Size of the whole corpus and of a file in it, in bytes.
const CORPUS_BYTES_MAX: u64 = 1_000_000;
const FILE_BYTES_MAX: usize = 16_000;
/// First letters of a seed's file name; the other files were found by the fuzzer.
const SEED: &str = "seed-";
/// First letters of the name of a seed that is to be refused.
const BAD: &str = "bad_";

/// Memory is counted for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not '{text}'")))
}

/// Files of a target, sorted by name.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let names: BTreeSet<String> = entries.map(name).collect();
    names.into_iter().map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap())).collect()
}

/// Feeds an input; a panic is told with everything that repeats it.
fn feed(target: &Target, input: &[u8], what: &str) -> bool {
    catch_unwind(AssertUnwindSafe(|| target.feed(input))).unwrap_or_else(|_| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz/found");
        let file = folder.join(format!("{}-{}", target.name, boardproof_record::Digest::of(input).short()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&file, input).unwrap();
        let name = target.name;
        panic!("{name} does not hold for {what}; repeat it with `cargo xtask fuzz {name} --repeat {}`", file.display());
    })
}

#[test]
fn every_corpus_file_and_its_mutations_hold() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (seed, rounds) = (number("BOARDPROOF_FUZZ_SEED", 1), number("BOARDPROOF_FUZZ_ROUNDS", 1));
    for target in TARGETS {
        let files = corpus(target);
        let (mut fed, mut accepted) = (0_u64, 0_u64);
        for (name, input) in &files {
            accepted += u64::from(feed(target, input, name));
        }
        let mut dice = Dice::new(seed);
        let any = |dice: &mut Dice| &files[dice.roll() as usize % files.len()];
        for round in 0..u64::from(target.mutations) * rounds {
            let ((name, input), (_, other)) = (any(&mut dice), any(&mut dice));
            let mutation = mutate(input, other, &mut dice);
            accepted += u64::from(feed(target, &mutation, &format!("mutation {round} of seed {seed}, of {name}")));
            fed += 1;
        }
        println!("{:<16} {:>4} files, {fed:>7} mutations, {accepted:>7} accepted", target.name, files.len());
        // A target that accepts nothing looks at nothing behind the first check.
        assert!(accepted > 0, "{}: nothing was accepted", target.name);
    }
}

#[test]
fn every_seed_is_taken_as_its_name_says_and_can_be_written_anew() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut unexpected = Vec::new();
    let write = std::env::var("BOARDPROOF_FUZZ_SEEDS").as_deref() == Ok("write");
    for target in TARGETS {
        let seeds = (target.seeds)();
        let folder = folder().join(target.name);
        if write {
            std::fs::create_dir_all(&folder).unwrap();
            let old = corpus(target).into_iter().filter(|(name, _)| name.starts_with(SEED));
            old.for_each(|(name, _)| std::fs::remove_file(folder.join(name)).unwrap());
        }
        for (name, input) in &seeds {
            assert!(input.len() <= FILE_BYTES_MAX, "{} {name} has {} bytes", target.name, input.len());
            let accepted = feed(target, input, &format!("seed {name}"));
            if accepted == name.starts_with(BAD) {
                unexpected.push(format!("{} {name}", target.name));
            }
            if write {
                std::fs::write(folder.join(format!("{SEED}{name}")), input).unwrap();
            }
        }
    }
    assert!(unexpected.is_empty(), "accepted though bad, or refused though good: {unexpected:?}");
}

#[test]
fn the_corpus_is_small_and_belongs_to_targets() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folders: BTreeSet<String> =
        std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(folders, names, "a folder for each target and no other");
    let mut total = 0;
    for target in TARGETS {
        let files = corpus(target);
        assert!(files.iter().any(|(name, _)| name.starts_with(SEED)), "{} has no seed", target.name);
        for (name, input) in files {
            assert!(input.len() <= FILE_BYTES_MAX && FILE_BYTES_MAX <= INPUT_BYTES_MAX, "{}/{name}", target.name);
            total += input.len() as u64;
        }
    }
    assert!(total <= CORPUS_BYTES_MAX, "the corpus has {total} bytes, at most {CORPUS_BYTES_MAX}");
}
