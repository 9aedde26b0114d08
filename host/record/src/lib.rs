//! The words of boardproof: ids, units, plan, observation, verdict and the record format. No I/O, no clock.
