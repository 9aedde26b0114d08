//! Messages as bytes, field by field, in the coding that postcard has: numbers in seven bits per byte, lengths before texts and bytes, the
//! number of a variant before what it holds.
//!
//! Written by hand because a microcontroller pays for every byte of it: with postcard behind serde, protocol and link take twice the flash.
//! The tables below repeat the order of fields and variants in [`crate::message`]; the golden bytes, and a test that holds every message and all
//! that is nearly one against postcard, say when they differ. A reader never fails at once: what is wrong is remembered, the rest reads as
//! zeros, and the end says so.

use crate::message::{
    Acquire, Begin, CannotRun, Chunk, Coding, DeviceHello, Digest, Dtype, Ended, Event, HostHello, Key, Operator,
    Output, Part, Pass, Phase, RANK_MAX, RefusalCode, Refused, Reply, Request, Run, SelfCheck, Stage, Stream, TextKey,
};

/// Where bytes go. What has no room is dropped, and [`Writer::end`] says so.
pub(crate) struct Writer<'o> {
    out: &'o mut [u8],
    used: usize,
    is_full: bool,
}

impl<'o> Writer<'o> {
    pub fn new(out: &'o mut [u8]) -> Self {
        Self { out, used: 0, is_full: false }
    }

    /// Bytes written; `None` when they had no room.
    pub fn end(self) -> Option<usize> {
        if self.is_full { None } else { Some(self.used) }
    }

    #[inline(never)]
    fn raw(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.used..).and_then(|rest| rest.get_mut(..bytes.len())) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.used += bytes.len();
            }
            None => self.is_full = true,
        }
    }

    #[inline(never)]
    fn number(&mut self, mut number: u64) {
        loop {
            let low = number as u8 & 0x7f;
            number >>= 7;
            let more = if number > 0 { 0x80 } else { 0 };
            self.raw(&[low | more]);
            if number == 0 {
                return;
            }
        }
    }

    #[inline(never)]
    fn small(&mut self, number: u32) {
        self.number(number.into());
    }

    #[inline(never)]
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }
}

/// Where bytes come from.
pub(crate) struct Reader<'b> {
    bytes: &'b [u8],
    is_bad: bool,
}

impl<'b> Reader<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, is_bad: false }
    }

    /// Was everything there, and nothing besides?
    pub fn is_whole(&self) -> bool {
        !self.is_bad && self.bytes.is_empty()
    }

    fn fail(&mut self) {
        (self.bytes, self.is_bad) = (&[], true);
    }

    #[inline(never)]
    fn raw(&mut self, count: usize) -> &'b [u8] {
        match self.bytes.split_at_checked(count) {
            Some((taken, rest)) => {
                self.bytes = rest;
                taken
            }
            None => {
                self.fail();
                &[]
            }
        }
    }

    /// A number of so many bits, in as many bytes as its largest needs at most.
    #[inline(never)]
    fn number(&mut self, bits: u32) -> u64 {
        let (mut number, mut shift) = (0, 0);
        while shift < bits {
            let [byte] = *self.raw(1) else { return 0 };
            let room = bits - shift;
            if room < 7 && byte >> room != 0 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
        self.fail();
        0
    }

    #[inline(never)]
    fn small(&mut self) -> u32 {
        self.number(32) as u32
    }

    #[inline(never)]
    fn bytes(&mut self) -> &'b [u8] {
        match usize::try_from(self.number(64)) {
            Ok(count) => self.raw(count),
            Err(_) => self.raw(usize::MAX),
        }
    }

    #[inline(never)]
    fn text(&mut self) -> &'b str {
        core::str::from_utf8(self.bytes()).unwrap_or_else(|_| {
            self.fail();
            ""
        })
    }
}

