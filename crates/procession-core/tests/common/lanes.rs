//! Cases side by side. Each is a process of its own anyway, and waits for most of its time.

use procession_sys::prim::{AtomicU32, Ordering::Relaxed};
use std::panic::AssertUnwindSafe;

/// More than there are processors, as few of them compute at a time.
const LANES: usize = 6;
/// In a result that nobody has written.
const MISSING: u32 = u32::MAX;

/// What `run` returns for each of the jobs, in their order. It is called in forked processes.
pub(crate) fn each<const N: usize>(jobs: usize, run: impl Fn(usize) -> [u32; N]) -> Vec<[u32; N]> {
    let (next, results) = board(jobs * N);
    let lanes: Vec<_> = (0..LANES.min(jobs))
        .map(|_| {
            fork(|| {
                loop {
                    let job = next.fetch_add(1, Relaxed) as usize;
                    if job >= jobs {
                        break;
                    }
                    for (result, found) in results[job * N..].iter().zip(run(job)) {
                        result.store(found, Relaxed);
                    }
                }
            })
        })
        .collect();
    for lane in lanes {
        // SAFETY: no status is asked for; the results say whether all was done.
        let waited = unsafe { libc::waitpid(lane, std::ptr::null_mut(), 0) };
        assert_eq!(waited, lane);
    }
    let found: Vec<u32> = results.iter().map(|result| result.load(Relaxed)).collect();
    assert!(!found.contains(&MISSING), "a lane ended before its jobs");
    let jobs = found.chunks_exact(N);
    jobs.map(|found| found.try_into().expect("N words"))
        .collect()
}

fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: this process has one thread, so the child may run anything.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let failed = std::panic::catch_unwind(AssertUnwindSafe(body)).is_err();
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(i32::from(failed)) };
    }
    pid
}

/// Words that forked processes share: the number of the next job, and the results. They stay until the end.
fn board(results: usize) -> (&'static AtomicU32, &'static [AtomicU32]) {
    let count = results + 1;
    // SAFETY: a new mapping, wherever the kernel likes.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            count * size_of::<AtomicU32>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED, "no memory for the results");
    // SAFETY: that mapping, which has so many words, all zero, and is never unmapped.
    let words = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU32>(), count) };
    let (next, results) = words.split_first().expect("there is one at least");
    for result in results {
        result.store(MISSING, Relaxed);
    }
    (next, results)
}
