//! A debug probe for boards in QEMU.
