//! The models of this repository, and small ones made here.
