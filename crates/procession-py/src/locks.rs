//! The classes `Lock` and `RLock`.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use crate::errors::hooks;
use crate::handle::Travelling;
use crate::sem::SemLock;
use procession_core::ObjectKind;
use pyo3::prelude::*;
use pyo3::types::PyDict;

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
        // The own lock of a Value, an Array or a container travels as an RLock.
        Some(handle) => SemLock::open(py, handle, |found| match found {
            ObjectKind::Value | ObjectKind::Array | ObjectKind::Dict | ObjectKind::List => {
                kind == ObjectKind::RLock
            }
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

/// The lock of a Value or an Array as an object of its own, of the class given to `set_hooks`.
pub(crate) fn own_lock_of(slf: &Bound<'_, SemLock>) -> PyResult<Py<PyAny>> {
    let py = slf.py();
    let class = hooks(py).map_or_else(
        || py.get_type::<RLock>(),
        |hooks| hooks.rlock.bind(py).clone(),
    );
    let given = PyDict::new(py);
    given.set_item("_handle", slf.get().handle.travelling())?;
    class
        .call_method("__new__", (&class,), Some(&given))
        .map(Bound::unbind)
}
