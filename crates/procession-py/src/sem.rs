//! `SemLock`, what `Lock`, `RLock`, `Value` and `Array` are made of.
//!
//! The hot methods (acquire, release, `__enter__`, `__exit__`) are installed by [`crate::raw`]
//! on top of what is here.

#![expect(
    clippy::self_named_constructors,
    reason = "the name is the standard library's"
)]

use crate::blocking::Patience;
use crate::handle::{Handle, Travelling};
use crate::raw::{Gate, Memory};
use procession_core::ObjectKind;
use procession_core::lock::{NotReleased, Party, SharedLock, flags};
use procession_shm::Liveness;
use procession_shm::OwnerId;
use procession_shm::layout::LockLine;
use procession_sys::clock::Deadline;
use procession_sys::process;
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::sync::atomic::Ordering::Relaxed;

/// What Lock, RLock and Value share: a lock line in the arena and a handle to it.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct SemLock {
    pub(crate) handle: Handle,
    line: &'static LockLine,
}

/// The flags that a policy's name stands for.
fn policy_flags(on_owner_death: &str) -> PyResult<u32> {
    match on_owner_death {
        "recover" => Ok(0),
        "raise" => Ok(flags::RAISE),
        "ignore" => Ok(flags::IGNORE),
        _ => Err(PyValueError::new_err(format!(
            "on_owner_death must be \"recover\", \"raise\" or \"ignore\", not {on_owner_death:?}"
        ))),
    }
}

impl SemLock {
    /// A new lock line of that kind, with the cell that a Value keeps beside it.
    pub(crate) fn create(
        py: Python<'_>,
        kind: ObjectKind,
        on_owner_death: &str,
        cell: u64,
    ) -> PyResult<Self> {
        Self::create_with(py, kind, on_owner_death, cell, 0)
    }

    /// The same with `more` zeroed bytes behind the line.
    pub(crate) fn create_with(
        py: Python<'_>,
        kind: ObjectKind,
        on_owner_death: &str,
        cell: u64,
        more: u64,
    ) -> PyResult<Self> {
        let recursive = if kind == ObjectKind::Lock {
            0
        } else {
            flags::RECURSIVE
        };
        let all = policy_flags(on_owner_death)? | recursive;
        let nbytes = size_of::<LockLine>() as u64 + more;
        let handle = Handle::create(py, kind, nbytes, |object, arena| {
            let line = object.lock_line(arena)?;
            line.flags.store(all, Relaxed);
            line.cell.store(cell, Relaxed);
            Ok(())
        })?;
        Self::on(py, handle)
    }

    pub(crate) fn open(
        py: Python<'_>,
        travelling: Travelling,
        may_be: impl Fn(ObjectKind) -> bool,
    ) -> PyResult<Self> {
        let handle = Handle::open(py, travelling, may_be)?;
        Self::on(py, handle)
    }

    fn on(py: Python<'_>, handle: Handle) -> PyResult<Self> {
        let line = handle
            .object
            .lock_line(handle.arena)
            .map_err(|error| crate::errors::to_python(py, &error))?;
        Ok(Self { handle, line })
    }

    #[inline]
    pub(crate) fn lock(&self) -> SharedLock<'static> {
        SharedLock::new(self.line)
    }

    /// The bits of a Value's scalar.
    #[inline]
    pub(crate) fn cell(&self) -> u64 {
        self.line.cell.load(Relaxed)
    }

    /// Stores the bits of a Value's scalar.
    #[inline]
    pub(crate) fn set_cell(&self, bits: u64) {
        self.line.cell.store(bits, Relaxed);
    }

    /// What `__new__` did with the argument, done again for subclasses whose own `__init__` has others.
    pub(crate) fn set_policy(&self, on_owner_death: &str) -> PyResult<()> {
        const POLICY: u32 = flags::RAISE | flags::IGNORE;
        let policy = policy_flags(on_owner_death)?;
        if self.line.flags.load(Relaxed) & POLICY != policy {
            self.line.flags.fetch_and(!POLICY, Relaxed);
            self.line.flags.fetch_or(policy, Relaxed);
        }
        Ok(())
    }

    pub(crate) fn party(&self, py: Python<'_>) -> PyResult<Party> {
        let owner = self.handle.member(py)?.local.owner;
        let thread = process::thread();
        Ok(Party { owner, thread })
    }

    /// Gives the lock back as often as it was acquired; how often that was.
    pub(crate) fn release_all(&self, py: Python<'_>) -> PyResult<u32> {
        let me = self.party(py)?;
        let depth = self.lock().depth_of(me.owner);
        for _ in 0..depth {
            self.lock().release(me).map_err(not_released)?;
        }
        Ok(depth)
    }

    /// Whether the calling thread holds the lock.
    pub(crate) fn is_mine(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.lock().is_mine(self.party(py)?))
    }

    /// How often this process has acquired it.
    pub(crate) fn depth(&self, py: Python<'_>) -> PyResult<u32> {
        Ok(self.lock().depth_of(self.party(py)?.owner))
    }

    /// Runs `f` with the lock held; nothing of Python may happen in it.
    pub(crate) fn with_lock<R>(
        slf: &Bound<'_, Self>,
        f: impl FnOnce(&LockLine) -> R,
    ) -> PyResult<R> {
        let this = slf.get();
        if !this.try_fast() {
            Self::acquire_until(slf, Deadline::NEVER, true, false)?;
        }
        let result = f(this.line);
        if !this.release_fast() {
            Self::release_slow(slf)?;
        }
        Ok(result)
    }
}

