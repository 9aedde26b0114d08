//! The host's side of the protocol: requests with deadlines, answers matched to them, events pulled one by one.
//!
//! Every request is idempotent, so an answer that does not come is asked for again with the same number. An answer of another
//! session or an earlier request is stale and dropped.

use super::{Link, LinkError, Narrow};
use boardproof_protocol::frame::{
    BYTE_FRAME_MAX, Header, MESSAGE_MARGIN, OVERHEAD, STREAM_FRAME_MAX, decode_reply, encode_request,
};
use boardproof_protocol::{
    Chunk, DeviceHello, Digest, Event, HostHello, Part, RefusalCode, Reply, Request, SCHEMA, VERSION_CURRENT,
    VERSION_MIN,
};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

/// Something between host and unit that went wrong, or that the unit refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The link broke.
    #[error("could not {action}")]
    Link {
        /// What was being done.
        action: &'static str,
        /// Why not.
        #[source]
        source: LinkError,
    },
    /// The unit did not answer, however often it was asked.
    #[error("could not {action}: no answer within {waited_s} s, asked {asked} times")]
    Silent {
        /// What was being done.
        action: &'static str,
        /// Seconds waited in all.
        waited_s: u64,
        /// Times asked.
        asked: u32,
    },
    /// The unit was at work and said nothing for longer than one that its watchdog leaves alone may.
    #[error(
        "could not {action}: no progress for {waited_s} s, where {limit_s} s is the most: the unit's watchdog, which had not come, starts it \
         anew after {watchdog_s} s"
    )]
    NoProgress {
        /// What was being done.
        action: &'static str,
        /// Seconds since it was heard last.
        waited_s: u64,
        /// Seconds that it may say nothing.
        limit_s: u64,
        /// Seconds after which its watchdog comes, by this machine's clock.
        watchdog_s: u64,
    },
    /// The unit refused.
    #[error("could not {action}: the agent refused ({code:?}): {detail} ({number})")]
    Refused {
        /// What was being done.
        action: &'static str,
        /// Kind of refusal.
        code: RefusalCode,
        /// In words.
        detail: String,
        /// The number that belongs to the kind.
        number: u64,
    },
    /// The answer does not belong to the question.
    #[error("could not {action}: expected {expected}, got {found}")]
    Unexpected {
        /// What was being done.
        action: &'static str,
        /// Answer that would belong.
        expected: &'static str,
        /// The one that came.
        found: String,
    },
    /// Somebody else holds the unit.
    #[error("the unit is held by {holder} for another {remaining_s} s")]
    Held {
        /// Who.
        holder: String,
        /// Their epoch.
        epoch: u64,
        /// Until their lease ends unless they renew it.
        remaining_s: u64,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl ClientError {
    /// The link itself is gone, or what was agreed over it: a new one may help.
    pub fn link_is_gone(&self) -> bool {
        // A unit that knows no session any more has started anew behind a link that still stands. A lease may run out on a busy host;
        // whether somebody else has the unit by now is seen when it is asked for again.
        use RefusalCode::{NoSession, NotHolder};
        let forgotten = matches!(self, Self::Refused { code: NoSession | NotHolder, .. });
        forgotten || matches!(self, Self::Link { .. } | Self::Silent { .. } | Self::NoProgress { .. })
    }

    /// Nothing came back in time.
    pub fn timed_out(&self) -> bool {
        match self {
            Self::Silent { .. } | Self::NoProgress { .. } => true,
            Self::Link { source, .. } => source.timed_out(),
            _ => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Link { source, .. } => source.hint(),
            Self::NoProgress { .. } => Some(
                "one inference of the model takes longer than this board's watchdog allows, or the firmware hangs where it was seen".into(),
            ),
            Self::Held { .. } => Some("wait with --wait SECONDS, or ask the holder".into()),
            Self::Refused { code: RefusalCode::NoSpace, .. } => {
                Some("`boardproof agent clean` frees what boardproof stored".into())
            }
            _ => None,
        }
    }
}

/// A greeting as owned text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the protocol's DeviceHello")]
pub struct Greeting {
    pub version: u16,
    pub build: String,
    pub architecture: String,
    pub system: String,
    pub identity: String,
    pub tick_hz: u64,
    pub memory_bytes: u64,
    pub store_free_bytes: u64,
    pub frame_max: usize,
    pub chunk_window: u16,
    pub boot: u64,
}

impl From<&DeviceHello<'_>> for Greeting {
    fn from(hello: &DeviceHello<'_>) -> Self {
        Self {
            version: hello.version,
            build: hello.build.into(),
            architecture: hello.architecture.into(),
            system: hello.system.into(),
            identity: hello.identity.into(),
            tick_hz: hello.tick_hz,
            memory_bytes: hello.memory_bytes,
            store_free_bytes: hello.store_free_bytes,
            frame_max: hello.frame_max as usize,
            chunk_window: hello.chunk_window,
            boot: hello.boot,
        }
    }
}

