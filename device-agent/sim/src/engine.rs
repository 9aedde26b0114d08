//! What runs the jobs of a simulated device. The device does not know whether that is arithmetic in this process or a program beside it.

use crate::Memory;
use boardproof_core::Refusal;
use boardproof_protocol::{Event, Run};

/// Runs jobs.
pub trait Engine: Send {
    /// Engines that the device has itself (`name version`); empty when they come as runners.
    fn names(&self) -> &'static str;
    /// Starts a job and returns at once. What goes wrong later is told by the job's events.
    fn start(&mut self, assignment: &Assignment<'_>) -> Result<Box<dyn Work>, Refusal<'static>>;
}

/// A job that was started. Dropping it ends it.
pub trait Work: Send {
    /// Hands out the events that have come since the last call, without waiting. True when the last one of all was among them.
    fn advance(&mut self, emit: &mut dyn FnMut(&Event<'_>)) -> bool;
}

/// What an engine is given.
pub struct Assignment<'a> {
    /// The request.
    pub run: &'a Run<'a>,
    /// Content of the runner, when one was shipped.
    pub runner: Option<&'a [u8]>,
    /// Content of the model.
    pub model: &'a [u8],
    /// Content of the evalset.
    pub evalset: &'a [u8],
    /// Memory that the job may take.
    pub memory: Memory,
}
