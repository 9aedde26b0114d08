//! How often the rules of the gate are wrong, and how often its intervals cover: `cargo xtask bench honesty`, which writes `docs/honesty.md`.

mod ab;
mod bootstrap;
mod coverage;
mod custom;
mod draw;
mod latency;
mod memory;
mod rules;
mod sequential;

use std::fmt::Display;

/// Runs per line, where a run costs a sort of thousands of numbers.
const SLOW: u32 = 5;

/// Runs per line, where a run draws its samples two thousand times.
const SLOWER: u32 = 10;

fn main() {
    let trials: u32 = std::env::args().nth(1).map_or(10_000, |n| n.parse().expect("a number of runs"));
    let only = std::env::args().nth(2).unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only == name;
    if wanted("rules") {
        table(
            "| rule | truth | n | runs | pass | fail | undecided |\n|---|---|---:|---:|---:|---:|---:|",
            &rules::accuracy_drop(trials),
        );
        for rows in [rules::auc_drop, rules::slice_alarm, rules::value] {
            rows(trials).iter().for_each(|row| println!("{row}"));
        }
    }
    if wanted("coverage") {
        main_coverage(trials);
    }
    if wanted("bootstrap") {
        table(
            "| bootstrap at 95 % | truth | n | runs | covers | too low / too high | |\n|---|---|---:|---:|---:|---:|---|",
            &bootstrap::coverage(trials / SLOWER),
        );
    }
    if wanted("custom") {
        table(
            "| a metric of one's own, at 95 % | numbers | n | runs | covers | too low / too high | |\n|---|---|---:|---:|---:|---:|---|",
            &custom::coverage(trials),
        );
    }
    if wanted("sequential") {
        table(
            "| truth | n | runs | pass, one look at the end | fail | pass, may stop early | fail | samples on average |\n|---|---:|---:|---:|---:|---:|---:|---:|",
            &sequential::stopping(trials),
        );
    }
    if wanted("memory") {
        table(
            "| memory of equal things | rounds | runs | false alarms | at most |\n|---|---:|---:|---:|---:|",
            &memory::alarms(trials),
        );
    }
    parts(&only, trials);
    if wanted("latency") {
        table(
            "| rule | truth | n | runs | pass | fail | undecided |\n|---|---|---:|---:|---:|---:|---:|",
            &latency::at_limit(trials / SLOW),
        );
        table("| pass | n | runs | called not stationary |\n|---|---:|---:|---:|", &latency::stationarity(trials));
    }
    if wanted("ab") {
        table(
            "| machine | truth | limit | runs | slower | not slower | undecided | fault | blocks |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|",
            &ab::rows(trials / SLOW),
        );
    }
}

/// Parts of the tables, to be run alone with more runs; nobody asks for them with all.
fn parts(only: &str, trials: u32) {
    match only {
        "auc" => table("", &coverage::aucs(trials)),
        "slices" => table("", &sequential::by_slice(trials)),
        _ => {}
    }
}

fn main_coverage(trials: u32) {
    table(
        "| interval at 95 % | truth | n | runs | covers | too low / too high | |\n|---|---|---:|---:|---:|---:|---|",
        &coverage::coverage(trials),
    );
    table(
        "| margin | true loss | parted | samples | runs | power promised | passed |\n|---:|---:|---:|---:|---:|---:|---:|",
        &coverage::promises(trials),
    );
}

fn table(head: &str, rows: &[impl Display]) {
    println!("\n{head}");
    rows.iter().for_each(|row| println!("{row}"));
}