/// What is written.
pub(crate) trait Put {
    fn put(&self, out: &mut Writer<'_>);
}

/// What is read; `'b` is the payload that it borrows from.
pub(crate) trait Take<'b>: Sized {
    fn take(from: &mut Reader<'b>) -> Self;
}

macro_rules! numbers {
    ($($number:ty: $self:ident => $put:expr, $from:ident => $take:expr;)*) => {$(
        impl Put for $number {
            fn put(&$self, out: &mut Writer<'_>) {
                let put: fn(&mut Writer<'_>, &Self) = $put;
                put(out, $self);
            }
        }

        impl<'b> Take<'b> for $number {
            fn take($from: &mut Reader<'b>) -> Self {
                $take
            }
        }
    )*};
}

numbers! {
    u16: self => |out, x| out.small((*x).into()), from => from.number(16) as u16;
    u32: self => |out, x| out.small(*x), from => from.small();
    u64: self => |out, x| out.number(*x), from => from.number(64);
    // Zigzag: small negative numbers are small.
    i32: self => |out, x| out.small(((*x << 1) ^ (*x >> 31)) as u32), from => {
        let x = from.small();
        (x >> 1) as i32 ^ -((x & 1) as i32)
    };
    // One byte as it is.
    u8: self => |out, x| out.raw(&[*x]), from => from.raw(1).first().copied().unwrap_or(0);
    bool: self => |out, x| out.raw(&[u8::from(*x)]), from => {
        let x = u8::take(from);
        if x > 1 {
            from.fail();
        }
        x == 1
    };
    f64: self => |out, x| out.raw(&x.to_le_bytes()), from => f64::from_le_bytes(array(from));
    Digest: self => |out, x| out.raw(&x.0), from => Digest(array(from));
    [u64; RANK_MAX]: self => |out, x| x.iter().for_each(|x| out.number(*x)), from => core::array::from_fn(|_| from.number(64));
}

fn array<const N: usize>(from: &mut Reader<'_>) -> [u8; N] {
    from.raw(N).try_into().unwrap_or([0; N])
}

impl Put for &str {
    fn put(&self, out: &mut Writer<'_>) {
        out.bytes(self.as_bytes());
    }
}

impl<'b> Take<'b> for &'b str {
    fn take(from: &mut Reader<'b>) -> Self {
        from.text()
    }
}

impl Put for &[u8] {
    fn put(&self, out: &mut Writer<'_>) {
        out.bytes(self);
    }
}

impl<'b> Take<'b> for &'b [u8] {
    fn take(from: &mut Reader<'b>) -> Self {
        from.bytes()
    }
}

/// Enums without fields: all variants, in order.
macro_rules! names {
    ($($name:ident { $($variant:ident),* })*) => {$(
        impl Put for $name {
            fn put(&self, out: &mut Writer<'_>) {
                // A variant that the table lacks does not compile.
                match self {
                    $(Self::$variant)|* => out.small(*self as u32),
                }
            }
        }

        impl<'b> Take<'b> for $name {
            fn take(from: &mut Reader<'b>) -> Self {
                const ALL: &[$name] = &[$($name::$variant),*];
                ALL.get(from.small() as usize).copied().unwrap_or_else(|| {
                    from.fail();
                    ALL[0]
                })
            }
        }
    )*};
}

names! {
    Coding { Plain, Zstd, ZstdArm64 }
    Pass { Inspect, Accuracy, Latency, Memory }
    RefusalCode {
        Version, NoSession, NotHolder, Offset, DigestMismatch, NoSpace, Limit, MissingBlob, UnknownJob, Busy, UnknownEngine, Malformed, Device
    }
    Phase { Started, Loading, Warming, Measuring }
    Key {
        LoadNs, FirstInferenceNs, TimerOverheadNs, TimerStepNs, RssStartBytes, RssAfterLoadBytes, RssAfterFirstBytes, RssPeakBytes,
        AllocPeakBytes, MinorFaults, MajorFaults, InstructionsMilli, CyclesMilli, MeasuredWallNs, CpuCount, CpuFrequencyHz, CpuFrequencyMaxHz,
        TemperatureMilliC, ThrottleCount, LoadMilli, MemoryTotalBytes, MemoryAvailableBytes, PinnedCore, WallClockUnixS, UptimeMs, RunnerBytes,
        AgentBytes, AgentRssBytes, PassWallNs, FlashBytes, StaticRamBytes, ArenaPeakBytes, ArenaBytes, StackPeakBytes, StackBytes, ModelBytes,
        LinkOverruns, TicksHistogram, OperatorNs, OperatorOutBytes, OperatorMacs, PeakF32MacPerS, PeakI8MacPerS, PeakReadBytesPerS,
        WarmupWallNs, GpuToDeviceNs, GpuComputeNs, GpuToHostNs, GpuOnCpuNs, GpuEnqueueNs,
        GpuTotalBytes, GpuUsedStartBytes, GpuUsedAfterLoadBytes, GpuUsedAfterFirstBytes, GpuUsedEndBytes, GpuPoolPeakBytes,
        GpuClockHz, GpuClockMaxHz, GpuMemoryClockHz, GpuPowerMilliW, GpuPowerLimitMilliW, GpuTemperatureMilliC, GpuUtilizationMilli, GpuOtherProcesses,
        WatchdogMs
    }
    TextKey {
        Engine, CpuModel, CpuFeatures, Governor, ThermalZone, Kernel, Libc, Board, Os, Stderr, RunnerBuild, ClockSource, ResetReason, CrashRecord,
        GpuName, GpuDriver, GpuThrottle
    }
    Dtype { F32, F16, Bf16, F64, I8, U8, I16, U16, I32, U32, I64, U64, Bool }
    Stage { Parse, Type, Optimize, Prepare, Run, Evalset }
}

