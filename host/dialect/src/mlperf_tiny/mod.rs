//! The host side of the MLPerf Tiny text protocol (EEMBC monitor 2.2.0), performance and accuracy mode.
//!
//! ```text
//! host    name%                      one space between words, `%` ends a command, never a CR or LF, at most 80 characters
//! device  m-name-dut-[vendor]\r\n    m- is a message, e- an error
//!         m-ready\r\n                ends every answer, errors included
//! ```
//!
//! A session is [`MlperfTiny::connect`], [`MlperfTiny::identify`], then per sample [`MlperfTiny::load`] and [`MlperfTiny::infer`]:
//!
//! ```
//! # use boardproof_dialect::{Bytes, mlperf_tiny::{Fault, MlperfTiny, Options}};
//! # fn measure(line: impl Bytes, samples: &[Vec<u8>]) -> Result<(), Fault> {
//! let mut device = MlperfTiny::connect(line, Options::default())?;
//! println!("{:?}", device.identify()?);
//! for sample in samples {
//!     device.load(sample)?;
//!     let inference = device.infer(1, 0)?;
//!     println!("{:?} {:?}", inference.outputs, inference.latency);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What can be believed
//! The protocol has no checksum. An answer counts when all its lines came, in order and well-formed, and nothing else that looks like
//! a message came between; a device that restarted says so in its banner, and the sample it lost is not forgotten: `infer` refuses
//! until the next `load`. What a flipped digit changes can only be found by asking twice: results are read twice unless
//! [`Options::confirm_results`] says no, a sample is read back if [`Options::confirm_sample`] says so. Outputs have three decimals in the
//! reference firmware: tolerances below 0.001 are below what the protocol carries.
//!
//! # What is left out
//! Energy mode (a pin and an IO manager tell the time there: `identify` refuses it), and `start`/`stop` of the streaming benchmark.

mod driver;
mod fault;
mod line;
mod reply;

pub use driver::{Identity, Inference, Latency, MlperfTiny, Options, Patience, Stamp, elapsed_us};
pub use fault::Fault;

/// Characters of a command, without its `%`; the device loses what comes after.
pub const COMMAND_MAX: usize = 80;
/// Bytes that fit into one `db`.
pub const BYTES_PER_COMMAND_MAX: usize = (COMMAND_MAX - "db ".len()) / 2;
/// Bytes per `db` of the public runner.
pub const BYTES_PER_COMMAND: usize = 31;

const _: () = assert!(BYTES_PER_COMMAND_MAX == 38);