/// How long one answer may take, and how often a question is asked.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Wait for one answer.
    pub answer: Duration,
    /// Times a question is asked before the unit counts as silent.
    pub asks: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { answer: Duration::from_secs(15), asks: 3 }
    }
}

/// How a unit is followed that may be at one thing for longer than an answer is waited for.
#[derive(Clone, Copy)]
pub struct Slow<'a> {
    /// Is it known to be at work although it says nothing? Asked when it was silent for as long as an answer is waited for.
    pub at_work: &'a dyn Fn() -> bool,
    /// For how long it may say nothing even then; `None` until the deadline of the whole.
    pub quiet: Option<Quiet>,
}

/// How long a unit at work may say nothing: for less than its watchdog lets it, so that this side says that it hangs, and no reset does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// The longest silence.
    pub limit: Duration,
    /// Time after which its watchdog comes, by this machine's clock.
    pub watchdog: Duration,
}

/// Events the host is ready to take per pull.
const CREDIT: u16 = 32;
/// The same in time, where a link is slow: a loss costs what came behind it, and until the last has come nothing else is heard.
const CREDIT_S: u32 = 2;
/// First version with `Part` and `Baud`.
const VERSION_NARROW: u16 = 3;
/// Most that a `Part` needs around its bytes: kind, upload, offset and length, each as long as it can be.
const PART_MARGIN: usize = 1 + 5 + 10 + 3;
/// The same of a greeting without its text, and some.
const HELLO_MARGIN: usize = 40;
/// What this host says of itself.
const BUILD: &str = concat!("boardproof ", env!("CARGO_PKG_VERSION"));
/// Greetings at the rate of the link before another is tried: together they last longer than a device puzzles over what it does not
/// understand.
const ASKS_HERE: u32 = 6;
/// Full frames that must get through before a rate is used.
const PROOF_FRAMES: usize = 4;

/// A session with an agent.
pub struct Client<L> {
    link: L,
    session: u32,
    seq: u32,
    patience: Patience,
    scratch: Vec<u8>,
    /// Chunks that may be on their way at once: what the device gives credit for.
    chunk_window: usize,
    /// Every byte counts, and the device knows how to save some.
    parts: bool,
    credit: u16,
    interrupted: fn() -> bool,
    nothing_new: Option<Instant>,
    /// The last thing that a job which is being pulled was asked had no answer.
    unanswered: bool,
}

/// Furthest that a number may be ahead of another; what is further is behind it.
const SEQ_AHEAD_MAX: u32 = u32::MAX / 2;

/// Most chunks on their way at once, whatever the device would take: their answers must fit into the queue of a link, or both sides
/// would wait for each other.
const CHUNK_WINDOW_MAX: usize = 32;