fn not_released(why: NotReleased) -> PyErr {
    match why {
        NotReleased::Free => PyValueError::new_err("semaphore or lock released too many times"),
        NotReleased::NotMine => {
            PyAssertionError::new_err("attempt to release recursive lock not owned by thread")
        }
    }
}

impl Gate for SemLock {
    #[inline]
    fn try_fast(&self) -> bool {
        let Some(owner) = self.handle.me() else {
            return false;
        };
        let thread = process::thread();
        let lock = self.lock();
        // A poisoned lock is settled by the slow way, which finds it free again.
        if lock.is_poisoned() {
            return false;
        }
        lock.try_acquire(Party { owner, thread })
    }

    #[inline]
    fn release_fast(&self) -> bool {
        let Some(owner) = self.handle.me() else {
            return false;
        };
        let thread = process::thread();
        self.lock().release(Party { owner, thread }).is_ok()
    }

    fn acquire_args(
        slf: &Bound<'_, Self>,
        block: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let blocking = block.map_or(Ok(true), Bound::is_truthy)?;
        match Patience::of(timeout)? {
            Patience::Until(deadline) => Self::acquire_until(slf, deadline, blocking, false),
            Patience::None => Self::acquire_until(slf, Deadline::NEVER, false, false),
        }
    }

    fn release_slow(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let me = this.party(slf.py())?;
        this.lock().release(me).map_err(not_released)
    }
}

#[pymethods]
impl SemLock {
    #[classattr]
    fn name() -> Option<String> {
        None
    }

    #[classattr]
    fn maxvalue() -> u32 {
        1
    }

    #[getter]
    fn kind(&self) -> u32 {
        u32::from(!self.lock().is_recursive())
    }

    #[getter]
    fn handle(&self) -> u64 {
        self.handle.object.offset
    }

    fn locked(&self) -> bool {
        !self.lock().owner().is_none()
    }

    #[getter]
    fn _semlock(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn _is_mine(&self, py: Python<'_>) -> PyResult<bool> {
        self.is_mine(py)
    }

    fn _count(&self, py: Python<'_>) -> PyResult<u32> {
        self.depth(py)
    }

    fn _get_value(&self) -> u32 {
        u32::from(self.lock().owner().is_none())
    }

    fn _is_zero(&self) -> bool {
        !self.lock().owner().is_none()
    }

    #[getter]
    fn on_owner_death(&self) -> &'static str {
        let bits = self.line.flags.load(Relaxed);
        if bits & flags::RAISE != 0 {
            "raise"
        } else if bits & flags::IGNORE != 0 {
            "ignore"
        } else {
            "recover"
        }
    }

    #[getter]
    fn recovered(&self) -> u32 {
        self.line.recovered.load(Relaxed)
    }

    #[getter]
    fn last_dead_pid(&self) -> u32 {
        self.line.last_dead_pid.load(Relaxed)
    }

    #[getter]
    fn holder(&self) -> Option<(u32, u64)> {
        let owner = self.lock().owner();
        if owner.is_none() {
            return None;
        }
        let pid = if owner == OwnerId::DECEASED {
            self.last_dead_pid()
        } else {
            self.handle.arena.pid_of(owner)
        };
        Some((pid, self.lock().thread()))
    }

    /// Notes where the holder took the lock; only debugging programs pay for that.
    fn _set_site(&self, text: &Bound<'_, Memory>) {
        let offset = text.get().offset();
        self.line.site.store(offset, Relaxed);
    }

    /// Where the holder took the lock, if it noted that and lives.
    fn _site(&self) -> Option<String> {
        Memory::text_at(self.handle.arena, self.line.site.load(Relaxed))
    }

    #[getter]
    fn poisoned(&self) -> bool {
        self.lock().is_poisoned()
    }

    fn _recover(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::acquire_until(slf, Deadline::NEVER, true, true).map(|_| ())
    }

    fn _poison(&self, py: Python<'_>) -> PyResult<()> {
        let me = self.party(py)?;
        if self.lock().depth_of(me.owner) == 0 {
            return Err(PyRuntimeError::new_err(
                "only the holder of a lock can poison it",
            ));
        }
        self.lock().set_poisoned(true);
        Ok(())
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
