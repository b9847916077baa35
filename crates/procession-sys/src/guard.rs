//! The orphan guard: a process that ends when its parent has ended, whatever it is doing.
//!
//! ```text
//! kernel    a thread of the parent ends: PR_SET_PDEATHSIG sends SIGNAL
//! handler   is the parent's process still there?  yes: it was only a thread, go on
//!           no: stop our other threads, kill our children until none is left, then ourselves
//! ```
//!
//! The handler is native and needs no interpreter, so code that never gives the GIL back does
//! not delay it. It uses system calls, atomics and its stack, nothing else: a signal handler
//! may run in the middle of anything.
//!
//! Children that a zygote forked for this process are not its children for the kernel: they are
//! known by other means ([`know_kin`]), and are told to end as this process does.
//!
//! A child of the zygote has a logical parent that is not its parent for the kernel: the signal
//! comes when the zygote ends, or from the zygote when the logical parent does. A child whose
//! zygote has been killed while the logical parent lives looks by a timer from then on.

use crate::clock::{now_ns, pause};
use crate::error::{SysError, SysResult};
use crate::procfs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

/// The signal of the guard: real-time, so that no program meets it by chance, and far from both
/// ends of the range, whence programs count.
pub const SIGNAL: i32 = 55;

// What the handler knows. `guard` writes it before the signal can come.

/// The process that the rest is about: a forked child has a copy, which means nothing to it.
static WARD: AtomicU32 = AtomicU32::new(0);
/// Whose end is ours.
static PARENT: AtomicU32 = AtomicU32::new(0);
/// When a logical parent started, in ticks: its pid may be reused. 0: unknown.
static PARENT_STARTED: AtomicU64 = AtomicU64::new(0);
/// Who forked us, our parent for the kernel: `PARENT`, or a zygote.
static MAKER: AtomicU32 = AtomicU32::new(0);
/// Set by the thread that ends the process; the others stop where they meet it.
static IS_ENDING: AtomicBool = AtomicBool::new(false);
static HAS_TIMER: AtomicBool = AtomicBool::new(false);

/// Who is to be watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parent {
    /// The process whose end is ours.
    pub pid: u32,
    /// The zygote that forked us and will pass on ([`tell_orphan`]) that the parent has ended.
    pub zygote: Option<u32>,
}

/// Calls its last argument with the pids of processes that process (pid) has started.
pub type Kin = fn(u32, &mut dyn FnMut(u32));

static KIN: OnceLock<Kin> = OnceLock::new();

/// The value that tells who gets the signal with it to end, with all that it has started.
const END: usize = usize::MAX;

/// How the handler learns of children that are not the kernel's. `kin` must be
/// async-signal-safe.
pub fn know_kin(kin: Kin) {
    let _ = KIN.set(kin); // it is always the same
}

/// From now on this process and its descendants end when its parent has ended. If that has
/// happened already, they end now and this call does not return.
///
/// `is_there` asks the kernel (a pidfd) whether the parent lives: it tells one that has died
/// from one that is not ours for the kernel. The calling thread must live as long as the
/// process: the main thread does. A parent in another pid namespace cannot be watched.
pub fn guard(parent: Parent, is_there: impl Fn() -> bool) -> SysResult<()> {
    let real = real_parent();
    if real == 0 {
        return Ok(());
    }
    let zygote = parent.zygote.filter(|_| real != parent.pid);
    let alleged = if is_there() { real } else { parent.pid };
    let maker = zygote.unwrap_or(alleged);
    let started = if maker == parent.pid {
        0 // getppid tells
    } else {
        procfs::status(parent.pid).map_or(0, |status| status.started)
    };
    PARENT.store(parent.pid, SeqCst);
    PARENT_STARTED.store(started, SeqCst);
    MAKER.store(maker, SeqCst);
    IS_ENDING.store(false, SeqCst);
    HAS_TIMER.store(false, SeqCst); // timers are not inherited
    WARD.store(crate::process::pid(), SeqCst);
    install()?;
    // SAFETY: plain numbers.
    let rc = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, SIGNAL) };
    if rc != 0 {
        return Err(SysError::last("prctl(PR_SET_PDEATHSIG)"));
    }
    // Asked last: an end before this line is noticed here, one after it by the signal.
    if !is_there() {
        end();
    }
    react();
    if maker != parent.pid && zygote.is_none() {
        look_from_time_to_time(); // nobody will tell us
    }
    Ok(())
}

