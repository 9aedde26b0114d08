//! Blocks of two sides measured in turn: how many times as long B takes as A, looked at more than once.
//!
//! Owns the estimate (median of the pairs' log ratios), its bounds by the sign test at every look, and the control by the order within a pair.
//! Assumes of a pair's log ratio only that it lies above and below the truth equally often; a stalled block is one pair, whatever it took.
//! What drifts in a straight line shifts pairs that began with A one way and those that began with B the other: the counts then vary less
//! than the binomial ones that are used (Hoeffding 1956), so the bounds are too wide and never too narrow.

use super::statistics::binomial_cdf;
use serde::Serialize;

/// Two neighbouring blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// `ln(median of B / median of A)`.
    pub log_ratio: f64,
    /// B was measured first.
    pub b_first: bool,
}

/// What a look knows of the ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Pairs it rests on.
    pub pairs: usize,
    /// Median of the pairs' ratios.
    pub ratio: f64,
    /// Lower bound; `None` where so few pairs can have none at this look.
    pub lower: Option<f64>,
    /// Upper bound; `None` where so few pairs can have none at this look.
    pub upper: Option<f64>,
}

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// B takes more than limit times as long as A.
    Slower,
    /// It does not.
    NotSlower,
    /// These pairs cannot tell.
    CannotTell,
}

/// How many signs may be the wrong way at each look, so that all looks together are wrong as seldom as was promised.
///
/// After every second pair (one A B B A) is a look. The error that may be spent by look `k` of `n` pairs out of `N` is `alpha (n / N)^2`: the
/// power family of Kim and DeMets 1987 ("Design and analysis of group sequential tests based on the type I error spending rate function"),
/// rho = 2. The count of signs is a walk of fair coins at the limit, so the probability to have crossed is summed exactly, look by look,
/// over the walks that have not crossed (Armitage, McPherson and Rowe 1969). The bounds are the repeated confidence intervals of Jennison and
/// Turnbull 1989: the order statistics that the crossing turns on.
#[derive(Debug, Clone, PartialEq)]
pub struct Looks {
    /// By look: the largest count of signs against that still crosses; `None`: no count does.
    ranks: Vec<Option<usize>>,
}

/// Pairs between two looks: each holds both orders once.
const PAIRS_EACH: usize = 2;

impl Looks {
    /// For at most `pairs_max` pairs, an odd one left out, and an error of `alpha` at each end.
    pub fn new(pairs_max: usize, alpha: f64) -> Self {
        let looks = pairs_max / PAIRS_EACH;
        let most = looks * PAIRS_EACH;
        let mut ranks = Vec::with_capacity(looks);
        // Probability of each count of signs against, together with not having crossed so far.
        let mut alive = vec![1.0];
        let mut spent = 0.0;
        for look in 1..=looks {
            for _ in 0..PAIRS_EACH {
                alive = toss(&alive);
            }
            let may_be_spent = alpha * ((look * PAIRS_EACH) as f64 / most as f64).powi(2);
            let rank = crossing(&alive, may_be_spent - spent);
            for gone in alive.iter_mut().take(rank.map_or(0, |rank| rank + 1)) {
                spent += *gone;
                *gone = 0.0;
            }
            ranks.push(rank);
        }
        Self { ranks }
    }

    /// Fewest pairs at which any answer is possible; `None`: the budget is too small for one.
    pub fn pairs_first(&self) -> Option<usize> {
        self.ranks.iter().position(Option::is_some).map(|look| (look + 1) * PAIRS_EACH)
    }

