//! The module's functions: the arena's life as Python drives it.

use crate::errors::{HOOKS, Hooks, to_python};
use crate::{keepers, segments};
use procession_core::{fork, fsck, leave, sweep};
use procession_shm::arena::Nonce;
use procession_shm::member::Member;
use procession_shm::{Arena, ArenaError};
use procession_sys::segment;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyType};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

/// This process in its current arena, which is made if there is none.
pub(crate) fn current_member(py: Python<'_>) -> PyResult<Member> {
    if let Some(arena) = Arena::current() {
        return fork::member(arena).map_err(|error| to_python(py, &error));
    }
    let made = first_member().map_err(|error| to_python(py, &error))?;
    register_fork_handlers(py)?;
    Ok(made)
}

/// Makes the process's first arena, which of several threads only one does. Nothing of Python
/// happens meanwhile, so no thread forks with the mutex held by another.
fn first_member() -> Result<Member, ArenaError> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let arena = if let Some(arena) = Arena::current() {
        arena
    } else {
        segment::sweep(); // of families that were killed with their wardens
        Arena::create()?
    };
    fork::member(arena)
}

/// The interpreter runs ours around every fork of Python's; children inherit the registration.
pub(crate) fn register_fork_handlers(py: Python<'_>) -> PyResult<()> {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if REGISTERED.swap(true, SeqCst) {
        return Ok(());
    }
    let handlers = PyDict::new(py);
    handlers.set_item("before", wrap_pyfunction!(_before_fork, py)?)?;
    handlers.set_item(
        "after_in_parent",
        wrap_pyfunction!(_after_fork_in_parent, py)?,
    )?;
    handlers.set_item(
        "after_in_child",
        wrap_pyfunction!(_after_fork_in_child, py)?,
    )?;
    py.import("os")?
        .call_method("register_at_fork", (), Some(&handlers))?;
    Ok(())
}

#[pyfunction]
fn _before_fork() {
    fork::before();
}

#[pyfunction]
fn _after_fork_in_parent() {
    fork::in_parent();
    keepers::forked(Arena::all().filter_map(Arena::known_member));
}

#[pyfunction]
fn _after_fork_in_child() {
    fork::in_child();
    keepers::in_child();
}

#[pyfunction]
fn ensure_arena(py: Python<'_>) -> PyResult<()> {
    current_member(py).map(|_| ())
}

#[pyfunction]
fn has_arena() -> bool {
    Arena::current().is_some()
}

fn existing(py: Python<'_>) -> PyResult<Member> {
    let arena =
        Arena::current().ok_or_else(|| PyRuntimeError::new_err("this process has no arena yet"))?;
    fork::member(arena).map_err(|error| to_python(py, &error))
}

#[pyfunction]
fn arena_fd(py: Python<'_>) -> PyResult<i32> {
    let member = current_member(py)?;
    member.arena.fd().map_err(|error| to_python(py, &error))
}

#[pyfunction]
fn arena_fd_of(py: Python<'_>, nonce: Nonce) -> PyResult<i32> {
    Arena::by_nonce(&nonce)
        .ok_or_else(|| ArenaError::Stale("this process has not mapped that arena".into()))
        .and_then(Arena::fd)
        .map_err(|error| to_python(py, &error))
}

