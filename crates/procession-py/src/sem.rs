//! `SemLock`, `Lock` and `RLock`.
//!
//! The hot methods (acquire, release, `__enter__`, `__exit__`) are installed by [`crate::raw`]
//! on top of what is here.

#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]
#![expect(
    clippy::self_named_constructors,
    reason = "the name is the standard library's"
)]

use crate::blocking::{Blocking, Patience};
use crate::errors::{HOOKS, follow};
use crate::handle::{Handle, Travelling};
use crate::raw::{Gate, Memory};
use procession_core::ObjectKind;
use procession_core::lock::{Acquired, NotReleased, Party, SharedLock, Waited, flags};
use procession_shm::Liveness;
use procession_shm::OwnerId;
use procession_shm::layout::LockLine;
use procession_sys::clock::Deadline;
use procession_sys::process;
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyTypeError, PyValueError};
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
    fn set_policy(&self, on_owner_death: &str) -> PyResult<()> {
        const POLICY: u32 = flags::RAISE | flags::IGNORE;
        let policy = policy_flags(on_owner_death)?;
        if self.line.flags.load(Relaxed) & POLICY != policy {
            self.line.flags.fetch_and(!POLICY, Relaxed);
            self.line.flags.fetch_or(policy, Relaxed);
        }
        Ok(())
    }

    fn party(&self, py: Python<'_>) -> PyResult<Party> {
        let owner = self.handle.member(py)?.local.owner;
        let thread = process::thread();
        Ok(Party { owner, thread })
    }

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
                        Waited::Slice => wait.look_at_signals()?,
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

    /// Gives the lock back as often as it was acquired; how often that was.
    pub(crate) fn release_all(&self, py: Python<'_>) -> PyResult<u32> {
        let me = self.party(py)?;
        let depth = self.lock().depth_of(me.owner);
        for _ in 0..depth {
            self.lock().release(me).map_err(not_released)?;
        }
        Ok(depth)
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
                if let Err(error) = wait.look_at_signals() {
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
        if let (Acquired::Inherited(pid), Some(hooks)) = (how, HOOKS.get(py)) {
            hooks.owner_died.call1(py, (slf.clone(), pid))?;
        }
        Ok(())
    }

    /// Whether the calling thread holds the lock.
    pub(crate) fn is_mine(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.lock().is_mine(self.party(py)?))
    }

    /// How often this process has acquired it.
    pub(crate) fn depth(&self, py: Python<'_>) -> PyResult<u32> {
        Ok(self.lock().depth_of(self.party(py)?.owner))
    }

    /// The lock of a Value or an Array as an object of its own, of the class given to `set_hooks`.
    pub(crate) fn as_lock(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let class = HOOKS.get(py).map_or_else(
            || py.get_type::<RLock>(),
            |hooks| hooks.rlock.bind(py).clone(),
        );
        let given = PyDict::new(py);
        given.set_item("_handle", slf.get().handle.travelling())?;
        class
            .call_method("__new__", (&class,), Some(&given))
            .map(Bound::unbind)
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

fn owner_died_error(slf: &Bound<'_, SemLock>, pid: u32) -> PyErr {
    let py = slf.py();
    let Some(hooks) = HOOKS.get(py) else {
        return PyRuntimeError::new_err("the owner of the lock died");
    };
    match hooks.owner_died_error.call1(py, (slf.clone(), pid)) {
        Ok(error) => PyErr::from_value(error.into_bound(py)),
        Err(error) => error,
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
        let holders =
            procession_core::ledger::holders(self.handle.arena, self.handle.object.header);
        figures.set_item("handles", holders)?;
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

/// A lock that any thread of any process may release.
#[pyclass(extends = SemLock, subclass, frozen, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Lock;

/// A lock that its thread may acquire again.
#[pyclass(extends = SemLock, subclass, frozen, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct RLock;

fn make(
    py: Python<'_>,
    kind: ObjectKind,
    on_owner_death: &str,
    handle: Option<Travelling>,
) -> PyResult<SemLock> {
    match handle {
        None => SemLock::create(py, kind, on_owner_death, 0),
        // The own lock of a Value or an Array travels as an RLock.
        Some(handle) => SemLock::open(py, handle, |found| match found {
            ObjectKind::Value | ObjectKind::Array => kind == ObjectKind::RLock,
            _ => found == kind,
        }),
    }
}

#[pymethods]
impl Lock {
    #[new]
    #[pyo3(signature = (*, on_owner_death = "recover", ctx = None, _handle = None))]
    fn new(
        py: Python<'_>,
        on_owner_death: &str,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Travelling>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let _ = ctx; // the standard library's signature; our primitives need no context
        let base = make(py, ObjectKind::Lock, on_owner_death, _handle)?;
        Ok(PyClassInitializer::from(base).add_subclass(Self))
    }

    #[pyo3(signature = (*, on_owner_death = "recover", ctx = None))]
    fn __init__(
        slf: &Bound<'_, Self>,
        on_owner_death: &str,
        ctx: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = ctx;
        slf.as_super().get().set_policy(on_owner_death)
    }
}

#[pymethods]
impl RLock {
    #[new]
    #[pyo3(signature = (*, on_owner_death = "recover", ctx = None, _handle = None))]
    fn new(
        py: Python<'_>,
        on_owner_death: &str,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Travelling>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let _ = ctx;
        let base = make(py, ObjectKind::RLock, on_owner_death, _handle)?;
        Ok(PyClassInitializer::from(base).add_subclass(Self))
    }

    #[pyo3(signature = (*, on_owner_death = "recover", ctx = None))]
    fn __init__(
        slf: &Bound<'_, Self>,
        on_owner_death: &str,
        ctx: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = ctx;
        slf.as_super().get().set_policy(on_owner_death)
    }
}

/// Sorts the arguments of a method that takes these by position or by name.
pub(crate) fn sort_arguments<'a, 'py, const N: usize>(
    method: &str,
    parameters: [&str; N],
    positional: &'a [Bound<'py, PyAny>],
    named: &'a [(String, Bound<'py, PyAny>)],
) -> PyResult<[Option<&'a Bound<'py, PyAny>>; N]> {
    if positional.len() > N {
        return Err(PyTypeError::new_err(format!(
            "{method}() takes at most {N} argument{} ({} given)",
            if N == 1 { "" } else { "s" },
            positional.len()
        )));
    }
    let mut sorted = std::array::from_fn(|index| positional.get(index));
    for (name, value) in named {
        let Some(index) = parameters.iter().position(|known| known == name) else {
            return Err(PyTypeError::new_err(format!(
                "{method}() got an unexpected keyword argument '{name}'"
            )));
        };
        if sorted[index].replace(value).is_some() {
            return Err(PyTypeError::new_err(format!(
                "argument for {method}() given by name ('{name}') and position ({})",
                index + 1
            )));
        }
    }
    Ok(sorted)
}
