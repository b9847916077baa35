//! Named places to die at, for tests.
//!
//! `crash_point!("lock.acquired")` is nothing in an ordinary build. With the feature
//! `crash-points`, `PROCESSION_CRASH=name:count` in the environment makes the process kill
//! itself with SIGKILL when it passes that place for the count-th time.

/// Whether this build honours `PROCESSION_CRASH`.
pub const ENABLED: bool = cfg!(feature = "crash-points");

/// A named place at which a test may kill the process.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        if $crate::crash::ENABLED {
            $crate::crash::pass($name);
        }
    };
}

/// Dies if the environment asks for `name`, the count-th time.
#[cold]
pub fn pass(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    // Read each time: tests set it in a process that is already running.
    let Ok(wish) = std::env::var("PROCESSION_CRASH") else {
        return;
    };
    let (at, count) = wish.split_once(':').unwrap_or((&wish, "1"));
    if at == name && PASSED.fetch_add(1, Relaxed) + 1 == count.parse().unwrap_or(1) {
        crate::process::kill_self();
    }
}
