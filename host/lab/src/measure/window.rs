//! How long a pass took, as this machine saw it: two bounds that hold whatever the link did, to be held against the unit's own number.

use boardproof_protocol::{Event, Key, Phase};
use boardproof_record::observation::Facts;
use std::time::Instant;

/// Name in the facts of the time that the pass took at least.
pub const MIN: &str = "host_wall_ns_min";
/// Name in the facts of the time that the pass took at most.
pub const MAX: &str = "host_wall_ns_max";

/// Names in the environment after a cell of the time that lay between the two readings of the unit's uptime, at least and at most.
const BETWEEN: [&str; 2] = ["host_between_ns_min", "host_between_ns_max"];

/// When the unit was asked for its environment and when all of it was here. In between it read its uptime, whatever the link did.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    asked: Instant,
    told: Instant,
}

impl Question {
    /// Asks.
    pub fn around<T, E>(ask: impl FnOnce() -> Result<T, E>) -> Result<(T, Self), E> {
        let asked = Instant::now();
        ask().map(|answer| (answer, Self { asked, told: Instant::now() }))
    }

    /// Puts the bounds of what lay between an earlier question and this one into the facts that answered this one.
    pub fn tell_since(self, before: Self, facts: &mut Facts) {
        let [least, most] = [(self.asked, before.told), (self.told, before.asked)]
            .map(|(end, begin)| u64::try_from(end.saturating_duration_since(begin).as_nanos()).unwrap_or(u64::MAX));
        facts.numbers.extend(BETWEEN.map(String::from).into_iter().zip([least, most]));
    }
}

/// The pass from its first event to the one that ends the unit's count.
pub struct Window {
    asked: Instant,
    begun: Option<Instant>,
}

impl Window {
    /// The pass is about to be asked for.
    pub fn open() -> Self {
        Self { asked: Instant::now(), begun: None }
    }

    /// Takes note of an event that has arrived. `nothing_new`: when the unit was last asked and had nothing more to tell.
    ///
    /// The unit's count begins after it was asked and before its first event is here; it ends after it was asked in vain and before the
    /// number is here. So the count lies between the inner and the outer pair, however late an event was pulled.
    pub fn see(&mut self, event: &Event<'_>, nothing_new: Option<Instant>, facts: &mut Facts) {
        match event {
            Event::Phase(Phase::Started) => _ = self.begun.get_or_insert_with(Instant::now),
            Event::Number { key: Key::PassWallNs, .. } => {
                let inner = self.begun.zip(nothing_new).map(|(begun, end)| end.saturating_duration_since(begun));
                let number = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                facts.numbers.insert(MIN.into(), number(inner.unwrap_or_default()));
                facts.numbers.insert(MAX.into(), number(self.asked.elapsed()));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: Event<'static> = Event::Phase(Phase::Started);
    const ENDED: Event<'static> = Event::Number { key: Key::PassWallNs, index: 0, value: 1 };

    fn bounds(events: &[(Event<'_>, Option<Instant>)]) -> (u64, u64) {
        let (mut window, mut facts) = (Window::open(), Facts::default());
        for (event, nothing_new) in events {
            window.see(event, *nothing_new, &mut facts);
        }
        (facts.numbers[MIN], facts.numbers[MAX])
    }

    #[test]
    fn events_that_come_all_at_once_say_nothing_of_the_least() {
        let (min, max) = bounds(&[(STARTED, None), (ENDED, None)]);
        assert!(min == 0 && max > 0, "{min} {max}");
        // A question in vain from before the first event counts for nothing.
        let before = Instant::now();
        assert_eq!(bounds(&[(STARTED, Some(before)), (ENDED, Some(before))]).0, 0);
    }

    #[test]
    fn two_readings_lie_between_the_inner_and_the_outer_times() {
        let now = Instant::now();
        let at = |ms: u64| now + std::time::Duration::from_millis(ms);
        let (before, after) = (Question { asked: at(0), told: at(40) }, Question { asked: at(100), told: at(150) });
        let mut facts = Facts::default();
        after.tell_since(before, &mut facts);
        assert_eq!(BETWEEN.map(|name| facts.numbers[name]), [60_000_000, 150_000_000]);
    }

    #[test]
    fn a_question_in_vain_bounds_the_time_from_below() {
        let later = Instant::now() + std::time::Duration::from_secs(5);
        let (min, _) = bounds(&[(STARTED, None), (ENDED, Some(later))]);
        assert!((4_000_000_000..=5_000_000_000).contains(&min), "{min}");
    }
}
