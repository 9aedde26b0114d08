//! Runs one cell with one engine in a fresh process and reports raw facts.
fn main() {}
