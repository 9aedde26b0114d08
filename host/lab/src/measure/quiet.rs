//! How long a unit at work may say nothing, by what it says of its watchdog.

use crate::link::client::Quiet;
use boardproof_record::observation::Facts;
use boardproof_record::plan::Clock;
use std::time::Duration;

/// Part of the watchdog's time that is left: for an answer that was long on its way, and for a look at the unit that takes long.
const LEFT: u32 = 10;
/// The same in time, where the watchdog is short.
const LEFT_AT_LEAST: Duration = Duration::from_secs(2);

impl Quiet {
    /// The limit for a unit that says this of itself. `None` where it has no watchdog, or tells of none: then the deadline of the pass is the
    /// only limit.
    ///
    /// A clock that counts instructions goes as fast as its emulator does: no host carries out more than one in a nanosecond.
    pub(super) fn of(facts: &Facts, clock: Clock) -> Option<Self> {
        let told = Duration::from_millis(*facts.numbers.get("watchdog_ms").filter(|ms| **ms > 0)?);
        let watchdog = match clock {
            Clock::Time => told,
            Clock::Instructions { ns_each } => told / ns_each.max(1),
        };
        let limit = watchdog - (watchdog / LEFT).max(LEFT_AT_LEAST).min(watchdog / 2);
        Some(Self { limit, watchdog })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(watchdog_ms: Option<u64>, clock: Clock) -> Option<(u64, u64)> {
        let numbers = watchdog_ms.map(|ms| ("watchdog_ms".to_owned(), ms)).into_iter().collect();
        let quiet = Quiet::of(&Facts { numbers, ..Facts::default() }, clock)?;
        Some((quiet.limit.as_secs(), quiet.watchdog.as_secs()))
    }

    #[test]
    fn this_side_gives_up_before_the_watchdog_comes() {
        assert_eq!(of(Some(22_300), Clock::Time), Some((20, 22)));
        assert_eq!(of(Some(570_000), Clock::Time), Some((513, 570)));
        // A board in QEMU: longer than the 330 s that a pass is waited for.
        assert_eq!(of(Some(11_900_000), Clock::Instructions { ns_each: 32 }), Some((334, 371)));
        // One that is too short for any margin leaves some time to answer all the same.
        assert_eq!(of(Some(2000), Clock::Time), Some((1, 2)));
        assert_eq!(of(Some(0), Clock::Time), None);
        assert_eq!(of(None, Clock::Time), None);
    }
}
