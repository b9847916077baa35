//! The slow way to a lock: waiting with Python's manners, and what is to be told of a dead owner.

use crate::blocking::Blocking;
use crate::errors::{follow, hooks};
use crate::sem::SemLock;
use procession_core::lock::{Acquired, Waited};
use procession_sys::clock::Deadline;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::atomic::Ordering::Relaxed;

impl SemLock {
    /// The slow way to the lock; true when it is ours.
    pub(crate) fn acquire_until(
        slf: &Bound<'_, Self>,
        until: Deadline,
        blocking: bool,
        accept_poisoned: bool,
    ) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        let lock = this.lock();
        let mut me = this.party(py)?;
        let how = if lock.try_acquire(me) {
            Acquired::Clean
        } else if !blocking {
            match lock.take_over(me, this.handle.arena) {
                Some(inherited) => inherited,
                None => return Ok(false),
            }
        } else {
            let wait = Blocking::new(py, &this.handle, until, "a lock").for_lock(slf.as_any());
            if wait.spin(|| lock.try_spinning(me)) {
                lock.count_wait(&wait.waiting);
                Acquired::Clean
            } else {
                loop {
                    let slept = wait.sleep(|waiting| lock.wait(me, this.handle.arena, waiting));
                    match slept {
                        Waited::Acquired(how) => break how,
                        Waited::TimedOut => return Ok(false),
                        Waited::Slice => wait.after_slice()?,
                    }
                    // A signal handler may have forked: we may be somebody else now.
                    me = this.party(py)?;
                }
            }
        };
        let told = Self::settle(slf, how, accept_poisoned);
        if told.is_err() {
            // An exception in __enter__ never runs __exit__: the lock goes back first.
            let _ = lock.release(me);
        }
        told.map(|()| true)
    }

    /// Acquires the lock anew, `depth` deep, for who has given it back and leaves with it in any
    /// case: what signal handlers raise meanwhile, and a dead owner's error, is raised with the
    /// lock held. `slept`: the release of the lock may have woken us.
    pub(crate) fn acquire_again(slf: &Bound<'_, Self>, depth: u32, slept: bool) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let lock = this.lock();
        let mut me = this.party(py)?;
        let mut interrupted = Ok(());
        let taken = if slept {
            lock.try_acquire_woken(me)
        } else {
            lock.try_acquire(me)
        };
        let how = if taken {
            Acquired::Clean
        } else {
            let wait = Blocking::new(py, &this.handle, Deadline::NEVER, "a lock").for_lock(slf);
            loop {
                // Who was woken goes on without a spin: it must leave word that others may sleep.
                if !slept && wait.spin(|| lock.try_spinning(me)) {
                    lock.count_wait(&wait.waiting);
                    break Acquired::Clean;
                }
                let slept = wait.sleep(|waiting| lock.wait(me, this.handle.arena, waiting));
                if let Waited::Acquired(how) = slept {
                    break how;
                }
                if let Err(error) = wait.after_slice() {
                    interrupted = Err(match interrupted {
                        Ok(()) => error,
                        Err(earlier) => follow(py, error, &earlier),
                    });
                }
                me = this.party(py)?;
            }
        };
        lock.set_depth(depth);
        let told = Self::settle(slf, how, false);
        match (interrupted, told) {
            (Err(earlier), Err(later)) => Err(follow(py, later, &earlier)),
            (interrupted, told) => interrupted.and(told),
        }
    }

    /// The lock is ours: tell of a dead owner, refuse what is poisoned.
    fn settle(slf: &Bound<'_, Self>, how: Acquired, accept_poisoned: bool) -> PyResult<()> {
        let (py, lock) = (slf.py(), slf.get().lock());
        if accept_poisoned {
            lock.set_poisoned(false);
            return Ok(());
        }
        if lock.is_poisoned() {
            let pid = match how {
                Acquired::Inherited(pid) => pid,
                Acquired::Clean => lock.line().last_dead_pid.load(Relaxed),
            };
            return Err(owner_died_error(slf, pid));
        }
        if let Acquired::Inherited(pid) = how
            && let Some(hooks) = hooks(py)
        {
            hooks.owner_died.call1(py, (slf.clone(), pid))?;
        }
        Ok(())
    }
}

fn owner_died_error(slf: &Bound<'_, SemLock>, pid: u32) -> PyErr {
    let py = slf.py();
    let Some(hooks) = hooks(py) else {
        return PyRuntimeError::new_err("the owner of the lock died");
    };
    match hooks.owner_died_error.call1(py, (slf.clone(), pid)) {
        Ok(error) => PyErr::from_value(error.into_bound(py)),
        Err(error) => error,
    }
}
