//! `Condition`: waiters in the arena over any lock.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use crate::blocking::{Patience, until_decided};
use crate::errors::to_python;
use crate::handle::{Handle, Travelling};
use crate::raw::Gate;
use crate::sem::SemLock;
use procession_core::condition::Condition as Core;
use procession_core::lock::Waiting;
use procession_core::{ObjectKind, ledger};
use procession_shm::layout::{ConditionLine, Waiter};
use procession_sys::clock::Deadline;
use pyo3::exceptions::PyAssertionError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::Ordering::Relaxed;

/// A condition in the arena, with the lock that goes with it.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
pub(crate) struct Condition {
    handle: Handle,
    line: &'static ConditionLine,
    lock: Py<PyAny>,
}

impl Condition {
    fn core(&self) -> Core<'_> {
        Core {
            object: &self.handle.object,
            line: self.line,
        }
    }

    fn semlock<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.lock.bind(py).getattr("_semlock")
    }

    fn sleeping(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.core().sleeping(self.handle.member(py)?))
    }

    fn require_held(&self, py: Python<'_>, text: &'static str) -> PyResult<()> {
        let held = match self.lock.bind(py).cast::<SemLock>() {
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
        let lock = self.lock.bind(py);
        if let Ok(lock) = lock.cast::<SemLock>() {
            let depth = lock.get().depth(py)?;
            for _ in 0..depth {
                SemLock::release_slow(lock)?;
            }
            return Ok(depth);
        }
        let depth = self.semlock(py)?.call_method0("_count")?.extract()?;
        for _ in 0..depth {
            lock.call_method0("release")?;
        }
        Ok(depth)
    }

    fn acquire_again(&self, py: Python<'_>, depth: u32) -> PyResult<()> {
        let lock = self.lock.bind(py);
        for _ in 0..depth {
            if let Ok(lock) = lock.cast::<SemLock>() {
                SemLock::acquire_until(lock, Deadline::NEVER, true, false)?;
            } else {
                lock.call_method0("acquire")?;
            }
        }
        Ok(())
    }

    /// Sleeps on the entry, the lock given back.
    fn sleep(&self, py: Python<'_>, entry: &'static Waiter, patience: Patience) -> PyResult<()> {
        if py.detach(|| Core::spin(entry)) {
            return Ok(());
        }
        let member = self.handle.member(py)?;
        let core = self.core();
        let waiting = Waiting::until(patience.deadline());
        let slice = |waiting: &Waiting| core.wait(member, entry, waiting);
        until_decided(py, &waiting, "a Condition", slice, || Ok(())).map(|_| ())
    }
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (lock, *, ctx = None, _handle = None))]
    fn new(
        py: Python<'_>,
        lock: Py<PyAny>,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Travelling>,
    ) -> PyResult<Self> {
        let _ = ctx;
        let nbytes = size_of::<ConditionLine>() as u64;
        let handle = match _handle {
            Some(handle) => Handle::open(py, handle, |kind| kind == ObjectKind::Condition)?,
            None => Handle::create(py, ObjectKind::Condition, nbytes, |_, _| Ok(()))?,
        };
        let line = handle
            .object
            .body(handle.arena)
            .map_err(|error| to_python(py, &error))?;
        Ok(Self { handle, line, lock })
    }

    #[getter]
    fn _lock(&self, py: Python<'_>) -> Py<PyAny> {
        self.lock.clone_ref(py)
    }

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        self.require_held(py, "must acquire() condition before using wait()")?;
        let patience = Patience::of(timeout)?;
        let member = self.handle.member(py)?;
        let entry = self
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
        let slept = self.sleep(py, entry, patience);
        if let Err(error) = slept {
            // Nobody may be notified in our place in vain while we wait for the lock.
            self.core().abandon(member, entry);
            self.acquire_again(py, depth)?;
            return Err(error);
        }
        if let Err(error) = self.acquire_again(py, depth) {
            self.core().abandon(member, entry);
            return Err(error);
        }
        // Only now: killed before, we pass the notification on.
        Ok(self.core().leave(member, entry))
    }

    #[pyo3(signature = (n = 1))]
    fn notify(&self, py: Python<'_>, n: i64) -> PyResult<()> {
        self.require_held(py, "lock is not owned")?;
        // Fewer than none is none.
        let count = usize::try_from(n).unwrap_or(0);
        self.core().notify(self.handle.member(py)?, count);
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
        let holders = ledger::holders(self.handle.arena, self.handle.object.header);
        figures.set_item("handles", holders)?;
        Ok(figures)
    }

    fn _handle(&self) -> Travelling {
        self.handle.travelling()
    }

    fn _pin(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.pin(py)
    }
}
