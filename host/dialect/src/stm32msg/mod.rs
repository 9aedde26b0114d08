//! The host side of `stm32msg` 3.1, the protocol of ST's validation firmware (X-CUBE-AI, ST Edge AI): who it is, what models it holds, and
//! runs of them, whole or layer by layer.
//!
//! ```
//! # use boardproof_dialect::{Bytes, stm32msg::{Fault, Mode, Options, Stm32Msg}};
//! # fn measure(line: impl Bytes, samples: &[Vec<u8>]) -> Result<(), Fault> {
//! let mut device = Stm32Msg::connect(line, Options::default())?;
//! let model = device.models()?.remove(0);
//! for sample in samples {
//!     let run = device.run(&model, &[sample], Mode::PerLayer)?;
//!     println!("{:?} {:?}", run.execution.duration(), run.outputs[0].values());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Transactions
//! ```text
//! SYNC, SYS_INFO, NETWORK_INFO    request ->               <- one answer, state idle
//! NETWORK_RUN                     request ->               <- ack, waiting, bytes of the first input
//!                       per input data ->                  <- ack, waiting (processing after the last), bytes taken
//!                                 ack ->
//!        per operator, if wanted                           <- operator, processing, then its tensors, the last one marked
//!                                                          <- operator without flags: the model
//!                       per output                         <- tensor, processing (done and marked in the last)
//! ```
//! Any answer may be an ack in state error instead, which ends the transaction, and a log line may come before any, which the host
//! acknowledges.
//!
//! # What can be believed
//! There is no checksum, so a flipped bit in a tensor stays unseen. Anything that is short is seen: a request stops at the first packet that
//! is not asked for, an answer counts when every required field, every announced byte, tensor and layer came, in the state that belongs to
//! it. One gap is left: how many tensors a layer has is never said, so one that is not its last and is lost whole is not missed; outputs
//! are announced and always missed. Field numbers, constants and the order of messages are those of the public definition and of published firmware for the ST-AI C
//! interface; only the host puts a length in front of its messages. None of this has met real hardware: it is tested against [`sim`],
//! which the vendor's own Python runner takes for a board in every mode.
//!
//! # What is left out
//! Reading and writing memory, filters, self tests, direct access to memory in a simulator, firmware that speaks 2.x, and the larger packets
//! that firmware on USB goes over to after it was asked for its system.

mod driver;
mod fault;
mod messages;
mod reply;
pub mod sim;
mod tensor;
mod wire;

pub use driver::{Mode, Options, Stm32Msg};
pub use fault::{ErrorCode, Fault, State};
pub use reply::{Capabilities, Execution, Firmware, Layer, LogLine, Model, Run, Runtime, System, Toolchain};
pub use tensor::{Description, Format, Kind, Tensor};
pub use wire::{Framing, Patience};
