//! How many processors may spin, and the pause between two looks.

use std::sync::OnceLock;

/// Tells the processor that this is a spin loop (`pause`, `yield`; about 25 ns on x86-64).
#[inline]
pub fn relax() {
    std::hint::spin_loop();
}

/// Whether somebody else can run while we spin: more than one processor in our affinity mask.
#[must_use]
pub fn can_spin() -> bool {
    static MORE_THAN_ONE: OnceLock<bool> = OnceLock::new();
    *MORE_THAN_ONE.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() > 1))
}