/// In a zygote: tells a child that `parent`, for whom it was forked, has ended.
pub fn tell_orphan(pid: u32, parent: u32) {
    send(pid, parent as usize);
}

/// Whether the signal is `tell_orphan`'s word for us (the kernel vouches for its sender), or
/// somebody's order to end, whose right to it the kernel has checked as for SIGKILL.
fn says_to_end(info: &libc::siginfo_t) -> bool {
    if info.si_code != libc::SI_QUEUE {
        return false;
    }
    // SAFETY: a queued signal carries its sender's pid.
    let sender = unsafe { info.si_pid() } as u32;
    // SAFETY: and a value.
    let value = unsafe { info.si_value() }.sival_ptr as usize;
    let is_orphaned =
        is_ward() && sender == MAKER.load(SeqCst) && value == PARENT.load(SeqCst) as usize;
    is_orphaned || value == END
}

/// A forked child of a guarded process is not.
fn is_ward() -> bool {
    WARD.load(SeqCst) == crate::process::pid()
}

/// Whether the process behind a sentinel has ended: a pidfd that is readable, or a pipe whose
/// writers are gone.
pub fn has_ended(sentinel: BorrowedFd<'_>) -> bool {
    let mut asked = libc::pollfd {
        fd: sentinel.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `asked` is one live pollfd.
    let ready = unsafe { libc::poll(&raw mut asked, 1, 0) };
    ready == 1 && asked.revents & (libc::POLLIN | libc::POLLHUP) != 0
}

/// Installs the handler. A process that has it and was not told to [`guard`] itself, and its
/// forked children, ignore the signal, which would otherwise end them.
pub fn install() -> SysResult<()> {
    // SAFETY: all zeros is a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: `action` is live and complete; its handler uses async-signal-safe calls only.
    let rc = unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
    if rc != 0 {
        return Err(SysError::last("sigaction"));
    }
    // SAFETY: all zeros is a valid signal set.
    let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `signals` is live; SIGNAL is a valid number.
    unsafe { libc::sigaddset(&raw mut signals, SIGNAL) };
    // A mask is inherited, and a program may block all it knows.
    // SAFETY: `signals` is live and only read; the old mask is not asked for.
    let rc = unsafe {
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const signals, std::ptr::null_mut())
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(SysError {
            call: "pthread_sigmask",
            errno: rc,
        })
    }
}

fn real_parent() -> u32 {
    // SAFETY: no preconditions, cannot fail.
    unsafe { libc::getppid() as u32 }
}

extern "C" fn on_signal(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: gives the address of this thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: this thread's own errno, for as long as the thread runs.
    let before = unsafe { *errno };
    // SAFETY: SA_SIGINFO: the kernel gives a siginfo that lives as long as the handler runs.
    if unsafe { info.as_ref() }.is_some_and(says_to_end) {
        end();
    }
    if is_ward() {
        react();
    }
    // SAFETY: as above. The interrupted code finds what it left.
    unsafe { *errno = before };
}

fn react() {
    if IS_ENDING.load(SeqCst) {
        stop();
    }
    if is_parent_gone() {
        end();
    }
    if real_parent() != MAKER.load(SeqCst) {
        look_from_time_to_time(); // the zygote is gone
    }
}

/// The end of the thread that forked us is not the end of its process: the kernel gives us to
/// another thread of it, and getppid does not change.
fn is_parent_gone() -> bool {
    let parent = PARENT.load(SeqCst);
    if parent == MAKER.load(SeqCst) {
        return real_parent() != parent;
    }
    match procfs::status(parent) {
        Some(status) => {
            let started = PARENT_STARTED.load(SeqCst);
            status.has_ended || (started != 0 && status.started != started)
        }
        // /proc may be hidden: only kill() knows that there is nobody.
        None => !crate::process::exists(parent),
    }
}

