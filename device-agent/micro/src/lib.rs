//! Integer models for microcontrollers: a flat format, checked once, and its interpreter.
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]
