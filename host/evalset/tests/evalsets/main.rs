//! The evalsets of `models/`, whole and damaged on purpose: what is good has no error, and each damage is found as what it is.

mod damage;
mod drift;
mod material;
mod suites;
