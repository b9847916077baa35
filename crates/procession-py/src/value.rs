//! `Value`: a scalar with its own recursive lock in the same cache line.

#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use crate::handle::Travelling;
use crate::locks::own_lock_of;
use crate::raw::Memory;
use crate::scalar::Scalar;
use crate::sem::SemLock;
use procession_core::ObjectKind;
use procession_core::object::BODY;
use procession_shm::layout::LockLine;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::sync::atomic::Ordering::Relaxed;

/// The lock is the base class; reads, writes and both atomic operations take it.
#[pyclass(extends = SemLock, subclass, frozen, module = "procession._native")]
pub(crate) struct Value {
    scalar: Scalar,
    code: char,
    lock: PyOnceLock<Py<PyAny>>,
}

impl Value {
    /// The value's bits, read under its lock.
    pub(crate) fn read(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let bits = SemLock::with_lock(slf.as_super(), |line| line.cell.load(Relaxed))?;
        Ok(slf.get().scalar.decode(slf.py(), bits))
    }

    /// Stores a value under its lock; a value that does not fit changes nothing.
    pub(crate) fn write(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let bits = slf.get().encode(value)?;
        SemLock::with_lock(slf.as_super(), |line| line.cell.store(bits, Relaxed))
    }

    /// Adds under the lock and gives the sum.
    pub(crate) fn plus(slf: &Bound<'_, Self>, n: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        if this.scalar.add(0, 0).is_none() {
            let text = format!("a Value of type {:?} has no add()", this.code);
            return Err(PyTypeError::new_err(text));
        }
        let by = this.encode(n)?;
        let sum = SemLock::with_lock(slf.as_super(), |line| {
            let sum = this.scalar.add(line.cell.load(Relaxed), by).unwrap_or(by);
            line.cell.store(sum, Relaxed);
            sum
        })?;
        Ok(this.scalar.decode(slf.py(), sum))
    }

    /// The type of the cell.
    pub(crate) fn scalar(&self) -> Scalar {
        self.scalar
    }

    fn encode(&self, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        self.scalar.encode(self.code, value)
    }
}

#[pymethods]
impl Value {
    #[new]
    #[pyo3(signature = (code, value = None, *, on_owner_death = "recover", _handle = None))]
    fn new(
        py: Python<'_>,
        code: char,
        value: Option<&Bound<'_, PyAny>>,
        on_owner_death: &str,
        _handle: Option<Travelling>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let scalar = Scalar::of_code(code)
            .ok_or_else(|| PyTypeError::new_err(format!("{code:?} is no scalar type code")))?;
        let bits = value.map_or(Ok(0), |value| scalar.encode(code, value))?;
        let base = match _handle {
            None => SemLock::create(py, ObjectKind::Value, on_owner_death, bits)?,
            Some(handle) => SemLock::open(py, handle, |kind| kind == ObjectKind::Value)?,
        };
        let lock = PyOnceLock::new();
        Ok(PyClassInitializer::from(base).add_subclass(Self { scalar, code, lock }))
    }

    #[getter]
    fn code(&self) -> char {
        self.code
    }

    fn compare_exchange(
        slf: &Bound<'_, Self>,
        old: &Bound<'_, PyAny>,
        new: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let this = slf.get();
        let (expected, next) = (this.encode(old)?, this.encode(new)?);
        // What does not fit the type can never be its value.
        let fits = this
            .scalar
            .decode(slf.py(), expected)
            .bind(slf.py())
            .eq(old)?;
        SemLock::with_lock(slf.as_super(), |line| {
            let equal = fits && this.scalar.equal(line.cell.load(Relaxed), expected);
            if equal {
                line.cell.store(next, Relaxed);
            }
            equal
        })
    }

    /// The lock as an object of its own; always the same one.
    fn get_lock(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let made = slf
            .get()
            .lock
            .get_or_try_init(py, || own_lock_of(slf.as_super()));
        Ok(made?.clone_ref(py))
    }

    /// The cell's bytes, for `ctype.from_buffer`.
    fn _memory(slf: &Bound<'_, Self>) -> PyResult<Memory> {
        let handle = slf.as_super().get().handle.duplicate(slf.py())?;
        let cell = BODY + std::mem::offset_of!(LockLine, cell) as u64;
        Memory::view(slf.py(), handle, cell, slf.get().scalar.size() as u64)
    }
}
