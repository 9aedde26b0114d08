//! The session: from a payload that came in to the payloads that go out. No clock, no link, no allocation.

use crate::device::{Device, Lease, Refusal, Step};
use boardproof_protocol::frame::{DecodeError, Header, decode_request, encode_reply};
use boardproof_protocol::{
    DeviceHello, HostHello, Part, RefusalCode, Refused, Reply, Request, SCHEMA, VERSION_CURRENT, VERSION_MIN,
};

/// What the link should do after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Continue,
    /// The host said goodbye.
    Close,
}

/// The state of one link. A device that is reset starts with a fresh one.
#[derive(Debug, Default)]
pub struct Session {
    /// Session that was opened, and the largest frame its host takes.
    open: Option<(u32, usize)>,
}

/// Where answers go: a scratch buffer and the link behind it.
struct Answer<'a> {
    header: Header,
    scratch: &'a mut [u8],
    send: &'a mut dyn FnMut(&[u8]),
}

impl Answer<'_> {
    fn reply(&mut self, reply: &Reply<'_>) {
        // A reply that does not fit the host's frame is replaced by a refusal that always does: silence would look like a dead device.
        match encode_reply(self.header, reply, self.scratch) {
            Ok(payload) => (self.send)(payload),
            Err(_) => self.refuse(
                RefusalCode::Limit,
                "the answer does not fit the host's largest frame",
                self.scratch.len() as u64,
            ),
        }
    }

    fn refuse(&mut self, code: RefusalCode, detail: &str, number: u64) {
        let refused = Reply::Refused(Refused { code, detail, number });
        if let Ok(payload) = encode_reply(self.header, &refused, self.scratch) {
            (self.send)(payload);
        }
    }

    fn refusal(&mut self, refusal: Refusal<'_>) {
        self.refuse(refusal.code, refusal.detail, refusal.number);
    }
}

/// Smallest frame a host may offer: every fixed-size answer fits.
const HOST_FRAME_MIN: usize = 256;

impl Session {
    /// Handles one payload. `scratch` is where answers are built; its length is the largest answer. Payloads that are damaged are
    /// dropped in silence: the host asks again.
    pub fn handle<D: Device>(
        &mut self,
        device: &mut D,
        payload: &[u8],
        scratch: &mut [u8],
        send: &mut dyn FnMut(&[u8]),
    ) -> Next {
        let (header, request) = match decode_request(payload) {
            Ok(decoded) => decoded,
            Err(DecodeError::Malformed(header)) => {
                Answer { header, scratch, send }.refuse(
                    RefusalCode::Malformed,
                    "no request of this version",
                    u64::from(VERSION_CURRENT),
                );
                return Next::Continue;
            }
            Err(DecodeError::Short | DecodeError::Crc) => return Next::Continue,
        };
        if let Request::Hello(hello) = request {
            self.hello(device, hello, Answer { header, scratch, send });
            return Next::Continue;
        }
        let limit = match self.open {
            Some((session, limit)) if session == header.session => limit.min(scratch.len()),
            _ => {
                Answer { header, scratch, send }.refuse(RefusalCode::NoSession, "say Hello first", 0);
                return Next::Continue;
            }
        };
        let mut answer = Answer { header, scratch: &mut scratch[..limit], send };
        if let Request::Bye = request {
            device.reset_session();
            self.open = None;
            answer.reply(&Reply::Bye);
            return Next::Close;
        }
        if let Request::Part(part) = request {
            take_part(device, &part, &mut answer);
            return Next::Continue;
        }
        if let Some(epoch) = written_by(&request)
            && !device.holds(epoch)
        {
            answer.refuse(RefusalCode::NotHolder, NOT_HELD, epoch);
            return Next::Continue;
        }
        act(device, request, &mut answer);
        Next::Continue
    }

    fn hello<D: Device>(&mut self, device: &mut D, hello: HostHello<'_>, mut answer: Answer<'_>) {
        let version = hello.version_max.min(VERSION_CURRENT);
        if version < hello.version_min || version < VERSION_MIN {
            answer.refuse(
                RefusalCode::Version,
                "no common version: the number is the newest that this device speaks",
                u64::from(VERSION_CURRENT),
            );
            return;
        }
        let limit = (hello.frame_max as usize).min(answer.scratch.len());
        if limit < HOST_FRAME_MIN {
            answer.refuse(RefusalCode::Limit, "the host's largest frame is too small", HOST_FRAME_MIN as u64);
            return;
        }
        // Hello repeated by a host that saw no answer must not cancel what the session has started since.
        if self.open.map(|(session, _)| session) != Some(answer.header.session) {
            device.reset_session();
        }
        self.open = Some((answer.header.session, limit));
        let reply = DeviceHello { version, schema: SCHEMA, ..device.hello() };
        answer.reply(&Reply::Hello(reply));
    }
}

