//! A line to a device in memory, for tests: it answers at once, and where there is no answer the deadline has passed at once.

use crate::{Bytes, LineError};
use std::collections::VecDeque;
use std::time::Instant;

/// A device in memory.
pub trait Peer {
    /// Takes bytes from the host and appends what it says to them.
    fn hear(&mut self, bytes: &[u8], answer: &mut Vec<u8>);
}

impl<F: FnMut(&[u8], &mut Vec<u8>)> Peer for F {
    fn hear(&mut self, bytes: &[u8], answer: &mut Vec<u8>) {
        self(bytes, answer);
    }
}

/// A line to a [`Peer`]. Waits for nothing.
#[derive(Debug)]
pub struct Loopback<P> {
    /// The device.
    pub peer: P,
    /// Everything the host sent.
    pub sent: Vec<u8>,
    /// Everything the host read.
    pub read: Vec<u8>,
    /// What the host has not read yet.
    pub waiting: VecDeque<u8>,
    /// Most bytes that one read gives.
    pub bytes_per_read: usize,
}

impl<P: Peer> Loopback<P> {
    /// A line to `peer` that gives one byte per read: the worst case for a reader.
    pub fn new(peer: P) -> Self {
        Self { peer, sent: Vec::new(), read: Vec::new(), waiting: VecDeque::new(), bytes_per_read: 1 }
    }
}

impl<P: Peer> Bytes for Loopback<P> {
    fn write(&mut self, bytes: &[u8], _deadline: Instant) -> Result<(), LineError> {
        self.sent.extend_from_slice(bytes);
        let mut answer = Vec::new();
        self.peer.hear(bytes, &mut answer);
        self.waiting.extend(answer);
        Ok(())
    }

    fn read(&mut self, into: &mut [u8], _deadline: Instant) -> Result<usize, LineError> {
        let count = self.waiting.len().min(into.len()).min(self.bytes_per_read.max(1));
        if count == 0 {
            return Err(LineError::TimedOut);
        }
        for (place, byte) in into.iter_mut().zip(self.waiting.drain(..count)) {
            *place = byte;
            self.read.push(byte);
        }
        Ok(count)
    }
}
