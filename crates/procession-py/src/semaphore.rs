//! `Semaphore`: bounded or not.
//!
//! As for locks, [`crate::raw`] installs acquire, release, `__enter__` and `__exit__`.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use crate::blocking::{Blocking, Patience};
use crate::errors::hooks;
use crate::handle::{Handle, Travelling};
use crate::raw::Gate;
use procession_core::lock::{Waiting, flags};
use procession_core::semaphore::Semaphore as Core;
use procession_core::{ObjectKind, ledger, permits};
use procession_shm::layout::SemaphoreLine;
use procession_sys::clock::Deadline;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::sync::atomic::Ordering::Relaxed;

/// A semaphore in the arena.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Semaphore {
    pub(crate) handle: Handle,
    line: &'static SemaphoreLine,
}

impl Semaphore {
    fn core(&self) -> Core<'_> {
        Core {
            object: &self.handle.object,
            line: self.line,
        }
    }

    /// The slow way to a permit; true when one is ours.
    pub(crate) fn acquire_until(
        slf: &Bound<'_, Self>,
        until: Deadline,
        blocking: bool,
    ) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        let member = this.handle.member(py)?;
        let core = this.core();
        Self::tell(slf)?;
        if core.try_acquire(member) {
            return Ok(true);
        }
        if !blocking {
            Self::recover(slf)?;
            return Ok(core.try_acquire(member));
        }
        let wait = Blocking::new(py, &this.handle, until, "a Semaphore");
        if wait.spin(|| core.try_spinning(member)) {
            core.count_wait(&wait.waiting);
            return Ok(true);
        }
        Self::recover(slf)?;
        let slice = |waiting: &Waiting| {
            // A signal handler may have forked: ask anew who we are.
            let member = this.handle.known_member().unwrap_or(member);
            core.wait(member, waiting)
        };
        wait.park(slice, || {
            this.handle.member(py)?;
            Self::recover(slf)
        })
    }

    /// Gives back what the dead had, and tells the program.
    fn recover(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        this.core().recover_from_dead(this.handle.member(slf.py())?);
        Self::tell(slf)
    }

    /// Tells the program of permits that came back, whoever brought them.
    fn tell(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        if let Some(pid) = permits::take_news(slf.get().line)
            && let Some(hooks) = hooks(py)
        {
            hooks.owner_died.call1(py, (slf.clone(), pid))?;
        }
        Ok(())
    }

    fn units(&self, py: Python<'_>) -> PyResult<u32> {
        let member = self.handle.member(py)?;
        let me = member.local.owner;
        let mut entries = ledger::entries(member.arena, self.handle.object.header);
        let mine = entries.find(|entry| ledger::owner_of(entry) == me);
        Ok(mine.map_or(0, permits::units))
    }
}

/// Fills in a semaphore that nobody else has yet.
fn configure(line: &SemaphoreLine, value: u32, maxvalue: u32, recover: Option<bool>) {
    let policy = match recover {
        None => 0,
        Some(true) => flags::RAISE,
        Some(false) => flags::IGNORE,
    };
    line.value.store(value, Relaxed);
    line.total.store(value, Relaxed);
    line.maximum.store(maxvalue, Relaxed);
    line.flags.store(policy, Relaxed);
}

impl Gate for Semaphore {
    #[inline]
    fn try_fast(&self) -> bool {
        // News of a death are told by the slow way, before a permit is taken.
        !permits::is_news(self.line)
            && self
                .handle
                .known_member()
                .is_some_and(|member| self.core().try_acquire(member))
    }

    #[inline]
    fn release_fast(&self) -> bool {
        self.handle
            .known_member()
            .is_some_and(|member| self.core().release(member))
    }

    fn acquire_args(
        slf: &Bound<'_, Self>,
        block: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let blocking = block.map_or(Ok(true), Bound::is_truthy)?;
        match Patience::of(timeout)? {
            Patience::Until(deadline) if blocking => Self::acquire_until(slf, deadline, true),
            _ => Self::acquire_until(slf, Deadline::NEVER, false),
        }
    }

    fn release_slow(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let member = this.handle.member(slf.py())?;
        if this.core().release(member) {
            return Ok(());
        }
        Err(PyValueError::new_err(
            "semaphore or lock released too many times",
        ))
    }
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(signature = (value = 1, maxvalue = 0x7FFF_FFFF, *, recover = None, ctx = None, _handle = None))]
    fn new(
        py: Python<'_>,
        value: u32,
        maxvalue: u32,
        recover: Option<bool>,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Travelling>,
    ) -> PyResult<Self> {
        let _ = ctx;
        let init = |line: &SemaphoreLine| configure(line, value, maxvalue, recover);
        let (handle, line) = Handle::with_body(py, ObjectKind::Semaphore, _handle, init)?;
        Ok(Self { handle, line })
    }

    fn _configure(&self, value: u32, maxvalue: u32, recover: Option<bool>) {
        configure(self.line, value, maxvalue, recover);
    }

    #[classattr]
    fn name() -> Option<String> {
        None
    }

    #[classattr]
    fn kind() -> u32 {
        1
    }

    #[getter]
    fn maxvalue(&self) -> u32 {
        self.line.maximum.load(Relaxed)
    }

    #[getter]
    fn handle(&self) -> u64 {
        self.handle.object.offset
    }

    #[getter(_semlock)]
    fn itself(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn get_value(&self, py: Python<'_>) -> PyResult<u32> {
        Ok(self.core().value(self.handle.member(py)?))
    }

    fn _get_value(&self, py: Python<'_>) -> PyResult<u32> {
        self.get_value(py)
    }

    fn _is_zero(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.get_value(py)? == 0)
    }

    fn locked(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.get_value(py)? == 0)
    }

    fn _count(&self, py: Python<'_>) -> PyResult<u32> {
        self.units(py)
    }

    fn _is_mine(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.units(py)? > 0)
    }

    #[getter]
    fn recovered(&self) -> u32 {
        self.line.recovered.load(Relaxed)
    }

    #[getter]
    fn last_dead_pid(&self) -> u32 {
        self.line.last_dead_pid.load(Relaxed)
    }

    fn _statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let figures = PyDict::new(py);
        let line = self.line;
        figures.set_item("acquisitions", line.acquired.load(Relaxed))?;
        figures.set_item("contended", line.contended.load(Relaxed))?;
        figures.set_item("waited_ns", line.waited_ns.load(Relaxed))?;
        figures.set_item("recovered", line.recovered.load(Relaxed))?;
        let signalling = line.flags.load(Relaxed) & flags::SIGNALLING != 0;
        figures.set_item("signalling", u32::from(signalling))?;
        figures.set_item("handles", self.handle.holders())?;
        Ok(figures)
    }

    fn _handle(&self) -> Travelling {
        self.handle.travelling()
    }

    fn _pin(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.pin(py)
    }

    #[classmethod]
    fn _open<'py>(
        cls: &Bound<'py, PyType>,
        handle: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        crate::handle::open_as(cls, handle)
    }
}
