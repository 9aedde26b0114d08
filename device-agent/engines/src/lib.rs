//! Inference engines behind one trait.
