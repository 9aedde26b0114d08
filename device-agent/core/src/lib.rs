//! The device side of the protocol as a state machine without I/O. no_std, no allocation.
