//! A process that keeps nothing of the one that made it, and outlives it.
//!
//! ```text
//! maker     clone, without a signal at its end ---- collects the first child, and goes on
//! child     a session of its own; no descriptor but one; no memory but this code's
//!           clone again, and end
//! hermit    lives
//! ```
//!
//! It is a copy of its maker, so it costs a fork and no program start: no interpreter boots, no
//! file of a helper program has to be found. What a copy would keep alive it gives back at
//! once: descriptors (pipes and terminals end when their users do), the memory that it shares
//! with the maker (which may rewrite it at no extra cost), mappings of other files, the working
//! directory, the terminal, the command line. All signals are blocked for good, so nothing of the
//! maker's runs in it.
//!
//! It is nobody's child: the first child is collected here, the second goes to whoever adopts
//! orphans. Where that is the maker itself (the first process of a container, a subreaper) there
//! is one child instead of two, and the kernel hides it from `wait()`: it sends no SIGCHLD.
//!
//! After the memory is gone there is no heap and no library but those of `calls`: everything
//! here is system calls and the stack.

use crate::error::{SysError, SysResult};
use crate::file::FileIdentity;
use crate::{crash_point, procfs};
use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::null_mut;

/// Begins the life of a hermit, which has a copy of `keep` and of the shared mappings of the
/// file `mapped`, and ends when `life` returns. When this returns, nothing that happens to our
/// process, its group or its session happens to the hermit.
///
/// `life` must not allocate, nor use anything of the heap, nor any library: only `calls`.
pub fn start(
    keep: BorrowedFd<'_>,
    mapped: FileIdentity,
    life: &dyn Fn(BorrowedFd<'_>),
) -> SysResult<()> {
    let _masked = Masked::new()?;
    let is_adopted_here = adopts_orphans();
    let (ours, its) = crate::file::pipe()?;
    let child = copy()?;
    if child == 0 {
        forget_maker();
        shed(mapped);
        close_all_but(keep.as_raw_fd());
        if !is_adopted_here {
            match copy() {
                Ok(0) => {}
                Ok(_) => end(0),
                Err(_) => end(1),
            }
        }
        life(keep);
        end(0);
    }
    crash_point!("hermit.copied");
    drop(its);
    wait_for_hang_up(ours.as_fd()); // it has closed all that it had
    if !is_adopted_here {
        collect(child)?;
    }
    crash_point!("hermit.alone");
    Ok(())
}

/// All signals blocked, until it is dropped.
struct Masked(libc::sigset_t);

impl Masked {
    fn new() -> SysResult<Self> {
        // SAFETY: all zeros is a valid signal set.
        let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
        let mut before = all;
        // SAFETY: `all` is live.
        unsafe { libc::sigfillset(&raw mut all) };
        // SAFETY: both sets are live; the first is only read.
        let rc =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
        if rc == 0 {
            Ok(Self(before))
        } else {
            Err(SysError {
                call: "pthread_sigmask",
                errno: rc,
            })
        }
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        // SAFETY: the set is live and only read; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, null_mut()) };
    }
}

/// Whether orphans of this process become its own children.
fn adopts_orphans() -> bool {
    let mut is_subreaper: libc::c_int = 0;
    // SAFETY: the kernel writes one int, which is live.
    unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut is_subreaper) };
    is_subreaper != 0 || crate::process::pid() == 1
}

/// A copy of this process, with this thread alone: 0 in the copy. Its end sends no signal, and
/// only a wait that asks for such children sees it.
fn copy() -> SysResult<i32> {
    const NOTHING: usize = 0; // on every architecture of ours all other arguments may be 0
    // SAFETY: without CLONE_VM nothing of ours is shared but what fork shares. The copy makes
    // system calls and uses its stack alone, as after a fork in a process with threads.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING) };
    if pid < 0 {
        Err(SysError::last("clone"))
    } else {
        Ok(pid as i32)
    }
}

fn collect(child: i32) -> SysResult<()> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is live; the pid is that of a child that nobody else can collect.
        let rc = unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) };
        if rc == child && status == 0 {
            return Ok(());
        }
        if rc == child {
            return Err(SysError {
                call: "clone",
                errno: libc::EAGAIN,
            });
        }
        let error = SysError::last("waitpid");
        if error.errno != libc::EINTR {
            return Err(error);
        }
    }
}

fn end(code: i32) -> ! {
    loop {
        // SAFETY: a plain number; it does not return.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
    }
}

// ---- what a copy has of its maker ------------------------------------------------

