//! Checks, tests, demo and benches of the project.
fn main() {}