/// Structs: all fields, in order.
macro_rules! fields {
    ($($name:ident $(<$life:lifetime>)? { $($field:ident),* })*) => {$(
        impl $(<$life>)? Put for $name $(<$life>)? {
            fn put(&self, out: &mut Writer<'_>) {
                $(self.$field.put(out);)*
            }
        }

        fields!(@take $name $(<$life>)? { $($field),* });
    )*};
    (@take $name:ident { $($field:ident),* }) => {
        impl<'b> Take<'b> for $name {
            fn take(from: &mut Reader<'b>) -> Self {
                Self { $($field: Take::take(from)),* }
            }
        }
    };
    (@take $name:ident<$life:lifetime> { $($field:ident),* }) => {
        impl<$life> Take<$life> for $name<$life> {
            fn take(from: &mut Reader<$life>) -> Self {
                Self { $($field: Take::take(from)),* }
            }
        }
    };
}

fields! {
    HostHello<'a> { version_min, version_max, schema, build, frame_max }
    DeviceHello<'a> {
        version, schema, build, architecture, system, identity, tick_hz, memory_bytes, store_free_bytes, engines, frame_max, chunk_window, boot
    }
    Acquire<'a> { epoch, holder, ttl_ms }
    Begin { epoch, digest, size, coded_size, coding, program }
    Chunk<'a> { epoch, digest, offset, bytes }
    Part<'a> { upload, offset, bytes }
    Run<'a> {
        epoch, job, runner, model, evalset, engine, pass, batch, first, count, warmup, iterations, deadline_ms, memory_limit_bytes, options
    }
    Refused<'a> { code, detail, number }
    Output<'a> { index, name, dtype, rank, dims }
    Operator<'a> { index, name, op, dtypes, kernel }
    SelfCheck<'a> { samples, agree, max_abs, sqnr_db, operator, detail }
    CannotRun<'a> { stage, operator, node, reason }
}

/// Enums with fields: all variants, in order, and what stands in the place of one that does not exist.
macro_rules! variants {
    ($($name:ident $(<$life:lifetime>)? or $other:ident {
        $($variant:ident $(($inner:ident))? $({ $($field:ident),* })?),*
    })*) => {$(
        impl $(<$life>)? Put for $name $(<$life>)? {
            fn put(&self, out: &mut Writer<'_>) {
                enum At { $($variant),* }
                match self {
                    $(Self::$variant $(($inner))? $({ $($field),* })? => {
                        out.small(At::$variant as u32);
                        $($inner.put(out);)?
                        $($($field.put(out);)*)?
                    })*
                }
            }
        }

        variants!(@take $name $(<$life>)? or $other { $($variant $(($inner))? $({ $($field),* })?),* });
    )*};
    (@take $name:ident or $($rest:tt)*) => {
        impl<'b> Take<'b> for $name {
            variants!(@body 'b $($rest)*);
        }
    };
    (@take $name:ident<$life:lifetime> or $($rest:tt)*) => {
        impl<$life> Take<$life> for $name<$life> {
            variants!(@body $life $($rest)*);
        }
    };
    (@body $life:lifetime $other:ident { $($variant:ident $(($inner:ident))? $({ $($field:ident),* })?),* }) => {
        fn take(from: &mut Reader<$life>) -> Self {
            enum At { $($variant),* }
            match from.small() {
                $(number if number == At::$variant as u32 => {
                    Self::$variant $(({ let $inner = Take::take(from); $inner }))? $({ $($field: Take::take(from)),* })?
                })*
                _ => {
                    from.fail();
                    Self::$other
                }
            }
        }
    };
}

variants! {
    Request<'a> or Bye {
        Hello(hello), Acquire(wish), Release { epoch }, Stat { digest }, Begin(begin), Chunk(chunk), Finish { epoch, digest }, Run(run),
        Environment { job }, Pull { job, from, credit }, Cancel { job }, Clean { epoch }, Bye, Part(part), Place { epoch, digest },
        Arrived { epoch, digest, offset }, Baud { rate }
    }
    Reply<'a> or Bye {
        Hello(hello), Leased { epoch, ttl_ms }, Held { holder, epoch, remaining_ms }, Released, Stat { present, received }, Ready { offset },
        Stored { digest }, Accepted { job }, Event { job, index, event }, Pending { job, next }, Done { job, events }, Cleaned { bytes }, Bye,
        Refused(refused), Placed { address }, Baud { rate }
    }
    Ended or Completed {
        Completed, CannotRun, Exited { code }, Signalled { signal }, OutOfMemory { limit_bytes }, DeadlineExceeded { deadline_ms }, Cancelled,
        NotStarted
    }
    Stream or Ticks { Output(index), Ticks }
    Event<'a> or NONE {
        Phase(phase), Number { key, index, value }, Text { key, index, value }, Missing { key, reason }, Operator(operator), Output(output),
        Data { stream, offset, bytes }, Progress { done, total }, SelfCheck(check), CannotRun(found), Ended(ended)
    }
}

impl Event<'_> {
    /// What is read as no event.
    const NONE: Self = Self::Progress { done: 0, total: 0 };
}
