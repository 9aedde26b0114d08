//! Turns manifests, targets and policies into a plan of cells. Pure.
