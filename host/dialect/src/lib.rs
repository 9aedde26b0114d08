//! Firmware that speaks other protocols.
