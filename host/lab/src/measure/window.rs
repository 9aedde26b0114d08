//! How long a pass took, as this machine saw it: two bounds that hold whatever the link did, to be held against the unit's own number.

use boardproof_protocol::{Event, Key, Phase};
use boardproof_record::observation::Facts;
use std::time::Instant;

/// Name in the facts of the time that the pass took at least.
pub const MIN: &str = "host_wall_ns_min";
/// Name in the facts of the time that the pass took at most.
pub const MAX: &str = "host_wall_ns_max";

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
    fn a_question_in_vain_bounds_the_time_from_below() {
        let later = Instant::now() + std::time::Duration::from_secs(5);
        let (min, _) = bounds(&[(STARTED, None), (ENDED, Some(later))]);
        assert!((4_000_000_000..=5_000_000_000).contains(&min), "{min}");
    }
}
