//! What every Cortex-M has: clock, stack, faults, and the main loop. A chip adds its line, its watchdog and its memory map.
//!
//! The memory map of a chip (`memory.x`) has the regions FLASH and RAM, as large as a product of its kind has them, and says where blobs go:
//! `_store_start` and `_store_end`; how much stack there is: `_stack_end`; and the product's budget: `_budget_flash` and `_budget_ram`. The
//! arena is what the RAM has left between the program's variables and the stack.
#![expect(unsafe_code, reason = "registers, and memory that only the linker knows")]

mod board;
mod clock;
mod fault;
mod memory;
pub mod rtt;

pub use board::{Board, Chip};
pub use clock::Timer;
pub use fault::record_watchdog;
pub use memory::take_memory;

/// Reads a register.
///
/// # Safety
/// The address is that of a register, or memory, of this chip, and reading it does no harm.
#[inline(always)]
pub unsafe fn read(address: usize) -> u32 {
    // SAFETY: the caller's.
    unsafe { core::ptr::with_exposed_provenance::<u32>(address).read_volatile() }
}

/// Writes a register.
///
/// # Safety
/// The address is that of a register of this chip, and what the value does there does no harm to memory that is in use.
#[inline(always)]
pub unsafe fn write(address: usize, value: u32) {
    // SAFETY: the caller's.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(value) }
}

/// Makes the program of a board: its statics, its receive interrupt and its main loop.
///
/// `$chip` is a [`Chip`], `$engine` an expression of a type that is an [`crate::Engine`].
#[macro_export]
macro_rules! firmware {
    ($chip:ty, $engine_type:ty, $engine:expr) => {
        static FIRMWARE_RECEIVER: $crate::Ring<{ $crate::cortex::RECEIVER_BYTES }> = $crate::Ring::new();

        #[::cortex_m_rt::exception]
        unsafe fn DefaultHandler(number: i16) {
            if number == <$chip as $crate::cortex::Chip>::RECEIVE_INTERRUPT {
                <$chip as $crate::cortex::Chip>::receive(&mut |byte| FIRMWARE_RECEIVER.push(byte), &mut |lost| FIRMWARE_RECEIVER.count_lost(lost));
            }
        }

        /// In a frame of its own: what is only needed to make things takes no stack later.
        #[inline(never)]
        fn set_up() -> (&'static mut $crate::Agent<'static, $crate::cortex::Board<$chip>, $engine_type>, $crate::Line<'static>) {
            use $crate::cortex::{Board, RECEIVER_BYTES, take_memory};
            let events = ::cortex_m::singleton!(: [u8; $crate::EVENTS_BYTES] = [0; $crate::EVENTS_BYTES]);
            let frames = ::cortex_m::singleton!(: $crate::Frames = $crate::Frames::new());
            let (Some(events), Some(frames), Some((arena, store))) = (events, frames, take_memory()) else { panic!() };
            let memory = $crate::Memory { arena, store, events, receiver: RECEIVER_BYTES };
            let agent = ::cortex_m::singleton!(: $crate::Agent<'static, Board<$chip>, $engine_type> =
                $crate::Agent::new(Board::start(|| FIRMWARE_RECEIVER.lost()), $engine, memory));
            let Some(agent) = agent else { panic!() };
            (agent, $crate::Line::new(frames))
        }

        #[::cortex_m_rt::entry]
        fn main() -> ! {
            use $crate::cortex::Chip;
            let (agent, mut line) = set_up();
            $crate::rtt_line!(rtt);
            loop {
                let heard = line.serve(&mut || FIRMWARE_RECEIVER.pop(), agent, &mut |bytes| <$chip as Chip>::send(bytes));
                if agent.watch_rate(heard) {
                    line.forget();
                }
                $crate::rtt_serve!(rtt, agent);
                <$chip as Chip>::alive();
                if !agent.work() {
                    agent.hardware().wait(|| FIRMWARE_RECEIVER.is_empty());
                }
            }
        }
    };
}

/// Bytes of the receiver's ring: three frames, and what makes its size a power of two.
pub const RECEIVER_BYTES: usize = 4096;
