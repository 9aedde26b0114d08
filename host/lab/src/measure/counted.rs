//! A unit's own count of its inferences, held against the ticks that it sent. Both went different ways through its memory and over the link,
//! so that one damaged on its way does not become a latency.

use boardproof_protocol::ticks_bin;
use std::collections::BTreeMap;

/// Most that a unit counts in a bin.
const COUNT_MAX: u64 = u16::MAX as u64;

/// Inferences per bin of the protocol's histogram.
pub(super) type Counted = BTreeMap<u16, u64>;

/// The first bin in which a unit has counted another number of inferences than ticks came that belong there, in words.
pub(super) fn differs(counted: &Counted, ticks: &[u8]) -> Option<String> {
    let mut came = Counted::new();
    for ticks in ticks.as_chunks().0 {
        *came.entry(ticks_bin(u64::from_le_bytes(*ticks)) as u16).or_default() += 1;
    }
    let bins = counted.keys().chain(came.keys());
    let number = |of: &Counted, bin: &u16| of.get(bin).copied().unwrap_or(0);
    let is_other = |bin: &&u16| number(counted, bin) != number(&came, bin).min(COUNT_MAX);
    bins.filter(is_other).min().map(|bin| {
        let (counted, came) = (number(counted, bin), number(&came, bin));
        format!("bin {bin} of its histogram: {counted} inferences counted, {came} ticks came")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counted: &[(u16, u64)], ticks: &[u64], expected: Option<&str>) {
        let bytes: Vec<u8> = ticks.iter().flat_map(|t| t.to_le_bytes()).collect();
        assert_eq!(differs(&counted.iter().copied().collect(), &bytes).as_deref(), expected);
    }

    #[test]
    fn a_tick_that_is_not_the_one_counted_is_found() {
        let bin = ticks_bin(1000) as u16;
        check(&[(3, 1), (bin, 2)], &[3, 1000, 1001], None);
        check(
            &[(3, 1), (bin, 2)],
            &[3, 1000, 2000],
            Some("bin 63 of its histogram: 2 inferences counted, 1 ticks came"),
        );
        check(&[(3, 1)], &[3, 1000], Some("bin 63 of its histogram: 0 inferences counted, 1 ticks came"));
        check(&[(3, 2)], &[3], Some("bin 3 of its histogram: 2 inferences counted, 1 ticks came"));
        // Its counters stop at what they can hold.
        check(&[(3, 65_535)], &[3; 70_000], None);
        check(&[(3, 65_535)], &[3; 60_000], Some("bin 3 of its histogram: 65535 inferences counted, 60000 ticks came"));
    }
}