/// Lets the signal come five times a second. The price is that system calls which are not
/// restarted return early with EINTR, so it is for children that nobody tells.
fn look_from_time_to_time() {
    if !HAS_TIMER.swap(true, SeqCst) {
        start_timer();
    }
}

fn start_timer() {
    const PERIOD: libc::timespec = libc::timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
    // SAFETY: all zeros is a valid sigevent.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = SIGNAL;
    let mut timer: libc::c_int = 0;
    // Not libc's timer_create, which may allocate.
    // SAFETY: `event` and `timer` are live; the kernel's timer id is an int.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_timer_create,
            libc::CLOCK_MONOTONIC,
            &raw const event,
            &raw mut timer,
        )
    };
    if rc != 0 {
        return;
    }
    let pace = libc::itimerspec {
        it_interval: PERIOD,
        it_value: PERIOD,
    };
    // SAFETY: `pace` is live and only read; the timer was made above.
    unsafe {
        libc::syscall(
            libc::SYS_timer_settime,
            timer,
            0,
            &raw const pace,
            std::ptr::null_mut::<libc::itimerspec>(),
        )
    };
}

/// Ends every descendant, then this process.
///
/// As a subreaper it inherits the children of the children that it kills, so its own list of
/// children is all it has to look at; nobody collects them meanwhile, so their pids are theirs.
fn end() -> ! {
    const AT_MOST: u64 = 800_000_000; // ns; somebody may be stuck in the kernel
    const HALF_A_MILLISECOND: u64 = 500_000;
    if IS_ENDING.swap(true, SeqCst) {
        stop();
    }
    let give_up = now_ns() + AT_MOST;
    let me = crate::process::pid();
    make_room();
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    stop_other_threads(me);
    while kill_children(me) + end_kin(me) > 0 && now_ns() < give_up {
        pause(HALF_A_MILLISECOND); // for the killed to end
    }
    crate::process::kill_self()
}

/// Kills each child that lives, and says how many there were.
fn kill_children(me: u32) -> u32 {
    let mut living = 0;
    procfs::each_child(me, &mut |child| {
        let lives = procfs::status(child).is_some_and(|status| !status.has_ended);
        if lives && !procfs::is_resource_tracker(child) {
            living += 1;
            // SAFETY: plain numbers; the pid is that of a child nobody has collected.
            unsafe { libc::kill(child as i32, libc::SIGKILL) };
        }
    });
    living
}

/// Tells each process that we have started and that is nobody's child here to end as we do.
fn end_kin(me: u32) -> u32 {
    let mut living = 0;
    let Some(kin) = KIN.get() else {
        return 0;
    };
    kin(me, &mut |pid| {
        if procfs::status(pid).is_some_and(|status| !status.has_ended && status.parent != me) {
            living += 1;
            send(pid, END);
        }
    });
    living
}

fn send(pid: u32, value: usize) {
    let value = libc::sigval {
        sival_ptr: value as *mut libc::c_void,
    };
    // SAFETY: plain numbers, the value too.
    unsafe { libc::sigqueue(pid as i32, SIGNAL, value) };
}

/// A process may have used up its descriptors, and /proc takes two.
fn make_room() {
    for fd in 0..3 {
        // SAFETY: this process runs no other code any more that could miss them.
        unsafe { libc::close(fd) };
    }
}

/// The handler that they meet does not return. Who blocks the signal goes on until the end.
fn stop_other_threads(me: u32) {
    // SAFETY: no preconditions, cannot fail.
    let this = unsafe { libc::gettid() } as u32;
    procfs::each_thread(me, &mut |thread| {
        if thread != this {
            // SAFETY: plain numbers; within this process nothing but the handler can happen.
            unsafe { libc::syscall(libc::SYS_tgkill, me, thread, SIGNAL) };
        }
    });
}

fn stop() -> ! {
    loop {
        // SAFETY: no preconditions; it returns after a handler has run.
        unsafe { libc::pause() };
    }
}
