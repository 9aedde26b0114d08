//! The host side of ST's stm32msg protocol.