#[pyfunction]
fn attach(py: Python<'_>, fd: i32) -> PyResult<Bound<'_, PyBytes>> {
    let arena = procession_sys::file::borrow(fd, |fd: BorrowedFd<'_>| Arena::open(fd));
    let arena = arena.map_err(|error| to_python(py, &error))?;
    fork::member(arena).map_err(|error| to_python(py, &error))?;
    register_fork_handlers(py)?;
    Ok(PyBytes::new(py, arena.nonce()))
}

#[pyfunction(name = "leave")]
fn leave_all() {
    segments::renew_warden();
    leave::leave();
}

#[pyfunction]
fn detach_held() -> Vec<(&'static str, u64)> {
    Arena::all()
        .filter_map(Arena::known_member)
        .flat_map(leave::detach_held)
        .map(|(kind, offset)| (kind.name(), offset))
        .collect()
}

#[pyfunction(name = "sweep")]
fn sweep_current(py: Python<'_>) -> PyResult<usize> {
    let member = existing(py)?;
    keepers::settle();
    let freed = sweep::sweep(member).map_err(|error| to_python(py, &error))?;
    member.trim();
    Ok(freed)
}

#[pyfunction]
#[pyo3(signature = (*, keep = 0))]
fn give_back(py: Python<'_>, keep: u64) -> PyResult<u64> {
    let member = existing(py)?;
    member.trim();
    Ok(member.give_back(keep))
}

#[pyfunction]
fn reaped(py: Python<'_>) -> PyResult<()> {
    for member in Arena::all().filter_map(Arena::known_member) {
        sweep::reaped(member).map_err(|error| to_python(py, &error))?;
    }
    keepers::settle();
    Ok(())
}

#[pyfunction(name = "fsck")]
fn fsck_current(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let arena = existing(py)?.arena;
    let report = fsck::fsck(arena).map_err(|error| to_python(py, &error))?;
    let found = PyDict::new(py);
    found.set_item("inconsistent", report.inconsistent)?;
    found.set_item("leaked", report.leaked)?;
    found.set_item("objects", report.objects)?;
    found.set_item("pinned", report.pinned)?;
    found.set_item("blocks", report.blocks)?;
    found.set_item("spans", report.spans)?;
    found.set_item("members", report.members)?;
    found.set_item("garbage", report.garbage)?;
    let occupied = arena.occupied().map_err(|error| to_python(py, &error))?;
    found.set_item("bytes_committed", occupied)?;
    Ok(found)
}

#[pyfunction]
fn statistics(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let arena = existing(py)?.arena;
    let found = fsck_current(py)?;
    for heavy in [
        "inconsistent",
        "leaked",
        "blocks",
        "garbage",
        "bytes_committed",
    ] {
        found.del_item(heavy)?;
    }
    found.set_item("size", arena.size())?;
    found.set_item(
        "committed",
        arena.occupied().map_err(|error| to_python(py, &error))?,
    )?;
    found.set_item("nonce", PyBytes::new(py, arena.nonce()))?;
    found.set_item("fd", arena.fd().map_err(|error| to_python(py, &error))?)?;
    Ok(found)
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "all by name")]
#[pyo3(signature = (*, owner_died, owner_died_error, interrupted, rlock, stale_handle, arena_lost, unsupported))]
fn set_hooks(
    py: Python<'_>,
    owner_died: Py<PyAny>,
    owner_died_error: Py<PyAny>,
    interrupted: Py<PyAny>,
    rlock: Py<PyType>,
    stale_handle: Py<PyType>,
    arena_lost: Py<PyType>,
    unsupported: Py<PyType>,
) -> PyResult<()> {
    let hooks = Hooks {
        owner_died,
        owner_died_error,
        interrupted,
        rlock,
        stale_handle,
        arena_lost,
        unsupported,
    };
    HOOKS
        .set(py, hooks)
        .map_err(|_| PyRuntimeError::new_err("the hooks are set already"))
}

#[pyfunction]
fn crash_points() -> Vec<&'static str> {
    procession_core::CRASH_POINTS.to_vec()
}

/// Adds all of these to the module.
pub(crate) fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ensure_arena, module)?)?;
    module.add_function(wrap_pyfunction!(has_arena, module)?)?;
    module.add_function(wrap_pyfunction!(arena_fd, module)?)?;
    module.add_function(wrap_pyfunction!(arena_fd_of, module)?)?;
    module.add_function(wrap_pyfunction!(attach, module)?)?;
    module.add_function(wrap_pyfunction!(leave_all, module)?)?;
    module.add_function(wrap_pyfunction!(detach_held, module)?)?;
    module.add_function(wrap_pyfunction!(sweep_current, module)?)?;
    module.add_function(wrap_pyfunction!(give_back, module)?)?;
    module.add_function(wrap_pyfunction!(reaped, module)?)?;
    module.add_function(wrap_pyfunction!(fsck_current, module)?)?;
    module.add_function(wrap_pyfunction!(statistics, module)?)?;
    module.add_function(wrap_pyfunction!(set_hooks, module)?)?;
    module.add_function(wrap_pyfunction!(crash_points, module)?)
}
