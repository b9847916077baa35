//! Who we are, as the kernel sees it.

use crate::procfs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

pub use crate::procfs::TICK_NS;

/// This process's id in its own pid namespace.
#[must_use]
pub fn pid() -> u32 {
    std::process::id()
}

/// A number that no two live threads of this process share: the value of `pthread_self`.
#[must_use]
#[inline]
pub fn thread() -> u64 {
    // SAFETY: pthread_self has no preconditions and cannot fail.
    unsafe { libc::pthread_self() }
}

/// Start of a process in nanoseconds since boot, to a clock tick; None when there is no such
/// process (or no /proc).
#[must_use]
pub fn started_at(pid: u32) -> Option<u64> {
    procfs::status(pid).map(|status| status.started.saturating_mul(TICK_NS))
}

/// Our parent, its parent and so on, as far as this pid namespace and /proc tell.
#[must_use]
pub fn ancestors() -> Vec<u32> {
    // SAFETY: getppid has no preconditions and cannot fail.
    let parent = unsafe { libc::getppid() } as u32;
    std::iter::successors(Some(parent), |pid| {
        procfs::status(*pid).map(|status| status.parent)
    })
    .take_while(|pid| *pid != 0)
    .collect()
}

/// Whether there is a process of that number, perhaps a zombie, perhaps another one than before.
#[must_use]
pub fn exists(pid: u32) -> bool {
    // SAFETY: signal 0 asks only.
    let rc = unsafe { libc::kill(pid as i32, 0) };
    rc == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Inode of this process's pid namespace; 0 when /proc does not say.
///
/// It never changes during a process's life, and a forked child is in its parent's unless it
/// cannot see its parent: so /proc is read once in a family.
#[must_use]
pub fn pid_namespace() -> u64 {
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    static KNOWN_BY: AtomicU32 = AtomicU32::new(0);
    let (known, me) = (KNOWN.load(Relaxed), pid());
    // SAFETY: getppid has no preconditions and cannot fail.
    if known != 0 && (KNOWN_BY.load(Relaxed) == me || unsafe { libc::getppid() } != 0) {
        return known;
    }
    let found = std::fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino());
    KNOWN.store(found, Relaxed);
    KNOWN_BY.store(me, Relaxed);
    found
}

/// Ends this process as SIGKILL does: at once, nothing runs any more.
pub fn kill_self() -> ! {
    let me = pid() as i32;
    // SAFETY: signalling ourselves has no memory effects; the process ends here.
    unsafe { libc::kill(me, libc::SIGKILL) };
    unreachable!("SIGKILL cannot be survived")
}