const NOT_HELD: &str = "the lease is not held by this epoch";

/// A part belongs to an upload, and that to an epoch.
fn take_part<D: Device>(device: &mut D, part: &Part<'_>, answer: &mut Answer<'_>) {
    let Some((epoch, digest)) = device.upload(part.upload) else {
        return answer.refuse(RefusalCode::Offset, "begin the upload first", 0);
    };
    if !device.holds(epoch) {
        return answer.refuse(RefusalCode::NotHolder, NOT_HELD, epoch);
    }
    match device.part(epoch, digest, part) {
        Ok(offset) => answer.reply(&Reply::Ready { offset }),
        Err(refusal) => answer.refusal(refusal),
    }
}

/// The epoch that a request writes under; reading needs none.
fn written_by(request: &Request<'_>) -> Option<u64> {
    match request {
        Request::Begin(begin) => Some(begin.epoch),
        Request::Chunk(chunk) => Some(chunk.epoch),
        Request::Run(run) => Some(run.epoch),
        Request::Finish { epoch, .. }
        | Request::Clean { epoch }
        | Request::Place { epoch, .. }
        | Request::Arrived { epoch, .. } => Some(*epoch),
        // It names no epoch: the one of its upload is looked up.
        Request::Part(_) => None,
        Request::Hello(_)
        | Request::Acquire(_)
        | Request::Release { .. }
        | Request::Stat { .. }
        | Request::Environment { .. }
        | Request::Pull { .. }
        | Request::Cancel { .. }
        | Request::Baud { .. }
        | Request::Bye => None,
    }
}

fn act<D: Device>(device: &mut D, request: Request<'_>, answer: &mut Answer<'_>) {
    let reply = match request {
        Request::Acquire(wish) => device.acquire(&wish).map(|lease| match lease {
            Lease::Leased { epoch, ttl_ms } => Reply::Leased { epoch, ttl_ms },
            Lease::Held { holder, epoch, remaining_ms } => Reply::Held { holder, epoch, remaining_ms },
        }),
        Request::Release { epoch } => device.release(epoch).map(|()| Reply::Released),
        Request::Stat { digest } => {
            device.stat(digest).map(|s| Reply::Stat { present: s.present, received: s.received })
        }
        Request::Begin(begin) => device.begin(&begin).map(|offset| Reply::Ready { offset }),
        Request::Chunk(chunk) => device.chunk(&chunk).map(|offset| Reply::Ready { offset }),
        Request::Finish { digest, .. } => device.finish(digest).map(|()| Reply::Stored { digest }),
        Request::Run(run) => device.run(&run).map(|()| Reply::Accepted { job: run.job }),
        Request::Environment { job } => device.environment(job).map(|()| Reply::Accepted { job }),
        Request::Cancel { job } => device.cancel(job).map(|()| Reply::Accepted { job }),
        Request::Clean { .. } => device.clean().map(|bytes| Reply::Cleaned { bytes }),
        Request::Place { digest, .. } => device.place(digest).map(|address| Reply::Placed { address }),
        Request::Arrived { digest, offset, .. } => device.arrived(digest, offset).map(|offset| Reply::Ready { offset }),
        Request::Baud { rate } => device.baud(rate).map(|rate| Reply::Baud { rate }),
        Request::Pull { job, from, credit } => return pull(device, job, from, credit, answer),
        // Handled before a device is asked.
        Request::Hello(_) | Request::Bye | Request::Part(_) => return,
    };
    match reply {
        Ok(reply) => answer.reply(&reply),
        Err(refusal) => answer.refusal(refusal),
    }
}

/// Sends up to `credit` events, then says how things stand. The host knows from the last answer whether to ask again.
fn pull<D: Device>(device: &mut D, job: u32, from: u32, credit: u16, answer: &mut Answer<'_>) {
    device.acknowledged(job, from);
    let mut index = from;
    for _ in 0..credit {
        match device.event(job, index) {
            Step::Event(event) => answer.reply(&Reply::Event { job, index, event }),
            Step::Pending => break,
            Step::Done { events } => return answer.reply(&Reply::Done { job, events }),
            Step::Unknown => return answer.refuse(RefusalCode::UnknownJob, "no such job or event", u64::from(job)),
        }
        index = index.saturating_add(1);
    }
    answer.reply(&Reply::Pending { job, next: index });
}