impl<L: Link> Client<L> {
    /// Starts on a link; nothing is sent yet. `interrupted` is asked while waiting.
    pub fn new(link: L, patience: Patience, interrupted: fn() -> bool) -> Self {
        // A session number that an earlier session of this or another host hardly had: hasher keys are random.
        let session = RandomState::new().build_hasher().finish() as u32 | 1;
        Self {
            link,
            session,
            seq: 0,
            patience,
            scratch: vec![0; STREAM_FRAME_MAX],
            chunk_window: 1,
            parts: false,
            credit: CREDIT,
            interrupted,
            nothing_new: None,
            unanswered: false,
        }
    }

    /// Bytes sent and received so far.
    pub fn traffic(&self) -> (u64, u64) {
        self.link.traffic()
    }

    /// Greets the agent and learns what it is. On a narrow link it is asked in short intervals for as long as a boot may take.
    pub fn hello(&mut self) -> Result<Greeting, ClientError> {
        self.hello_at(&[])
    }

    /// The same for a unit that may still be at one of these rates, in bits per second: an earlier host may have gone without a word.
    /// Afterwards both sides are at the rate of the start.
    pub fn hello_at(&mut self, rates: &[u32]) -> Result<Greeting, ClientError> {
        let narrow = self.link.narrow();
        let greeting = match narrow {
            Some(narrow) => self.meet(narrow, rates).map_err(|error| self.explained(error))?,
            None => self.greet(BUILD)?,
        };
        self.scratch.truncate(greeting.frame_max.max(OVERHEAD));
        // A device that gives no credit at all still takes one chunk and answers it.
        self.chunk_window = usize::from(greeting.chunk_window).clamp(1, CHUNK_WINDOW_MAX);
        self.parts = narrow.is_some() && greeting.version >= VERSION_NARROW;
        if let Some(rate) = narrow.and_then(|narrow| narrow.rate) {
            self.credit = credit_at(rate);
        }
        Ok(greeting)
    }

    /// Greets a unit whose rate is not known: mostly at the rate of the link, now and then at another, where it is called back.
    fn meet(&mut self, narrow: Narrow, others: &[u32]) -> Result<Greeting, ClientError> {
        let usual = self.patience;
        let met = self.meet_within(narrow, others);
        self.patience = usual;
        met
    }

    fn meet_within(&mut self, narrow: Narrow, others: &[u32]) -> Result<Greeting, ClientError> {
        let Patience { answer, asks } = narrow.greeting;
        let others = if narrow.rate.is_some() { others } else { &[] };
        let mut left = asks;
        loop {
            let here = if others.is_empty() { left } else { left.min(ASKS_HERE) };
            self.patience = Patience { answer, asks: here };
            left -= here;
            match self.greet(BUILD) {
                Err(ClientError::Silent { .. }) if left > 0 => {}
                Err(ClientError::Silent { action, .. }) => {
                    let waited_s = (answer * asks).as_secs();
                    return Err(ClientError::Silent { action, waited_s, asked: asks });
                }
                done => return done,
            }
            for rate in others {
                left = left.saturating_sub(1);
                self.call_back(narrow.rate.unwrap_or(*rate), *rate)?;
            }
        }
    }

    /// Tells a unit at `rate` to come back to `start`, where this side is afterwards, whether it was heard or not.
    fn call_back(&mut self, start: u32, rate: u32) -> Result<(), ClientError> {
        const ACTION: &str = "go back to the rate of the start";
        let failed = |source| ClientError::Link { action: ACTION, source };
        // A rate that this side does not have is not the one that the unit is at.
        if self.link.set_rate(rate).is_ok() {
            self.patience.asks = 1;
            let heard = self.greet(BUILD).map(|_| ());
            let told = heard.and_then(|()| self.ask(ACTION, &Request::Baud { rate: start }, |_| Some(())));
            if let Err(ClientError::Interrupted) = told {
                return told;
            }
        }
        self.link.set_rate(start).map_err(failed)
    }

    /// What the link has seen may say more than that nobody answered.
    fn explained(&self, error: ClientError) -> ClientError {
        match (error, self.link.silence()) {
            (ClientError::Silent { action, .. }, Some(source)) => ClientError::Link { action, source },
            (error, _) => error,
        }
    }

