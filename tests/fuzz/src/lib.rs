//! Fuzz targets: one function per decoder of bytes from outside, each with what must hold besides "it does not panic".
//!
//! The same functions run in `cargo test`, over the committed corpus and seeded mutations of it, and under libFuzzer by
//! `cargo xtask fuzz`. They own no engine that makes up inputs; a target knows nothing of who feeds it.

mod bytes;
mod client;
mod files;
mod frames;
pub mod heap;
mod judgement;
mod manifests;
mod material;
mod messages;
mod mutation;
mod record;
mod session;
mod ssh;
mod upload;

pub use mutation::mutate;

/// Counts what is allocated, so that a target can be held to its bound.
#[global_allocator]
static ALLOCATOR: heap::Counting = heap::Counting;

/// A decoder under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Feeds it. True when the input was accepted; panics when something does not hold.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that are accepted, made from golden bytes and real files; those called `bad_...` are refused.
    pub seeds: fn() -> Vec<Seed>,
    /// Memory that one input may take, in bytes, whatever it says about itself.
    pub heap_bytes_max: usize,
    /// Mutations of the corpus in the tests: as many as a fraction of a second allows.
    pub mutations: u32,
}

/// A name and an input.
pub type Seed = (String, Vec<u8>);

/// Inputs longer than this are cut: what they could find, shorter ones find sooner.
pub const INPUT_BYTES_MAX: usize = 16 * 1024;

const MEBI: usize = 1 << 20;

/// Every target.
pub const TARGETS: &[Target] = &[
    target("frame_stream", frames::stream, frames::stream_seeds, MEBI, 10_000),
    target("frame_cobs", frames::cobs, frames::cobs_seeds, MEBI, 5_000),
    target("preamble", frames::preamble, frames::preamble_seeds, MEBI, 10_000),
    target("request", messages::request, messages::request_seeds, MEBI, 10_000),
    target("reply", messages::reply, messages::reply_seeds, MEBI, 10_000),
    target("event", messages::event, messages::event_seeds, MEBI, 10_000),
    target("session", session::session, session::seeds, 16 * MEBI, 1_500),
    target("client", client::client, client::seeds, 16 * MEBI, 2_000),
    target("record", record::record, record::seeds, 16 * MEBI, 800),
    target("judgement", judgement::judgement, judgement::seeds, 32 * MEBI, 300),
    target("model_toml", manifests::model, manifests::model_seeds, 16 * MEBI, 800),
    target("target_toml", manifests::target, manifests::target_seeds, 8 * MEBI, 800),
    target("policy_toml", manifests::policy, manifests::policy_seeds, 8 * MEBI, 800),
    target("inventory_toml", manifests::inventory, manifests::inventory_seeds, 8 * MEBI, 800),
    target("project_toml", manifests::project, manifests::project_seeds, 8 * MEBI, 2_000),
    target("evalset", files::evalset, files::evalset_seeds, 8 * MEBI, 800),
    target("elf", files::elf, files::elf_seeds, MEBI, 10_000),
    target("upload", upload::upload, upload::seeds, 32 * MEBI, 300),
    target("ssh_stderr", ssh::stderr, ssh::seeds, MEBI, 5_000),
];

const fn target(
    name: &'static str,
    run: fn(&[u8]) -> bool,
    seeds: fn() -> Vec<Seed>,
    heap_bytes_max: usize,
    mutations: u32,
) -> Target {
    Target { name, run, seeds, heap_bytes_max, mutations }
}

impl Target {
    /// The target with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Feeds the target and holds it to its memory. Returns whether the input was accepted.
    pub fn feed(&self, input: &[u8]) -> bool {
        let input = &input[..input.len().min(INPUT_BYTES_MAX)];
        let before = heap::start();
        let accepted = (self.run)(input);
        let peak = heap::peak_since(before);
        assert!(
            peak <= self.heap_bytes_max,
            "{} took {peak} bytes of memory, at most {}",
            self.name,
            self.heap_bytes_max
        );
        accepted
    }
}
