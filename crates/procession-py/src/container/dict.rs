//! The dict's own methods.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use super::Shared;
use super::table::Table;
use crate::handle::Travelling;
use procession_core::table::{Changed, Expect};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// A mapping that every process of the family reads and writes.
#[pyclass(extends = Table, subclass, frozen, module = "procession._native")]
pub(crate) struct Dict;

/// After so many attempts that others foiled, with the container's lock.
const ATTEMPTS: usize = 64;

impl Dict {
    /// Replaces a value by what `next` makes of it, until nobody else has changed it meanwhile.
    fn replace<'py, R>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        mut next: impl FnMut(Option<Bound<'py, PyAny>>) -> PyResult<Next<'py, R>>,
    ) -> PyResult<R> {
        let (py, table) = (slf.py(), slf.as_super().get());
        table.with_key(key, |member, key| {
            let mut attempt = || -> PyResult<Option<R>> {
                let found = table.find(py, member, key)?;
                let expect = found
                    .as_ref()
                    .map_or(Expect::Absent, |(_, place)| Expect::Word(place.word));
                match next(found.map(|(value, _)| value))? {
                    Next::Keep(result) => Ok(Some(result)),
                    Next::Put(value, result) => {
                        let changed = table.put(slf.as_any(), member, key, &value, expect)?;
                        Ok(matches!(changed, Changed::Done(_)).then_some(result))
                    }
                    Next::Delete(result) => {
                        let gone = table.delete(slf.as_any(), member, key, expect)?;
                        Ok(gone.then_some(result))
                    }
                }
            };
            for _ in 0..ATTEMPTS {
                if let Some(result) = attempt()? {
                    return Ok(result);
                }
            }
            Shared::locked(slf.as_any(), || {
                loop {
                    if let Some(result) = attempt()? {
                        break Ok(result);
                    }
                }
            })
        })
    }
}

/// What a value is to become.
enum Next<'py, R> {
    Keep(R),
    Put(Bound<'py, PyAny>, R),
    Delete(R),
}

#[pymethods]
impl Dict {
    #[new]
    #[pyo3(signature = (*_args, _handle = None, **_options))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _handle: Option<Travelling>,
        _options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let base = Table::open(py, _handle)?;
        Ok(PyClassInitializer::from(base).add_subclass(Self))
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let table = slf.as_super().get();
        let found = table.with_key(key, |member, key| table.find(slf.py(), member, key))?;
        found
            .map(|(value, _)| value)
            .ok_or_else(|| PyKeyError::new_err((key.clone().unbind(),)))
    }

    fn __setitem__(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let table = slf.as_super().get();
        table.with_key(key, |member, key| {
            let _ = table.put(slf.as_any(), member, key, value, Expect::Any)?;
            Ok(())
        })
    }

    fn __delitem__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let table = slf.as_super().get();
        let gone = table.with_key(key, |member, key| {
            table.delete(slf.as_any(), member, key, Expect::Present)
        })?;
        gone.then_some(())
            .ok_or_else(|| PyKeyError::new_err((key.clone().unbind(),)))
    }

    #[pyo3(signature = (key, default = None, /))]
    fn get<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let table = slf.as_super().get();
        let found = table.with_key(key, |member, key| table.find(slf.py(), member, key))?;
        Ok(found.map(|(value, _)| value).or(default))
    }

    #[pyo3(signature = (key, default = None, /))]
    fn setdefault<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let default = default.unwrap_or_else(|| slf.py().None().into_bound(slf.py()));
        Self::replace(slf, key, |found| {
            Ok(match found {
                Some(value) => Next::Keep(value),
                None => Next::Put(default.clone(), default.clone()),
            })
        })
    }

    #[pyo3(signature = (key, /, *default))]
    fn pop<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if default.len() > 1 {
            let given = default.len() + 1;
            let text = format!("pop expected at most 2 arguments, got {given}");
            return Err(pyo3::exceptions::PyTypeError::new_err(text));
        }
        let popped = Self::replace(slf, key, |found| {
            Ok(match found {
                Some(value) => Next::Delete(Some(value)),
                None => Next::Keep(None),
            })
        })?;
        match popped {
            Some(value) => Ok(value),
            None if default.is_empty() => Err(PyKeyError::new_err((key.clone().unbind(),))),
            None => default.get_item(0),
        }
    }

    #[pyo3(signature = (key, /, by = None, *, default = None))]
    fn incr<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        by: Option<Bound<'py, PyAny>>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let by = by.map_or_else(|| 1.into_pyobject(py).map(Bound::into_any), Ok)?;
        let start = default.map_or_else(|| 0.into_pyobject(py).map(Bound::into_any), Ok)?;
        Self::replace(slf, key, |found| {
            let sum = found.unwrap_or_else(|| start.clone()).add(&by)?;
            Ok(Next::Put(sum.clone(), sum))
        })
    }

    #[pyo3(signature = (key, old, new, /))]
    fn compare_and_set<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        old: &Bound<'py, PyAny>,
        new: &Bound<'py, PyAny>,
    ) -> PyResult<bool> {
        Self::replace(slf, key, |found| {
            let same = match found {
                Some(value) => value.eq(old)?,
                None => false,
            };
            Ok(if same {
                Next::Put(new.clone(), true)
            } else {
                Next::Keep(false)
            })
        })
    }
}
