//! `Condition`: waiters in the arena over any lock.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use crate::blocking::{Blocking, Patience};
use crate::errors::{follow, to_python};
use crate::handle::{Handle, Travelling};
use crate::sem::SemLock;
use procession_core::condition::Condition as Core;
use procession_core::lock::Waited;
use procession_core::{ObjectKind, waiters};
use procession_shm::layout::{ConditionLine, Waiter};
use pyo3::exceptions::{PyAssertionError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict};
use std::sync::atomic::Ordering::Relaxed;

/// A condition in the arena, with the lock that goes with it.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
pub(crate) struct Condition {
    handle: Handle,
    line: &'static ConditionLine,
    guard: PyOnceLock<Guard>,
}

/// The lock of a condition.
struct Guard {
    lock: Py<PyAny>,
    /// The lock if it is one of ours, and nobody has put other methods in the place of its own.
    native: Option<Py<SemLock>>,
}

/// Whether acquiring and releasing means no more than what the core does.
fn is_native(lock: &Bound<'_, PyAny>) -> PyResult<bool> {
    for name in ["acquire", "release"] {
        let method = lock.getattr(name)?;
        // A method descriptor of ours, bound to this very lock.
        let is_ours =
            method.is_instance_of::<PyCFunction>() && method.getattr("__self__")?.is(lock);
        if !is_ours {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Condition {
    fn core(&self) -> Core<'_> {
        Core {
            object: &self.handle.object,
            line: self.line,
        }
    }

    /// The lock of ours, for who acquires or releases it without further thought.
    #[inline]
    pub(crate) fn gate<'a>(&'a self, py: Python<'a>) -> Option<&'a SemLock> {
        let native = self.guard.get(py)?.native.as_ref()?;
        Some(native.get())
    }

    /// The lock, whatever it is.
    pub(crate) fn lock<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let guard = self.guard.get(py);
        let without = || PyRuntimeError::new_err("Condition.__init__() has not been called");
        Ok(guard.ok_or_else(without)?.lock.bind(py))
    }

    fn native<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, SemLock>> {
        let native = self.guard.get(py)?.native.as_ref()?;
        Some(native.bind(py))
    }

    fn semlock<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.lock(py)?.getattr("_semlock")
    }

    fn sleeping(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.core().sleeping(self.handle.member(py)?))
    }

    fn require_held(&self, py: Python<'_>, text: &'static str) -> PyResult<()> {
        let held = match self.lock(py)?.cast::<SemLock>() {
            Ok(lock) => lock.get().is_mine(py)?,
            Err(_) => self.semlock(py)?.call_method0("_is_mine")?.is_truthy()?,
        };
        if held {
            Ok(())
        } else {
            Err(PyAssertionError::new_err(text))
        }
    }

    /// Gives the lock back as often as it was acquired; how often that was.
    fn release_all(&self, py: Python<'_>) -> PyResult<u32> {
        if let Some(lock) = self.native(py) {
            return lock.get().release_all(py);
        }
        let depth = self.semlock(py)?.call_method0("_count")?.extract()?;
        for _ in 0..depth {
            self.lock(py)?.call_method0("release")?;
        }
        Ok(depth)
    }

    /// Acquires the lock again, whatever signal handlers raise meanwhile: their exception is
    /// given back, for the caller leaves with the lock held. `slept`: on the lock's word.
    fn acquire_again(&self, py: Python<'_>, depth: u32, slept: bool) -> PyResult<()> {
        if let Some(lock) = self.native(py) {
            return SemLock::acquire_again(lock, depth, slept);
        }
        let acquire = || self.lock(py)?.call_method0("acquire");
        let mut interrupted = Ok(());
        for _ in 0..depth {
            // Once more, if a handler ended the first attempt; what fails twice fails for good.
            if let Err(error) = acquire() {
                acquire().map_err(|later| follow(py, later, &error))?;
                interrupted = Err(error);
            }
        }
        interrupted
    }

    /// Sleeps on the entry, the lock given back; whether that took a sleep. A child that a signal
    /// handler forks meanwhile waits for itself: the entry is then another.
    fn sleep(
        &self,
        py: Python<'_>,
        entry: &mut &'static Waiter,
        patience: Patience,
    ) -> PyResult<bool> {
        let core = self.core();
        let wait = Blocking::new(py, &self.handle, patience.deadline(), "a Condition");
        if patience.is_any() && wait.spin(|| !waiters::is_waiting(entry)) {
            return Ok(false);
        }
        loop {
            let member = self.handle.member(py)?;
            if !waiters::is_of(entry, member.local.owner) {
                *entry = core.enter(member).map_err(|error| to_python(py, &error))?;
            }
            match wait.sleep(|waiting| core.wait(member, entry, waiting)) {
                Some(Waited::Slice) => wait.after_slice()?,
                _ => return Ok(true),
            }
        }
    }
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (lock = None, *, ctx = None, _handle = None))]
    fn new(
        py: Python<'_>,
        lock: Option<&Bound<'_, PyAny>>,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Travelling>,
    ) -> PyResult<Self> {
        let _ = ctx;
        let (handle, line) = Handle::with_body(py, ObjectKind::Condition, _handle, |_| ())?;
        let guard = PyOnceLock::new();
        let made = Self {
            handle,
            line,
            guard,
        };
        if let Some(lock) = lock {
            made.bind(lock)?;
        }
        Ok(made)
    }

    /// Gives the lock to a condition that was made without one; a second one is not taken.
    #[pyo3(name = "_bind")]
    fn bind(&self, lock: &Bound<'_, PyAny>) -> PyResult<()> {
        let native = match lock.cast::<SemLock>() {
            Ok(ours) if is_native(lock)? => Some(ours.clone().unbind()),
            _ => None,
        };
        let lock = lock.clone();
        let py = lock.py();
        let guard = Guard {
            lock: lock.unbind(),
            native,
        };
        let _ = self.guard.set(py, guard);
        Ok(())
    }

    #[getter]
    fn _lock(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.lock(py)?.clone().unbind())
    }

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        self.require_held(py, "must acquire() condition before using wait()")?;
        let patience = Patience::of(timeout)?;
        let member = self.handle.member(py)?;
        let mut entry = self
            .core()
            .enter(member)
            .map_err(|error| to_python(py, &error))?;
        let depth = match self.release_all(py) {
            Ok(depth) => depth,
            Err(error) => {
                self.core().abandon(member, entry);
                return Err(error);
            }
        };
        let slept = self.sleep(py, &mut entry, patience);
        if slept.is_err() {
            // Nobody may be notified in our place in vain while we wait for the lock.
            self.core().abandon(self.handle.member(py)?, entry);
        }
        let again = self.acquire_again(py, depth, matches!(slept, Ok(true)));
        let member = self.handle.member(py)?;
        match (slept, again) {
            // Only now: killed before, we pass the notification on.
            (Ok(_), Ok(())) => Ok(self.core().leave(member, entry)),
            (Ok(_), Err(error)) => {
                self.core().abandon(member, entry);
                Err(error)
            }
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(later)) => Err(follow(py, later, &error)),
        }
    }

    #[pyo3(signature = (n = 1))]
    fn notify(&self, py: Python<'_>, n: i64) -> PyResult<()> {
        self.require_held(py, "lock is not owned")?;
        // Fewer than none is none.
        let count = usize::try_from(n).unwrap_or(0);
        let lock = self.native(py).map(|lock| lock.get().lock());
        self.core().notify(self.handle.member(py)?, count, lock);
        Ok(())
    }

    fn notify_all(&self, py: Python<'_>) -> PyResult<()> {
        self.notify(py, i64::MAX)
    }

    /// Waiters that nobody has notified.
    fn _sleeping(&self, py: Python<'_>) -> PyResult<usize> {
        self.sleeping(py)
    }

    fn _statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let figures = PyDict::new(py);
        figures.set_item("waits", self.line.tickets.load(Relaxed))?;
        figures.set_item("notified", self.line.notified.load(Relaxed))?;
        figures.set_item("waiting", self.sleeping(py)?)?;
        figures.set_item("handles", self.handle.holders())?;
        Ok(figures)
    }

    fn _handle(&self) -> Travelling {
        self.handle.travelling()
    }

    fn _pin(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.pin(py)
    }
}
