//! The agent on a Linux board: session, store, lease, child processes. Links no engine.
fn main() {}
