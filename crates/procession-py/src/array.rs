//! `Array`: scalars behind a recursive lock of their own, in one block.
//!
//! ```text
//! lock line (64 bytes) | item 0 | item 1 | ...
//! ```
//!
//! What is quick is done here: an item, a slice without step. Everything else (steps, errors,
//! deletion, odd values) is ctypes' own doing, under the lock: `_get` and `_set` of the Python
//! face, so that exceptions and half-done assignments are the standard library's.

#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use crate::handle::Travelling;
use crate::locks::own_lock_of;
use crate::raw::{Bytes, Memory};
use crate::scalar::Scalar;
use crate::sem::SemLock;
use procession_core::ObjectKind;
use procession_core::object::BODY;
use procession_shm::layout::LockLine;
use pyo3::exceptions::{PyAttributeError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyList, PySlice, PyTuple};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

const ITEMS: u64 = BODY + size_of::<LockLine>() as u64;

/// The lock is the base class; each access takes it once.
#[pyclass(extends = SemLock, subclass, frozen, module = "procession._native")]
pub(crate) struct Array {
    scalar: Scalar,
    code: char,
    bytes: Bytes,
    lock: PyOnceLock<Py<PyAny>>,
}

/// Items of N bytes each.
fn words<const N: usize>(items: &[u8]) -> impl ExactSizeIterator<Item = [u8; N]> + '_ {
    items.chunks_exact(N).map(|item| {
        let mut word = [0; N];
        word.copy_from_slice(item);
        word
    })
}

impl Array {
    fn count(&self) -> usize {
        self.bytes.len() / self.scalar.size()
    }

    /// The place of an item; None for what is no index, or outside.
    fn place(&self, key: &Bound<'_, PyAny>) -> Option<usize> {
        let index: isize = key.cast_exact::<PyInt>().ok()?.extract().ok()?;
        let count = self.count();
        let index = if index < 0 {
            index.checked_add_unsigned(count)?
        } else {
            index
        };
        let index = usize::try_from(index).ok()?;
        (index < count).then(|| index * self.scalar.size())
    }

    /// The bytes of a slice without step; None for any other.
    fn range(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Range<usize>>> {
        let Ok(slice) = key.cast_exact::<PySlice>() else {
            return Ok(None);
        };
        let found = slice.indices(isize::try_from(self.count())?)?;
        if found.step != 1 || found.start < 0 {
            return Ok(None);
        }
        let size = self.scalar.size();
        let start = found.start.unsigned_abs() * size;
        Ok(Some(start..start + found.slicelength * size))
    }

    fn load(&self, place: usize) -> u64 {
        let mut word = [0; 8];
        self.bytes.read(place, &mut word[..self.scalar.size()]);
        u64::from_le_bytes(word)
    }

    fn store(&self, place: usize, bits: u64) {
        let word = bits.to_le_bytes();
        self.bytes.write(place, &word[..self.scalar.size()]);
    }

    /// Python's objects for copied items.
    fn decode<'py>(&self, py: Python<'py>, items: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let list = match self.scalar {
            Scalar::Char => return Ok(PyBytes::new(py, items).into_any()),
            // The usual ones without a look at the type for each item.
            Scalar::Signed(32) => PyList::new(py, words(items).map(i32::from_le_bytes))?,
            Scalar::Signed(64) => PyList::new(py, words(items).map(i64::from_le_bytes))?,
            Scalar::Double => PyList::new(py, words(items).map(f64::from_le_bytes))?,
            _ => PyList::new(
                py,
                items.chunks_exact(self.scalar.size()).map(|item| {
                    let mut word = [0; 8];
                    word[..item.len()].copy_from_slice(item);
                    self.scalar.decode(py, u64::from_le_bytes(word))
                }),
            )?,
        };
        Ok(list.into_any())
    }

    /// The bytes of `count` values; None when ctypes has to look at them.
    fn encode(&self, values: &Bound<'_, PyAny>, count: usize) -> Option<Vec<u8>> {
        if self.scalar == Scalar::Char {
            let bytes = values.cast_exact::<PyBytes>().ok()?.as_bytes();
            return (bytes.len() == count).then(|| bytes.to_vec());
        }
        if let Ok(list) = values.cast_exact::<PyList>() {
            (list.len() == count).then(|| self.encode_all(list.iter(), count))?
        } else {
            let tuple = values.cast_exact::<PyTuple>().ok()?;
            (tuple.len() == count).then(|| self.encode_all(tuple.iter(), count))?
        }
    }

