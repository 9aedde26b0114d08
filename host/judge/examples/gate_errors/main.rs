//! How often the rules of the gate are wrong: `cargo xtask bench gate-errors`. The table stands in `docs/gate.md`.

mod simulate;

use simulate::{accuracy_drop, auc_drop, latency, slice_alarm, value};

fn main() {
    let trials: u32 = std::env::args().nth(1).map_or(4000, |n| n.parse().expect("a number of trials"));
    println!("| rule | truth | n | runs | pass | fail | undecided |\n|---|---|---:|---:|---:|---:|---:|");
    for rows in [accuracy_drop, auc_drop, slice_alarm, value, latency] {
        rows(trials).iter().for_each(|row| println!("{row}"));
    }
}