    /// Looks at the pairs as they came in and stops at the first look that can answer; what came later is not looked at. `None` before the
    /// first look.
    pub fn answer(&self, pairs: &[Pair], limit: f64) -> Option<(Estimate, Answer)> {
        let looks = self.ranks.len().min(pairs.len() / PAIRS_EACH);
        let mut last = None;
        for look in 1..=looks {
            let estimate = self.estimate(&pairs[..look * PAIRS_EACH], look);
            let answer = match estimate {
                Estimate { lower: Some(lower), .. } if lower > limit => Answer::Slower,
                Estimate { upper: Some(upper), .. } if upper < limit => Answer::NotSlower,
                _ => Answer::CannotTell,
            };
            last = Some((estimate, answer));
            if answer != Answer::CannotTell {
                break;
            }
        }
        last
    }

    fn estimate(&self, pairs: &[Pair], look: usize) -> Estimate {
        let sorted = sorted(pairs.iter().map(|pair| pair.log_ratio));
        let rank = self.ranks[look - 1];
        Estimate {
            pairs: pairs.len(),
            ratio: median(&sorted).exp(),
            lower: rank.map(|rank| sorted[rank].exp()),
            upper: rank.map(|rank| sorted[sorted.len() - 1 - rank].exp()),
        }
    }
}

/// One more fair coin.
fn toss(alive: &[f64]) -> Vec<f64> {
    let mut next = vec![0.0; alive.len() + 1];
    for (count, probability) in alive.iter().enumerate() {
        next[count] += probability / 2.0;
        next[count + 1] += probability / 2.0;
    }
    next
}

/// The largest count for which all counts up to it together have no more than this probability, and fewer than half of the signs.
fn crossing(alive: &[f64], probability: f64) -> Option<usize> {
    let mut sum = 0.0;
    let below = alive.iter().take(alive.len() / 2).take_while(|of_count| {
        sum += **of_count;
        sum <= probability
    });
    below.count().checked_sub(1)
}

/// The ratio by the order within a pair. A side that heats the unit, or leaves it in another state, shows here: it makes whichever comes
/// second slower.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Orders {
    /// Pairs that began with A.
    pub a_first: OfOrder,
    /// Pairs that began with B.
    pub b_first: OfOrder,
    /// The two contradict each other.
    pub disagree: bool,
}

/// The ratio in one order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OfOrder {
    /// Median of the pairs' ratios.
    pub ratio: f64,
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
}

/// Error at each end of the bounds of one order.
const ORDER_ALPHA: f64 = 0.005;
/// Orders that differ by less do not contradict each other, however certain the difference: a slow drift makes one, and the pairs of both
/// orders together take it out again.
const ORDER_FACTOR_MIN: f64 = 1.02;

/// Fewer pairs of an order contradict nothing: five that all lie beyond five others happen by chance in 2 of `C(10, 5)` = 252.
const ORDER_PAIRS_MIN: usize = 5;

/// Holds both orders against each other; `None` where one was not measured.
pub fn orders(pairs: &[Pair]) -> Option<Orders> {
    let (a_first, b_first) = (of_order(pairs, false)?, of_order(pairs, true)?);
    let enough = pairs.len() >= 2 * ORDER_PAIRS_MIN;
    let apart = enough && (a_first.lower > b_first.upper || b_first.lower > a_first.upper);
    let factor = a_first.ratio / b_first.ratio;
    Some(Orders { a_first, b_first, disagree: apart && factor.max(1.0 / factor) > ORDER_FACTOR_MIN })
}