    fn greet(&mut self, build: &str) -> Result<Greeting, ClientError> {
        let frame_max = if self.link.narrow().is_some() { BYTE_FRAME_MAX } else { STREAM_FRAME_MAX } as u32;
        let (version_min, version_max, schema) = (VERSION_MIN, VERSION_CURRENT, SCHEMA);
        let hello = HostHello { version_min, version_max, schema, build, frame_max };
        self.ask("greet the agent", &Request::Hello(hello), |reply| match reply {
            Reply::Hello(hello) => Some(Greeting::from(hello)),
            _ => None,
        })
    }

    /// Goes on at the first of these rates, in bits per second, at which both sides understand each other; at the rate as it is where
    /// there is none. Returns the rate in force; `None` for a link without one. That a higher rate fails is no error.
    pub fn quicken(&mut self, rates: &[u32]) -> Result<Option<u32>, ClientError> {
        let Some(start) = self.link.narrow().and_then(|narrow| narrow.rate) else { return Ok(None) };
        if !self.parts {
            return Ok(Some(start));
        }
        for rate in rates.iter().copied().filter(|rate| *rate > start) {
            if self.goes_at(start, rate)? {
                self.patience = self.link.patience();
                self.credit = credit_at(rate);
                return Ok(Some(rate));
            }
        }
        Ok(Some(start))
    }

