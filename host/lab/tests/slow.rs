//! A unit that says nothing: given up after the usual patience, or waited for as long as somebody else sees it at work. In virtual time.

use boardproof_lab::link::client::{Client, ClientError, Patience};
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

/// Seconds that a job was pulled for, with a unit that is at work as often as this.
fn waited(looks_at_work: u32) -> u64 {
    let start = Instant::now();
    let mut client = Client::new(Silence(start), PATIENCE, || false);
    let left = Cell::new(looks_at_work);
    let at_work = || left.replace(left.get().saturating_sub(1)) > 0;
    let deadline = start + Duration::from_secs(100);
    let pulled = client.pull_from_a_slow_unit(7, deadline, &at_work, |_| Ok(()), |_| Ok(()));
    let Err(ClientError::Silent { waited_s, .. }) = pulled else { panic!("{pulled:?}") };
    assert_eq!(waited_s, client.now().duration_since(start).as_secs());
    waited_s
}

#[test]
fn a_unit_that_is_at_work_is_waited_for_until_the_deadline_and_no_other_is() {
    assert_eq!(waited(0), 15);
    assert_eq!(waited(2), 45);
    assert_eq!(waited(u32::MAX), 100);
}
