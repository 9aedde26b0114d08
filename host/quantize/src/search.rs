//! The search for the layers to leave in float: which set is to be tried next. Whether a set passes is for somebody else to find out.
//!
//! It takes for granted that leaving more layers in float never turns a pass into a fail. Where that does not hold the set that it ends
//! with still passes, since only sets that passed are kept; it may not be the smallest.

use std::collections::BTreeSet;

/// How the search ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// This set passes, and without any one of its layers it fails.
    Least(BTreeSet<usize>),
    /// This set passes; whether a smaller one does was not looked at to the end.
    Passing(BTreeSet<usize>),
    /// Nothing passes, not even with all layers but one in float.
    Nothing,
    /// Nothing has passed in as many attempts as there were to be.
    Spent,
}

enum Stage {
    /// The worst `k` layers, twice as many each time; the worst `fails` fail.
    Double {
        fails: usize,
        k: usize,
    },
    /// The worst `fails` fail, the worst `passes` pass.
    Bisect {
        fails: usize,
        passes: usize,
    },
    /// The set passes; the layers in `open` have not been put back yet, the next ones last. So many are put back at once: twice as many
    /// after those that were not needed, half of them after others.
    PutBack {
        set: BTreeSet<usize>,
        open: Vec<usize>,
        at_once: usize,
    },
    Ended(Found),
}

/// A search under way.
pub struct Search {
    /// Layers, the worst first.
    order: Vec<usize>,
    stage: Stage,
    attempts_left: u32,
}

impl Search {
    /// Begins: quantizing everything has failed. `order` has the layers, the one that loses most first.
    pub fn new(order: Vec<usize>, attempts: u32) -> Self {
        let stage = if order.len() < 2 { Stage::Ended(Found::Nothing) } else { Stage::Double { fails: 0, k: 1 } };
        Self { order, stage, attempts_left: attempts }
    }

    /// The set to try next; `None` at the end.
    pub fn next_set(&self) -> Option<BTreeSet<usize>> {
        if self.attempts_left == 0 {
            return None;
        }
        match &self.stage {
            Stage::Double { k, .. } => Some(self.worst(*k)),
            Stage::Bisect { fails, passes } => Some(self.worst(usize::midpoint(*fails, *passes))),
            Stage::PutBack { set, open, at_once } => {
                let back = &open[open.len() - at_once..];
                Some(set.iter().copied().filter(|layer| !back.contains(layer)).collect())
            }
            Stage::Ended(_) => None,
        }
    }

    fn worst(&self, k: usize) -> BTreeSet<usize> {
        self.order[..k].iter().copied().collect()
    }

    /// Says whether the set of [`Search::next_set`] passes.
    pub fn answer(&mut self, passes: bool) {
        let most = self.order.len() - 1;
        self.attempts_left = self.attempts_left.saturating_sub(1);
        let stage = std::mem::replace(&mut self.stage, Stage::Ended(Found::Nothing));
        self.stage = match stage {
            Stage::Double { fails, k } if passes => self.bisect(fails, k),
            Stage::Double { k, .. } if k >= most => Stage::Ended(Found::Nothing),
            Stage::Double { k, .. } => Stage::Double { fails: k, k: (2 * k).min(most) },
            Stage::Bisect { fails, passes: good } => match (usize::midpoint(fails, good), passes) {
                (middle, true) => self.bisect(fails, middle),
                (middle, false) => self.bisect(middle, good),
            },
            Stage::PutBack { set, open, at_once } if at_once > 1 && !passes => {
                Stage::PutBack { set, open, at_once: at_once / 2 }
            }
            Stage::PutBack { mut set, mut open, at_once } => {
                let back = open.split_off(open.len() - at_once);
                if passes {
                    set.retain(|layer| !back.contains(layer));
                }
                Self::put_back(set, open, if passes { 2 * at_once } else { 1 })
            }
            ended @ Stage::Ended(_) => ended,
        };
    }

    fn bisect(&self, fails: usize, passes: usize) -> Stage {
        if passes - fails > 1 {
            return Stage::Bisect { fails, passes };
        }
        // Without the last one it is the set that failed. The one that loses least is put back first.
        let open = self.order[..passes - 1].to_vec();
        Self::put_back(self.worst(passes), open, passes / 2)
    }

    fn put_back(set: BTreeSet<usize>, open: Vec<usize>, at_once: usize) -> Stage {
        if open.is_empty() {
            return Stage::Ended(Found::Least(set));
        }
        let at_once = at_once.clamp(1, open.len());
        Stage::PutBack { set, open, at_once }
    }

    /// What was found.
    pub fn found(self) -> Found {
        match self.stage {
            Stage::Ended(found) => found,
            Stage::PutBack { set, .. } => Found::Passing(set),
            Stage::Bisect { passes, .. } => Found::Passing(self.worst(passes)),
            Stage::Double { .. } => Found::Spent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where a set passes that has all of `guilty`; returns what was found and what was tried.
    fn search(layers: usize, guilty: &[usize], attempts: u32) -> (Found, Vec<BTreeSet<usize>>) {
        let mut search = Search::new((0..layers).collect(), attempts);
        let mut tried = Vec::new();
        while let Some(set) = search.next_set() {
            search.answer(guilty.iter().all(|layer| set.contains(layer)));
            tried.push(set);
        }
        (search.found(), tried)
    }

    fn set(layers: &[usize]) -> BTreeSet<usize> {
        layers.iter().copied().collect()
    }

    #[test]
    fn nothing_passes_and_that_is_said() {
        let (found, tried) = search(10, &[9, 0, 1, 2, 3, 4, 5, 6, 7, 8], 99);
        assert_eq!(found, Found::Nothing);
        assert_eq!(tried.iter().map(BTreeSet::len).collect::<Vec<_>>(), [1, 2, 4, 8, 9]);
        assert_eq!(search(1, &[], 99), (Found::Nothing, Vec::new()));
    }

    #[test]
    fn attempts_have_an_end() {
        assert_eq!(search(64, &[40], 3).0, Found::Spent);
        let (found, tried) = search(64, &[40], 8);
        assert!(matches!(&found, Found::Passing(set) if set.contains(&40)), "{found:?}");
        assert_eq!(tried.len(), 8);
    }

    #[test]
    fn what_is_found_passes_and_has_no_layer_too_many() {
        for layers in 2..12_usize {
            for mask in 1..1_usize << layers {
                let guilty: Vec<usize> = (0..layers).filter(|layer| mask >> layer & 1 == 1).collect();
                let expected = if guilty.len() == layers || guilty.contains(&(layers - 1)) {
                    // Only the set without the best layer is ever short of one.
                    Found::Nothing
                } else {
                    Found::Least(set(&guilty))
                };
                assert_eq!(search(layers, &guilty, 1000).0, expected, "{layers} {guilty:?}");
            }
        }
    }

    #[test]
    fn it_takes_few_attempts() {
        let (found, tried) = search(60, &[0, 3], 99);
        assert_eq!(found, Found::Least(set(&[0, 3])));
        assert!(tried.len() <= 7, "{}", tried.len());
        let (found, tried) = search(60, &[0, 3, 21], 99);
        assert_eq!(found, Found::Least(set(&[0, 3, 21])));
        assert!(tried.len() <= 22, "{}", tried.len());
    }
}
