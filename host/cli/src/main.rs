//! Proves a machine-learning model on the board it will ship on.
fn main() {}