/// Bounds by the sign test, or the lowest and the highest pair where those are too few for it.
fn of_order(pairs: &[Pair], b_first: bool) -> Option<OfOrder> {
    let sorted = sorted(pairs.iter().filter(|pair| pair.b_first == b_first).map(|pair| pair.log_ratio));
    let n = sorted.len();
    let last = n.checked_sub(1)?;
    let beyond = |rank: &usize| binomial_cdf(*rank as u64, n as u64, 0.5) <= ORDER_ALPHA;
    let rank = (0..n / 2).take_while(beyond).last().unwrap_or(0);
    Some(OfOrder { ratio: median(&sorted).exp(), lower: sorted[rank].exp(), upper: sorted[last - rank].exp() })
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Of an even number the mean of the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(ratios: &[f64]) -> Vec<Pair> {
        let pair = |(i, ratio): (usize, &f64)| Pair { log_ratio: ratio.ln(), b_first: i % 2 == 1 };
        ratios.iter().enumerate().map(pair).collect()
    }

    /// Every sequence of signs, counted: how many cross at some look.
    #[test]
    fn all_looks_together_spend_no_more_than_was_promised() {
        for (most, alpha) in [(8, 0.01), (12, 0.01), (16, 0.05), (16, 0.01)] {
            let looks = Looks::new(most, alpha);
            let crosses = |signs: u32| {
                let against = |n: usize| (signs & ((1 << n) - 1)).count_ones() as usize;
                looks.ranks.iter().enumerate().any(|(k, rank)| rank.is_some_and(|rank| against(2 * (k + 1)) <= rank))
            };
            let wrong = (0..1_u32 << most).filter(|signs| crosses(*signs)).count() as f64 / f64::from(1_u32 << most);
            assert!(wrong <= alpha, "{most} pairs: {wrong}");
            assert!(wrong > alpha / 4.0, "{most} pairs waste what they may spend: {wrong}");
        }
    }

    #[test]
    fn a_budget_says_when_it_can_first_answer() {
        assert_eq!(Looks::new(6, 0.01).pairs_first(), None, "2^-6 is more than 1 %");
        assert_eq!(Looks::new(8, 0.01).pairs_first(), Some(8));
        assert_eq!(Looks::new(32, 0.01).pairs_first(), Some(10));
    }

    #[test]
    fn the_three_answers() {
        let looks = Looks::new(32, 0.01);
        let answer = |ratios: &[f64], limit| looks.answer(&pairs(ratios), limit).unwrap();
        let (estimate, found) = answer(&[1.05; 32], 1.02);
        assert_eq!((found, estimate.pairs), (Answer::Slower, 10), "the first look that can answer does");
        assert_eq!(answer(&[1.0; 32], 1.02).1, Answer::NotSlower);
        assert_eq!(answer(&[1.02; 32], 1.02).1, Answer::CannotTell, "the limit itself is neither");
        let mixed: Vec<f64> = (0..32).map(|i| if i / 2 % 2 == 0 { 0.9 } else { 1.1 }).collect();
        let (estimate, found) = answer(&mixed, 1.02);
        assert_eq!((found, estimate.pairs), (Answer::CannotTell, 32));
        assert!(estimate.lower.unwrap() < 0.91 && estimate.upper.unwrap() > 1.09);
        assert_eq!(looks.answer(&pairs(&[1.0]), 1.02), None);
        assert_eq!(answer(&[1.0; 8], 1.02).1, Answer::CannotTell, "no bounds yet");
    }

    #[test]
    fn stalls_do_not_move_the_answer() {
        let looks = Looks::new(32, 0.01);
        let stalled: Vec<f64> = (0..32).map(|i| if i % 8 == 3 { 40.0 } else { 1.0 + 0.0001 * f64::from(i) }).collect();
        assert_eq!(looks.answer(&pairs(&stalled), 1.02).unwrap().1, Answer::NotSlower);
    }

    #[test]
    fn an_order_that_decides_is_seen_and_a_slow_drift_is_none() {
        let second_is_slower: Vec<f64> = (0..20).map(|i| if i % 2 == 0 { 1.04 } else { 0.96 }).collect();
        assert!(orders(&pairs(&second_is_slower)).unwrap().disagree);
        let drift: Vec<f64> = (0..20).map(|i| if i % 2 == 0 { 1.005 } else { 0.995 }).collect();
        assert!(!orders(&pairs(&drift)).unwrap().disagree);
        let noise: Vec<f64> = (0..20).map(|i| 1.0 + 0.05 * f64::from(i * 7 % 20 - 10)).collect();
        assert!(!orders(&pairs(&noise)).unwrap().disagree);
        assert_eq!(orders(&pairs(&[1.0])), None);
    }
}