fn wait_for_hang_up(pipe: BorrowedFd<'_>) {
    let mut byte = 0_u8;
    // SAFETY: one byte that is live; nobody writes any.
    while unsafe { libc::read(pipe.as_raw_fd(), (&raw mut byte).cast(), 1) } < 0
        && SysError::last("read").errno == libc::EINTR
    {}
}

fn forget_maker() {
    // SAFETY: no preconditions; a new child leads no group, so it cannot fail.
    unsafe { libc::setsid() };
    // SAFETY: a NUL-terminated literal. The root is always there.
    unsafe { libc::chdir(c"/".as_ptr()) };
    // SAFETY: a NUL-terminated literal of at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"procession-ward".as_ptr()) };
}

fn close_all_but(keep: i32) {
    let mut highest = 0;
    procfs::each_descriptor(&mut |fd| highest = highest.max(fd as i32));
    if highest == 0 {
        highest = 1024; // no /proc
    }
    for fd in (0..=highest).filter(|fd| *fd != keep) {
        // SAFETY: this copy runs no code that would miss them.
        unsafe { libc::close(fd) };
    }
}

const CALLS: usize = 21;

/// This code, and every function of libc's that it or a life calls. They may lie in several
/// libraries: in libpthread before glibc 2.34, in one that is preloaded and stands before libc.
fn calls() -> [usize; CALLS] {
    [
        shed as *const () as usize,
        libc::__errno_location as *const () as usize,
        libc::chdir as *const () as usize,
        libc::close as *const () as usize,
        libc::fcntl as *const () as usize,
        libc::fstatat as *const () as usize,
        libc::getauxval as *const () as usize,
        libc::memcmp as *const () as usize,
        libc::memcpy as *const () as usize,
        libc::memmove as *const () as usize,
        libc::memset as *const () as usize,
        libc::munmap as *const () as usize,
        libc::nanosleep as *const () as usize,
        libc::open as *const () as usize,
        libc::prctl as *const () as usize,
        libc::pread as *const () as usize,
        libc::read as *const () as usize,
        libc::readlinkat as *const () as usize,
        libc::setsid as *const () as usize,
        libc::syscall as *const () as usize,
        libc::unlinkat as *const () as usize,
    ]
}

/// Gives back all memory but the stack, this code with libc's, and the shared mappings of one file.
/// Private ones hold what the maker has written to copies of its own.
fn shed(mapped: FileIdentity) {
    let here = 0_u8;
    // SAFETY: gives an address within this thread's local storage.
    let local = unsafe { libc::__errno_location() } as usize;
    // SAFETY: asks for a number that the kernel gave the process at its start.
    let loader = unsafe { libc::getauxval(libc::AT_BASE) } as usize;
    let own = [&raw const here as usize, local];
    let code = calls();
    let mut libraries = [(0_u64, 0_u64); CALLS + 1];
    procfs::each_mapping(&mut |mapping| {
        for (library, at) in libraries.iter_mut().zip(code.into_iter().chain([loader])) {
            if mapping.contains(at) {
                *library = (mapping.device, mapping.inode);
            }
        }
    });
    let mut end_of_library = 0;
    procfs::each_mapping(&mut |mapping| {
        let file = (mapping.device, mapping.inode);
        let is_library = mapping.inode != 0 && libraries.contains(&file);
        // What a library's file does not fill of its data follows it without a name.
        let is_rest = mapping.is_anonymous() && mapping.start == end_of_library;
        if is_library || is_rest {
            end_of_library = mapping.end;
        }
        let is_kept = is_library
            || is_rest
            || own.iter().any(|at| mapping.contains(*at))
            || mapping.is_kernels()
            || (file == (mapped.device, mapped.inode) && mapping.is_shared);
        if mapping.is_stack() {
            forget_command_line(mapping.start, mapping.end);
        } else if !is_kept {
            let length = mapping.end - mapping.start;
            // SAFETY: no code that this process still runs uses it: see the list above.
            unsafe { libc::munmap(mapping.start as *mut c_void, length) };
        }
    });
}

/// So that who ends processes by their command lines means the program, and not this.
fn forget_command_line(stack: usize, end_of_stack: usize) {
    const NAME: &[u8] = b"procession-warden";
    let Some((start, end)) = procfs::command_line() else {
        return;
    };
    if stack <= start && start + NAME.len() < end && end <= end_of_stack {
        let place = start as *mut u8;
        // SAFETY: within the main thread's stack, where the kernel has put the arguments, which
        // nothing here refers to.
        unsafe { place.write_bytes(0, end - start) };
        // SAFETY: as above; the name is shorter.
        unsafe { place.copy_from_nonoverlapping(NAME.as_ptr(), NAME.len()) };
    }
}
