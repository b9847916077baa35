//! Who we are, as the kernel sees it.

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

/// Start time of a process in clock ticks since boot; None when there is no such process
/// (or no /proc). With the pid it names one process and no later one.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything: count from its end.
    let after_name = stat.rsplit_once(") ")?.1;
    after_name.split(' ').nth(19)?.parse().ok()
}

/// Inode of this process's pid namespace; 0 when /proc does not say.
#[must_use]
pub fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino())
}

/// Ends this process as SIGKILL does: at once, nothing runs any more.
pub fn kill_self() -> ! {
    let me = pid() as i32;
    // SAFETY: signalling ourselves has no memory effects; the process ends here.
    unsafe { libc::kill(me, libc::SIGKILL) };
    unreachable!("SIGKILL cannot be survived")
}
