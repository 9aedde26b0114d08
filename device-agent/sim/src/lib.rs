//! A simulated device: the real protocol core on an in-memory link with a seeded fault plan and a virtual clock.
