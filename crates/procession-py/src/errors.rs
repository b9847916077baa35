//! What the core's refusals are in Python, and what it calls above itself.

use procession_shm::ArenaError;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// Exceptions and callables that `procession._shared` defines and this module needs.
#[derive(Debug)]
pub(crate) struct Hooks {
    /// Called with (lock, pid) after a takeover, the lock held.
    pub(crate) owner_died: Py<PyAny>,
    /// Called with (lock, pid): the exception of `on_owner_death="raise"`.
    pub(crate) owner_died_error: Py<PyAny>,
    /// Called with (what, nanoseconds, lock or None) when Ctrl-C ends a wait.
    pub(crate) interrupted: Py<PyAny>,
    /// The class of what `Value.get_lock()` gives.
    pub(crate) rlock: Py<PyType>,
    pub(crate) stale_handle: Py<PyType>,
    pub(crate) arena_lost: Py<PyType>,
    pub(crate) unsupported: Py<PyType>,
}

pub(crate) static HOOKS: PyOnceLock<Hooks> = PyOnceLock::new();

/// The hooks. A pool's worker has loaded nothing that sets them, for it hardly ever needs one: it does so now.
pub(crate) fn hooks(py: Python<'_>) -> Option<&Hooks> {
    if HOOKS.get(py).is_none() {
        // Where that cannot be imported, errors are plain ones.
        py.import("procession._shared").ok();
    }
    HOOKS.get(py)
}

fn raise(py: Python<'_>, class: impl Fn(&Hooks) -> &Py<PyType>, text: String) -> PyErr {
    match hooks(py) {
        Some(hooks) => PyErr::from_type(class(hooks).bind(py).clone(), text),
        None => PyRuntimeError::new_err(text),
    }
}

/// The Python exception for a refusal of the arena.
pub(crate) fn to_python(py: Python<'_>, error: &ArenaError) -> PyErr {
    let text = error.to_string();
    match error {
        ArenaError::NoMemory(_) => PyMemoryError::new_err(text),
        ArenaError::Unsupported(_) => raise(py, |hooks| &hooks.unsupported, text),
        ArenaError::Lost(_) => raise(py, |hooks| &hooks.arena_lost, text),
        ArenaError::Stale(_) | ArenaError::Foreign(_) => {
            raise(py, |hooks| &hooks.stale_handle, text)
        }
        ArenaError::Crowded => PyOSError::new_err(text),
        ArenaError::System(error) => PyOSError::new_err((error.errno, text)),
    }
}

/// `later` with `earlier` as its context, as if raised while that was handled.
pub(crate) fn follow(py: Python<'_>, later: PyErr, earlier: &PyErr) -> PyErr {
    // An exception without a context says less, and is raised all the same.
    let _ = later.value(py).setattr("__context__", earlier.value(py));
    later
}

/// What was read from the arena makes no sense: some process has written where it should not.
pub(crate) fn corrupt(what: &str) -> PyErr {
    PyOSError::new_err(format!("shared memory is damaged: {what}"))
}
