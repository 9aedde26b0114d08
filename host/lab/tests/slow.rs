//! A unit that says nothing: given up after the usual patience, or waited for as long as somebody else sees it at work. In virtual time.

use boardproof_lab::link::client::{Client, ClientError, Patience, Quiet, Slow};
use boardproof_lab::link::{Link, LinkError};
use std::cell::Cell;
use std::time::{Duration, Instant};

const PATIENCE: Patience = Patience { answer: Duration::from_secs(3), asks: 5 };

/// A link on which nothing ever comes.
struct Silence(Instant);

impl Link for Silence {
    fn send(&mut self, _payload: &[u8], _deadline: Instant) -> Result<(), LinkError> {
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, LinkError> {
        self.0 = self.0.max(deadline);
        Ok(None)
    }

    fn traffic(&self) -> (u64, u64) {
        (0, 0)
    }

    fn now(&self) -> Instant {
        self.0
    }

    fn rest(&mut self, time: Duration) {
        self.0 += time;
    }
}

/// Why a job was pulled no longer, with a unit that is at work as often as this, and the seconds until then.
fn given_up(looks_at_work: u32, quiet: Option<Quiet>) -> (ClientError, u64) {
    let start = Instant::now();
    let mut client = Client::new(Silence(start), PATIENCE, || false);
    let left = Cell::new(looks_at_work);
    let at_work = || left.replace(left.get().saturating_sub(1)) > 0;
    let deadline = start + Duration::from_secs(100);
    let slow = Slow { at_work: &at_work, quiet };
    let error = client.pull_from_a_slow_unit(7, deadline, slow, |_| Ok(()), |_| Ok(())).unwrap_err();
    assert!(client.is_unanswered() && error.timed_out() && error.link_is_gone(), "{error:?}");
    (error, client.now().duration_since(start).as_secs())
}

fn waited(looks_at_work: u32) -> u64 {
    let (error, after_s) = given_up(looks_at_work, None);
    let ClientError::Silent { waited_s, .. } = error else { panic!("{error:?}") };
    assert_eq!(waited_s, after_s);
    waited_s
}

#[test]
fn a_unit_that_is_at_work_is_waited_for_until_the_deadline_and_no_other_is() {
    assert_eq!(waited(0), 15);
    assert_eq!(waited(2), 45);
    assert_eq!(waited(u32::MAX), 100);
}

#[test]
fn a_unit_at_work_is_given_up_before_its_watchdog_comes() {
    let quiet =
        |limit, watchdog| Some(Quiet { limit: Duration::from_secs(limit), watchdog: Duration::from_secs(watchdog) });
    let (error, after_s) = given_up(u32::MAX, quiet(20, 22));
    assert_eq!(after_s, 20);
    let words = "could not follow the job: no progress for 20 s, where 20 s is the most: the unit's watchdog, which had not come, starts it \
                 anew after 22 s";
    assert_eq!(error.to_string(), words);
    assert!(error.hint().is_some());
    // Nobody sees it at work: it is given up as soon as any other.
    assert!(matches!(given_up(0, quiet(20, 22)), (ClientError::Silent { .. }, 15)));
    // A watchdog that is longer than the pass: the pass's deadline is what ends it.
    assert!(matches!(given_up(u32::MAX, quiet(334, 371)), (ClientError::Silent { .. }, 100)));
}
