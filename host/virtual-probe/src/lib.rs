//! A debug probe for boards in QEMU, as probe-rs sees one.
//!
//! probe-rs speaks to a chip through the registers of its debug access port. This crate answers as those registers in front of QEMU's gdb
//! stub, so that everything above them is probe-rs' own and the same as on a desk: attach, the flash algorithm that runs on the core,
//! verify, reset, halt, breakpoints, memory, RTT.
//!
//! It connects to a stub that somebody else started (`-chardev socket,id=g,path=SOCKET,server=on,wait=off -gdb chardev:g`; over TCP with
//! `nodelay=on`, or every answer takes 40 ms) and starts no QEMU. It never sleeps: every wait is for an answer and has a deadline. A
//! machine that ran when the probe came runs on when attaching is done, and a machine runs on when the probe goes.
//!
//! What it is not: QEMU's cores have no debug block, so DHCSR and its neighbours are this crate's, and a `BKPT` instruction stops the core
//! only where a called routine returns to one (that is how flash algorithms end). The stub shows no PSP, CONTROL or floating-point registers.

mod chip;
mod core_debug;
mod dap;
mod machine;
mod packet;
mod probe;
mod stub;

pub use chip::{CHIPS, FAMILY};
pub use probe::open;
pub use stub::{Action, StubAddress, StubError};
