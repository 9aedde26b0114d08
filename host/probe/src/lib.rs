//! Debug probes: flash, reset, look into memory.
