//! What dicts and sets share.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use super::iterate::{Members, what_of};
use super::{Shared, buffer, give_buffer_back, keys};
use crate::handle::{Travelling, open_as};
use procession_core::ObjectKind;
use procession_core::table::{Changed, Expect, Key, Place, Table as CoreTable};
use procession_shm::member::Member;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

/// Keys, each with a value.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
pub(crate) struct Table {
    pub(super) shared: Shared,
}

impl Table {
    pub(super) fn open(py: Python<'_>, handle: Option<Travelling>) -> PyResult<Self> {
        let shared = Shared::new(py, ObjectKind::Dict, handle)?;
        Ok(Self { shared })
    }

    #[inline]
    pub(super) fn core(&self) -> CoreTable {
        CoreTable(self.shared.container)
    }

    /// Runs `f` with an encoded key.
    #[inline]
    pub(super) fn with_key<R>(
        &self,
        key: &Bound<'_, PyAny>,
        f: impl FnOnce(Member, Key<'_>) -> PyResult<R>,
    ) -> PyResult<R> {
        let member = self.shared.member(key.py())?;
        let mut bytes = buffer();
        keys::encode(key, &mut bytes)?;
        let done = f(member, Key::new(member.arena, &bytes));
        give_buffer_back(bytes);
        done
    }

    /// The value under a key, and where it was found.
    #[inline]
    pub(super) fn find<'py>(
        &self,
        py: Python<'py>,
        member: Member,
        key: Key<'_>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, Place)>> {
        self.shared
            .read(py, member, |into| self.core().get(member.arena, key, into))
    }

    /// Puts a value under a key, if what is there is as expected.
    #[inline]
    pub(super) fn put(
        &self,
        whole: &Bound<'_, PyAny>,
        member: Member,
        key: Key<'_>,
        value: &Bound<'_, PyAny>,
        expect: Expect,
    ) -> PyResult<Changed> {
        let blob = self.shared.blob(member, key.bytes, value)?;
        let put = |writer| self.core().put(writer, key, &blob, expect);
        let is_in = |changed: &Changed| matches!(changed, Changed::Done(_));
        Shared::put_blob(whole, member, &blob, put, is_in)
    }

    /// Takes a key out, if what is there is as expected.
    pub(super) fn delete(
        &self,
        whole: &Bound<'_, PyAny>,
        member: Member,
        key: Key<'_>,
        expect: Expect,
    ) -> PyResult<bool> {
        let delete = |writer| self.core().delete(writer, key, expect);
        let changed = Shared::change(whole, member, delete)?;
        Ok(matches!(changed, Changed::Done(_)))
    }
}

#[pymethods]
impl Table {
    #[new]
    #[pyo3(signature = (*_args, _handle = None, **_options))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _handle: Option<Travelling>,
        _options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Self::open(py, _handle)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.shared.member(py)?;
        Ok(self.shared.container.length() as usize)
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.with_key(key, |member, key| {
            Ok(self.core().contains(member.arena, key))
        })
    }

    /// Adds a key without a value; False when it was there.
    fn _add(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let this = slf.get();
        let none = slf.py().None().into_bound(slf.py());
        this.with_key(key, |member, key| {
            if this.core().contains(member.arena, key) {
                return Ok(false);
            }
            let changed = this.put(slf.as_any(), member, key, &none, Expect::Absent)?;
            Ok(matches!(changed, Changed::Done(_)))
        })
    }

    /// Takes a key out; False when it was not there.
    fn _discard(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let this = slf.get();
        this.with_key(key, |member, key| {
            this.delete(slf.as_any(), member, key, Expect::Present)
        })
    }

    /// Takes the member out that was put in last: key and value.
    fn _pop_last<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let (py, this) = (slf.py(), slf.get());
        let member = this.shared.member(py)?;
        let mut bytes = Vec::new();
        loop {
            let find = |into: &mut _| this.core().last(member.arena, &mut bytes, into);
            let Some((value, place)) = this.shared.read(py, member, find)? else {
                return Err(PyKeyError::new_err("the container is empty"));
            };
            let key = Key::new(member.arena, &bytes);
            if this.delete(slf.as_any(), member, key, Expect::Word(place.word))? {
                return Ok((keys::decode(py, &bytes)?, value));
            }
        }
    }

    fn clear(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let member = this.shared.member(slf.py())?;
        Shared::change(slf.as_any(), member, |writer| {
            this.shared.container.clear(writer)
        })
    }

    /// Iterates over keys (0), values (1), or pairs of both (2).
    fn _iterate(&self, py: Python<'_>, what: u8, reverse: bool) -> PyResult<Members> {
        let member = self.shared.member(py)?;
        Members::of(py, &self.shared, member, what_of(what), reverse)
    }

    fn _settle(&self, py: Python<'_>) -> PyResult<()> {
        let member = self.shared.member(py)?;
        self.shared.container.settle(member);
        Ok(())
    }

    fn _handle(&self) -> Travelling {
        self.shared.handle.travelling()
    }

    fn _pin(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.handle.pin(py)
    }

    #[classmethod]
    fn _open<'py>(
        cls: &Bound<'py, PyType>,
        handle: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        open_as(cls, handle)
    }
}