    /// Tries one rate; if that fails, both sides are at the one before.
    fn goes_at(&mut self, start: u32, rate: u32) -> Result<bool, ClientError> {
        let usual = self.patience;
        let asked = self.ask("change the rate", &Request::Baud { rate }, |reply| match reply {
            Reply::Baud { rate } => Some(*rate),
            _ => None,
        });
        match asked {
            Ok(theirs) if theirs == rate => {}
            Ok(theirs) if theirs == start => return Ok(false),
            // Whether it never heard the question, or its answer was lost and it is at the new rate, is seen there.
            Ok(_) | Err(ClientError::Silent { .. }) => {}
            Err(ClientError::Refused { code: RefusalCode::NoSession, .. }) => asked.map(|_| ())?,
            Err(ClientError::Refused { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        if self.link.set_rate(rate).is_ok() && self.proves_rate()? {
            return Ok(true);
        }
        // A device that understands nothing comes back by itself: what it is asked at its old rate until then is what it does not
        // understand. One that has understood some must be told.
        let Some(narrow) = self.link.narrow() else { return Ok(false) };
        self.patience = narrow.greeting;
        let back =
            self.call_back(start, rate).and_then(|()| self.meet(Narrow { rate: Some(start), ..narrow }, &[rate]));
        self.patience = usual;
        back.map(|_| false)
    }

    /// Do full frames get through, every one of them at once?
    fn proves_rate(&mut self) -> Result<bool, ClientError> {
        let usual = self.patience;
        let answer = self.link.narrow().map_or(usual, |narrow| narrow.greeting).answer;
        self.patience = Patience { answer, asks: 1 };
        let room = self.scratch.len().min(BYTE_FRAME_MAX).saturating_sub(OVERHEAD + HELLO_MARGIN);
        // Alternating bits and long rows of equal ones: what a receiver at its limit gets wrong.
        let full: String = "U~@`".chars().cycle().take(room).collect();
        let heard = (0..PROOF_FRAMES).try_for_each(|_| self.greet(&full).map(|_| ()));
        self.patience = usual;
        match heard {
            Ok(()) => Ok(true),
            Err(ClientError::Silent { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Largest number of a blob's bytes that fit into one request.
    pub fn chunk_bytes(&self) -> usize {
        let margin = if self.parts { PART_MARGIN } else { MESSAGE_MARGIN };
        self.scratch.len().saturating_sub(OVERHEAD + margin).max(1)
    }

    /// The request that brings these bytes of the upload that was begun, as short as this link needs it.
    pub fn piece<'a>(&self, epoch: u64, digest: Digest, offset: u64, bytes: &'a [u8]) -> Request<'a> {
        if self.parts {
            Request::Part(Part { upload: digest.upload(), offset, bytes })
        } else {
            Request::Chunk(Chunk { epoch, digest, offset, bytes })
        }
    }

    /// Times that a question is asked.
    pub fn asks(&self) -> u32 {
        self.patience.asks
    }

    /// Chunks that may be sent before the first of them is answered.
    pub fn chunk_window(&self) -> usize {
        self.chunk_window
    }

    /// Asks until `read` recognises the answer. A refusal is an error; any other answer to this very request is unexpected.
    pub fn ask<T>(
        &mut self,
        action: &'static str,
        request: &Request<'_>,
        read: impl Fn(&Reply<'_>) -> Option<T>,
    ) -> Result<T, ClientError> {
        self.seq = self.seq.wrapping_add(1);
        for _ in 0..self.patience.asks {
            let deadline = self.link.now() + self.patience.answer;
            self.post(action, self.seq, request, deadline)?;
            while let Some(payload) = self.wait(action, deadline)? {
                let Some((_, reply)) = self.ours(&payload, self.seq) else { continue };
                return answer(action, &reply, &read);
            }
        }
        Err(self.silent(action))
    }

    /// The time, by the clock of the link.
    pub fn now(&self) -> Instant {
        self.link.now()
    }

    /// Waits without asking anything.
    pub fn pause(&self, time: Duration) -> Result<(), ClientError> {
        pause(time, self.interrupted)
    }

    /// The last time at which a job that is being pulled was asked for more and had nothing that was not known already: whatever it
    /// tells later came to be after this.
    pub fn nothing_new(&self) -> Option<Instant> {
        self.nothing_new
    }

    /// Did a job that is being pulled leave the last question without an answer? One that is at work has no time for others either.
    pub fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Says goodbye, so that the agent gives the lease back at once. A unit that does not answer loses nothing by it.
    pub fn bye(&mut self) {
        self.patience = Patience { answer: self.patience.answer.min(Duration::from_secs(2)), asks: 1 };
        self.interrupted = || false;
        let _ = self.ask("say goodbye", &Request::Bye, |reply| matches!(reply, Reply::Bye).then_some(()));
    }

    /// Sends a request under the next number without waiting; returns the number.
    pub fn post_next(&mut self, action: &'static str, request: &Request<'_>) -> Result<u32, ClientError> {
        self.seq = self.seq.wrapping_add(1);
        let deadline = self.link.now() + self.patience.answer;
        self.post(action, self.seq, request, deadline)?;
        Ok(self.seq)
    }

    /// Waits for the answer to an earlier [`Client::post_next`]. `None` when it did not come in time, or the answer to a later one came
    /// first: answers come in order where none is lost.
    pub fn answer_to<T>(
        &mut self,
        action: &'static str,
        seq: u32,
        read: impl Fn(&Reply<'_>) -> Option<T>,
    ) -> Result<Option<T>, ClientError> {
        let deadline = self.link.now() + self.patience.answer;
        while let Some(payload) = self.wait(action, deadline)? {
            let Ok((header, reply)) = decode_reply(&payload) else { continue };
            if header.session != self.session {
                continue;
            }
            match header.seq.wrapping_sub(seq) {
                0 => return answer(action, &reply, &read).map(Some),
                1..=SEQ_AHEAD_MAX => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Pulls all events of a job, in order and without gaps, until it is done. `deadline` bounds the whole; `idle` is called between
    /// answers (to renew a lease). What `take` gets is borrowed from the frame.
    pub fn pull(
        &mut self,
        job: u32,
        deadline: Instant,
        take: impl FnMut(&Event<'_>) -> Result<(), ClientError>,
        idle: impl FnMut(&mut Self) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        self.pull_from_a_slow_unit(job, deadline, Slow { at_work: &|| false, quiet: None }, take, idle)
    }

    /// The same from a unit that may be at something for longer than an answer is waited for: as long as it is at work it is asked on, until
    /// the deadline or the longest silence that it may keep, whichever comes first.
    pub fn pull_from_a_slow_unit(
        &mut self,
        job: u32,
        deadline: Instant,
        slow: Slow<'_>,
        mut take: impl FnMut(&Event<'_>) -> Result<(), ClientError>,
        mut idle: impl FnMut(&mut Self) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        const ACTION: &str = "follow the job";
        let mut next: u32 = 0;
        let mut silent_asks = 0;
        let mut heard = self.link.now();
        (self.nothing_new, self.unanswered) = (None, false);
        loop {
            idle(self)?;
            let asked = self.link.now();
            if let Some(quiet) = slow.quiet.filter(|quiet| asked >= heard + quiet.limit) {
                return Err(self.no_progress(ACTION, heard, quiet));
            }
            if asked >= deadline {
                return Err(self.silent_since(ACTION, heard));
            }
            let end = slow.quiet.map_or(deadline, |quiet| deadline.min(heard + quiet.limit));
            let seq = self.post_next(ACTION, &Request::Pull { job, from: next, credit: self.credit })?;
            let batch = self.take_batch(job, seq, asked, end, &mut next, &mut take)?;
            self.unanswered = matches!(batch, Batch::Silent);
            match batch {
                Batch::Done => return Ok(()),
                Batch::More => (silent_asks, heard) = (0, self.link.now()),
                Batch::Idle => {
                    (silent_asks, heard) = (0, self.link.now());
                    // The job is at work: asking again at once would only keep the unit busy with answering.
                    self.link.rest(Duration::from_millis(2));
                }
                Batch::Silent if silent_asks + 1 < self.patience.asks => silent_asks += 1,
                Batch::Silent if (slow.at_work)() => silent_asks = 0,
                Batch::Silent => return Err(self.silent_since(ACTION, heard)),
            }
        }
    }

    /// Takes the answers to one pull. When all have come that were asked for, what the device says behind them is not waited for: the
    /// next are asked for while that is still on its way, so that a slow line does not stand idle.
    fn take_batch(
        &mut self,
        job: u32,
        seq: u32,
        asked: Instant,
        end: Instant,
        next: &mut u32,
        take: &mut impl FnMut(&Event<'_>) -> Result<(), ClientError>,
    ) -> Result<Batch, ClientError> {
        const ACTION: &str = "follow the job";
        let mut deadline = (self.link.now() + self.patience.answer).min(end);
        let first = *next;
        while let Some(payload) = self.wait(ACTION, deadline)? {
            let Some((_, reply)) = self.ours(&payload, seq) else { continue };
            // On a slow line all of them may take longer than one.
            deadline = (self.link.now() + self.patience.answer).min(end);
            match reply {
                // An event that was taken already, or one behind a gap, is not taken: the next pull asks for what is missing.
                Reply::Event { job: of, index, event } if of == job && index == *next => {
                    take(&event)?;
                    *next += 1;
                    if *next - first >= u32::from(self.credit) {
                        return Ok(Batch::More);
                    }
                }
                Reply::Event { .. } => {}
                Reply::Pending { job: of, next: theirs } if of == job => {
                    // Fewer than the credit allowed: there were no more, if none was lost on the way.
                    if theirs == *next && theirs.saturating_sub(first) < u32::from(self.credit) {
                        self.nothing_new = Some(asked);
                    }
                    return Ok(if *next > first { Batch::More } else { Batch::Idle });
                }
                Reply::Done { job: of, events } if of == job && events == *next => return Ok(Batch::Done),
                Reply::Done { job: of, .. } if of == job => return Ok(Batch::More),
                Reply::Refused(r) => {
                    return Err(ClientError::Refused {
                        action: ACTION,
                        code: r.code,
                        detail: r.detail.into(),
                        number: r.number,
                    });
                }
                other => {
                    return Err(ClientError::Unexpected { action: ACTION, expected: "events", found: short(&other) });
                }
            }
        }
        Ok(Batch::Silent)
    }

    fn post(
        &mut self,
        action: &'static str,
        seq: u32,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<(), ClientError> {
        let header = Header { session: self.session, seq };
        let payload = encode_request(header, request, &mut self.scratch).map_err(|_| ClientError::Unexpected {
            action,
            expected: "a request that fits the agent's largest frame",
            found: short(request),
        })?;
        self.link.send(payload, deadline).map_err(|source| ClientError::Link { action, source })
    }

    fn wait(&mut self, action: &'static str, deadline: Instant) -> Result<Option<Vec<u8>>, ClientError> {
        const SLICE: Duration = Duration::from_millis(100);
        loop {
            if (self.interrupted)() {
                return Err(ClientError::Interrupted);
            }
            let slice = deadline.min(self.link.now() + SLICE);
            let found = self.link.receive(slice).map_err(|source| ClientError::Link { action, source })?;
            if found.is_some() || self.link.now() >= deadline {
                return Ok(found);
            }
        }
    }

    fn ours<'p>(&self, payload: &'p [u8], seq: u32) -> Option<(Header, Reply<'p>)> {
        decode_reply(payload).ok().filter(|(header, _)| header.session == self.session && header.seq == seq)
    }

    /// The error for a unit that was asked as often as the patience allows.
    pub(crate) fn silent(&self, action: &'static str) -> ClientError {
        let waited_s = (self.patience.answer * self.patience.asks).as_secs();
        ClientError::Silent { action, waited_s, asked: self.patience.asks }
    }

    /// The same for one that its watchdog will start anew.
    fn no_progress(&self, action: &'static str, heard: Instant, quiet: Quiet) -> ClientError {
        let waited_s = self.link.now().saturating_duration_since(heard).as_secs();
        let (limit_s, watchdog_s) = (quiet.limit.as_secs(), quiet.watchdog.as_secs());
        ClientError::NoProgress { action, waited_s, limit_s, watchdog_s }
    }

    /// The same for a unit that was heard before.
    fn silent_since(&self, action: &'static str, heard: Instant) -> ClientError {
        let waited_s = self.link.now().saturating_duration_since(heard).as_secs();
        ClientError::Silent { action, waited_s, asked: self.patience.asks }
    }
}

/// Events per pull at this rate.
fn credit_at(rate: u32) -> u16 {
    let frames = CREDIT_S * rate / 10 / BYTE_FRAME_MAX as u32;
    frames.clamp(2, u32::from(CREDIT)) as u16
}

/// Waits, unless the user has enough.
pub(crate) fn pause(time: Duration, interrupted: fn() -> bool) -> Result<(), ClientError> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if interrupted() {
            return Err(ClientError::Interrupted);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

enum Batch {
    /// The job has ended and everything was taken.
    Done,
    /// Something was taken, or is still to be asked for.
    More,
    /// There is nothing yet.
    Idle,
    /// No answer came.
    Silent,
}

fn answer<T>(
    action: &'static str,
    reply: &Reply<'_>,
    read: impl Fn(&Reply<'_>) -> Option<T>,
) -> Result<T, ClientError> {
    match (read(reply), reply) {
        (Some(value), _) => Ok(value),
        (None, Reply::Refused(r)) => {
            Err(ClientError::Refused { action, code: r.code, detail: r.detail.into(), number: r.number })
        }
        (None, Reply::Held { holder, epoch, remaining_ms }) => Err(ClientError::Held {
            holder: (*holder).into(),
            epoch: *epoch,
            remaining_s: u64::from(*remaining_ms).div_ceil(1000),
        }),
        (None, other) => Err(ClientError::Unexpected { action, expected: "its own answer", found: short(other) }),
    }
}

fn short(message: &impl std::fmt::Debug) -> String {
    let text = format!("{message:?}");
    text.chars().take(120).collect()
}
