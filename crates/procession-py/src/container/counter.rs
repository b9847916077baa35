//! A counter: one word, changed by one instruction.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use crate::handle::{Handle, Travelling, open_as};
use procession_core::ObjectKind;
use procession_shm::contents::CounterLine;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

#[pyclass(subclass, frozen, weakref, module = "procession._native")]
pub(crate) struct Counter {
    pub(super) handle: Handle,
    line: &'static CounterLine,
}

impl Counter {
    /// Whether it is no longer 0: somebody has said that something has come to its end.
    pub(crate) fn has_begun(&self) -> bool {
        self.line.value.load(Acquire) != 0
    }
}

#[pymethods]
impl Counter {
    #[new]
    #[pyo3(signature = (value = 0, *, _handle = None))]
    fn new(py: Python<'_>, value: i64, _handle: Option<Travelling>) -> PyResult<Self> {
        let start = |line: &CounterLine| line.value.store(value as u64, Relaxed);
        let (handle, line) = Handle::with_body(py, ObjectKind::Counter, _handle, start)?;
        Ok(Self { handle, line })
    }

    #[getter]
    fn value(&self, py: Python<'_>) -> PyResult<i64> {
        self.handle.check(py)?;
        Ok(self.line.value.load(Acquire) as i64)
    }

    #[setter]
    fn set_value(&self, py: Python<'_>, value: i64) -> PyResult<()> {
        self.handle.check(py)?;
        self.line.value.swap(value as u64, AcqRel);
        Ok(())
    }

    #[pyo3(signature = (n = 1, /))]
    fn add(&self, py: Python<'_>, n: i64) -> PyResult<i64> {
        self.handle.check(py)?;
        let sum = |now: u64| (now as i64).checked_add(n).map(|sum| sum as u64);
        let before = self.line.value.fetch_update(AcqRel, Acquire, sum);
        before
            .map(|before| before as i64 + n)
            .map_err(|_| PyOverflowError::new_err("a counter has 64 bits"))
    }

    fn compare_exchange(&self, py: Python<'_>, old: i64, new: i64) -> PyResult<bool> {
        self.handle.check(py)?;
        let word = &self.line.value;
        let outcome = word.compare_exchange(old as u64, new as u64, AcqRel, Acquire);
        Ok(outcome.is_ok())
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
        open_as(cls, handle)
    }
}
