//! Events of a job until the host has them: encoded, one behind the other, in a buffer that never grows.

use boardproof_protocol::Event;
use boardproof_protocol::frame::{decode_event, encode_event};

/// Room for events that a board must give.
pub const EVENTS_BYTES: usize = 4096;

/// The events from one number on.
#[derive(Debug)]
pub struct Events<'m> {
    bytes: &'m mut [u8],
    filled: usize,
    /// Number of the first event that is here.
    first: u32,
    /// Number that the next event gets.
    next: u32,
}

/// An event that has no room: the host must take some first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl<'m> Events<'m> {
    /// None, in this memory.
    pub fn new(bytes: &'m mut [u8]) -> Self {
        Self { bytes, filled: 0, first: 0, next: 0 }
    }

    /// Forgets everything, numbers too.
    pub fn clear(&mut self) {
        (self.filled, self.first, self.next) = (0, 0, 0);
    }

    /// Bytes free.
    pub fn room(&self) -> usize {
        self.bytes.len() - self.filled
    }

    /// Events so far.
    pub fn count(&self) -> u32 {
        self.next
    }

    /// Adds one.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), Full> {
        let Some((length, rest)) = self.bytes[self.filled..].split_first_chunk_mut::<2>() else { return Err(Full) };
        let used = encode_event(event, rest).map_err(|_| Full)?.len();
        *length = (used as u16).to_le_bytes();
        self.filled += 2 + used;
        self.next += 1;
        Ok(())
    }

    /// The event with this number; `None` where it is not here (yet, or any more).
    pub fn get(&self, number: u32) -> Option<Event<'_>> {
        let mut at = 0;
        let mut index = self.first;
        while at < self.filled {
            let (length, rest) = self.bytes[at..self.filled].split_first_chunk::<2>()?;
            let length = usize::from(u16::from_le_bytes(*length));
            if index == number {
                return decode_event(rest.get(..length)?).ok();
            }
            at += 2 + length;
            index += 1;
        }
        None
    }

    /// Is this an event that was given away already?
    pub fn is_gone(&self, number: u32) -> bool {
        number < self.first
    }

    /// The host has all events below this number.
    pub fn acknowledge(&mut self, below: u32) {
        let mut at = 0;
        while self.first < below && at < self.filled {
            let length = u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
            at += 2 + usize::from(length);
            self.first += 1;
        }
        self.bytes.copy_within(at..self.filled, 0);
        self.filled -= at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u64) -> Event<'static> {
        Event::Progress { done, total: 1000 }
    }

    #[test]
    fn events_stay_until_they_are_acknowledged_and_a_full_buffer_says_so() {
        let mut memory = [0; EVENTS_BYTES];
        let mut events = Events::new(&mut memory);
        let mut pushed = 0;
        while events.push(&progress(pushed)).is_ok() {
            pushed += 1;
        }
        assert!(pushed > 100 && u64::from(events.count()) == pushed);
        assert_eq!(events.get(7), Some(progress(7)));
        events.acknowledge(50);
        assert_eq!((events.get(49), events.get(50)), (None, Some(progress(50))));
        assert!(events.is_gone(49) && !events.is_gone(50));
        events.push(&progress(pushed)).unwrap();
        assert_eq!(events.get(pushed as u32), Some(progress(pushed)));
        events.acknowledge(50);
        events.acknowledge(u32::MAX);
        assert_eq!((events.get(pushed as u32), u64::from(events.count())), (None, pushed + 1));
    }
}