    fn encode_all<'py>(
        &self,
        values: impl Iterator<Item = Bound<'py, PyAny>>,
        count: usize,
    ) -> Option<Vec<u8>> {
        match self.scalar.size() {
            8 => self.encode_words::<8>(values, count),
            4 => self.encode_words::<4>(values, count),
            2 => self.encode_words::<2>(values, count),
            _ => self.encode_words::<1>(values, count),
        }
    }

    fn encode_words<'py, const N: usize>(
        &self,
        values: impl Iterator<Item = Bound<'py, PyAny>>,
        count: usize,
    ) -> Option<Vec<u8>> {
        let mut encoded = Vec::with_capacity(count * N);
        for value in values {
            let word = self.encode_one(&value)?.to_le_bytes();
            encoded.extend_from_slice(&word[..N]);
        }
        // A list may change its length while a value of it is converted.
        (encoded.len() == count * N).then_some(encoded)
    }

    #[inline]
    fn encode_one(&self, value: &Bound<'_, PyAny>) -> Option<u64> {
        let quick = if let Ok(float) = value.cast_exact::<PyFloat>() {
            self.scalar.bits_of_float(float.value())
        } else if let Ok(integer) = value.cast_exact::<PyInt>() {
            self.scalar.bits_of_integer(integer.extract().ok()?)
        } else {
            None
        };
        quick.or_else(|| self.scalar.encode(self.code, value).ok())
    }
}

#[pymethods]
impl Array {
    #[new]
    #[pyo3(signature = (code, length = 0, *, on_owner_death = "recover", _handle = None))]
    fn new(
        py: Python<'_>,
        code: char,
        length: usize,
        on_owner_death: &str,
        _handle: Option<Travelling>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let scalar = Scalar::of_code(code)
            .ok_or_else(|| PyTypeError::new_err(format!("{code:?} is no scalar type code")))?;
        let base = if let Some(handle) = _handle {
            SemLock::open(py, handle, |kind| kind == ObjectKind::Array)?
        } else {
            let nbytes = length
                .checked_mul(scalar.size())
                .filter(|nbytes| isize::try_from(*nbytes).is_ok())
                .ok_or_else(|| PyOverflowError::new_err("array too large"))?;
            SemLock::create_with(py, ObjectKind::Array, on_owner_death, 0, nbytes as u64)?
        };
        let nbytes = base.handle.object.header.nbytes.load(Relaxed);
        let items = nbytes.saturating_sub(size_of::<LockLine>() as u64);
        let bytes = Bytes::of(py, &base.handle, ITEMS, items)?;
        let lock = PyOnceLock::new();
        Ok(PyClassInitializer::from(base).add_subclass(Self {
            scalar,
            code,
            bytes,
            lock,
        }))
    }

    #[getter]
    fn code(&self) -> char {
        self.code
    }

    fn __len__(&self) -> usize {
        self.count()
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        if let Some(place) = this.place(key) {
            let bits = SemLock::with_lock(slf.as_super(), |_| this.load(place))?;
            return Ok(this.scalar.decode(py, bits).into_bound(py));
        }
        match this.range(key)? {
            Some(range) if this.scalar != Scalar::WideChar => {
                let mut items = vec![0; range.len()];
                SemLock::with_lock(slf.as_super(), |_| this.bytes.read(range.start, &mut items))?;
                this.decode(py, &items)
            }
            _ => slf.call_method1("_get", (key,)),
        }
    }

    fn __setitem__<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let this = slf.get();
        if let Some(place) = this.place(key) {
            if let Some(bits) = this.encode_one(value) {
                return SemLock::with_lock(slf.as_super(), |_| this.store(place, bits));
            }
        } else if let Some(range) = this.range(key)? {
            if let Some(items) = this.encode(value, range.len() / this.scalar.size()) {
                return SemLock::with_lock(slf.as_super(), |_| {
                    this.bytes.write(range.start, &items);
                });
            }
        }
        slf.call_method1("_set", (key, value)).map(|_| ())
    }

    #[expect(clippy::unused_self, reason = "the protocol's signature")]
    fn __delitem__(&self, _key: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyAttributeError::new_err("__delitem__")) // the standard library's text
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

    /// The items' bytes, for `ctype.from_buffer`.
    fn _memory(slf: &Bound<'_, Self>) -> PyResult<Memory> {
        let handle = slf.as_super().get().handle.duplicate(slf.py())?;
        Memory::view(slf.py(), handle, ITEMS, slf.get().bytes.len() as u64)
    }
}
