//! What dicts and sets share.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use super::directory::Directory;
use super::iterate::{Members, what_of};
use super::keys::Form;
use super::{Shared, buffer, give_buffer_back, keys};
use crate::handle::{Travelling, open_as};
use procession_core::ObjectKind;
use procession_core::table::{Changed, Expect, Key, Place, Table as CoreTable};
use procession_shm::member::Member;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

/// Attempts to put a key in before those who put others in are made to wait.
const ATTEMPTS: usize = 8;

/// Keys, each with a value.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
pub(crate) struct Table {
    pub(super) shared: Shared,
    directory: Directory,
}

/// A key that somebody looks for.
pub(super) struct Sought<'a, 'py> {
    key: &'a Bound<'py, PyAny>,
    bytes: &'a [u8],
    form: Form,
}

impl Table {
    pub(super) fn open(py: Python<'_>, handle: Option<Travelling>) -> PyResult<Self> {
        let shared = Shared::new(py, ObjectKind::Dict, handle)?;
        Ok(Self {
            shared,
            directory: Directory::default(),
        })
    }

    #[inline]
    pub(super) fn core(&self) -> CoreTable {
        CoreTable(self.shared.container)
    }

    /// Runs `f` with an encoded key.
    #[inline]
    pub(super) fn with_key<'py, R>(
        &self,
        key: &Bound<'py, PyAny>,
        f: impl FnOnce(Member, &Sought<'_, 'py>) -> PyResult<R>,
    ) -> PyResult<R> {
        let member = self.shared.member(key.py())?;
        let mut bytes = buffer();
        let form = keys::encode(key, &mut bytes)?;
        let sought = Sought {
            key,
            bytes: &bytes,
            form,
        };
        let done = f(member, &sought);
        give_buffer_back(bytes);
        done
    }

    /// Runs `f` with the key as it stands in the table; None when it does not.
    #[inline]
    fn with_known<R>(
        &self,
        member: Member,
        sought: &Sought<'_, '_>,
        f: impl FnOnce(Key<'_>) -> R,
    ) -> PyResult<Option<R>> {
        if sought.form != Form::Compared {
            return Ok(Some(f(Key::new(member.arena, sought.bytes))));
        }
        let (name, _) = self.directory.find(member.arena, self.core(), sought.key)?;
        Ok(name.map(|name| f(Key::new(member.arena, &name))))
    }

    /// The value under a key, and where it was found.
    #[inline]
    pub(super) fn find<'py>(
        &self,
        py: Python<'py>,
        member: Member,
        sought: &Sought<'_, '_>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, Place)>> {
        let found = self.with_known(member, sought, |key| {
            self.shared
                .read(py, member, |into| self.core().get(member.arena, key, into))
        })?;
        found.unwrap_or(Ok(None))
    }

    fn contains(&self, member: Member, sought: &Sought<'_, '_>) -> PyResult<bool> {
        let look = |key: Key<'_>| self.core().contains(member.arena, key);
        Ok(self.with_known(member, sought, look)?.unwrap_or(false))
    }

    /// Puts a value under a key, if what is there is as expected.
    #[inline]
    pub(super) fn put(
        &self,
        whole: &Bound<'_, PyAny>,
        member: Member,
        sought: &Sought<'_, '_>,
        value: &Bound<'_, PyAny>,
        expect: Expect,
    ) -> PyResult<Changed> {
        let spelling = match sought.form {
            Form::Whole => None,
            Form::Equal => Some(keys::spell(sought.key, self.shared.nonce())?),
            Form::Compared => return self.put_compared(whole, member, sought, value, expect),
        };
        let key = Key::new(member.arena, sought.bytes);
        self.put_spelt(whole, member, key, spelling, value, expect)
    }

    /// Puts a value under these bytes. A key that is there keeps its spelling.
    fn put_spelt(
        &self,
        whole: &Bound<'_, PyAny>,
        member: Member,
        key: Key<'_>,
        mut spelling: Option<Vec<u8>>,
        value: &Bound<'_, PyAny>,
        expect: Expect,
    ) -> PyResult<Changed> {
        loop {
            let blob = self
                .shared
                .blob(member, key.bytes, spelling.as_deref(), value)?;
            let put = |writer| self.core().put(writer, key, &blob, expect);
            let is_in = |changed: &Changed| matches!(changed, Changed::Done(_));
            let changed = Shared::put_blob(whole, member, &blob, put, is_in)?;
            if !matches!(changed, Changed::SpeltOtherwise(_)) {
                return Ok(changed);
            }
            let mut other = Vec::new();
            if self.core().spelling(member.arena, key, &mut other) {
                spelling = keys::is_spelling(&other).then_some(other);
            }
        }
    }

    #[cold]
    fn put_compared(
        &self,
        whole: &Bound<'_, PyAny>,
        member: Member,
        sought: &Sought<'_, '_>,
        value: &Bound<'_, PyAny>,
        expect: Expect,
    ) -> PyResult<Changed> {
        let attempt = || self.try_put_compared(whole, member, sought, value, expect);
        for _ in 0..ATTEMPTS {
            if let Some(changed) = attempt()? {
                return Ok(changed);
            }
        }
        Shared::locked(whole, || {
            loop {
                if let Some(changed) = attempt()? {
                    break Ok(changed);
                }
            }
        })
    }

    /// None: keys were put in meanwhile, one of which may equal this one.
    fn try_put_compared(
        &self,
        whole: &Bound<'_, PyAny>,
        member: Member,
        sought: &Sought<'_, '_>,
        value: &Bound<'_, PyAny>,
        expect: Expect,
    ) -> PyResult<Option<Changed>> {
        let (py, arena) = (whole.py(), member.arena);
        let (name, newest) = self.directory.find(arena, self.core(), sought.key)?;
        if let Some(name) = name {
            let (key, mut spelling) = (Key::new(arena, &name), Vec::new());
            if self.core().spelling(arena, key, &mut spelling) {
                let there = match expect {
                    Expect::Any => Expect::Present,
                    other => other,
                };
                let changed = self.put_spelt(whole, member, key, Some(spelling), value, there)?;
                // By now it may be gone again, and then put in under another name.
                return Ok((changed != Changed::Unexpected(0)).then_some(changed));
            }
        }
        if !matches!(expect, Expect::Any | Expect::Absent) {
            return Ok(Some(Changed::Unexpected(0)));
        }
        let spelling = keys::spell(sought.key, self.shared.nonce())?;
        let name = keys::unique(member);
        let (key, new) = (Key::new(arena, &name), Expect::Newest(newest));
        self.directory.foresee(py, &name, &spelling)?;
        let changed = self.put_spelt(whole, member, key, Some(spelling), value, new);
        if !matches!(changed, Ok(Changed::Done(_))) {
            self.directory.forget(py, &name)?;
        }
        let changed = changed?;
        Ok((changed != Changed::Unexpected(0)).then_some(changed))
    }

    /// Takes a key out, if what is there is as expected.
    pub(super) fn delete(
        &self,
        whole: &Bound<'_, PyAny>,
        member: Member,
        sought: &Sought<'_, '_>,
        expect: Expect,
    ) -> PyResult<bool> {
        let gone = self.with_known(member, sought, |key| {
            self.delete_known(whole, member, key, expect)
        })?;
        gone.unwrap_or(Ok(false))
    }

    fn delete_known(
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
        self.with_key(key, |member, key| self.contains(member, key))
    }

    /// Adds a key without a value; False when it was there.
    fn _add(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let this = slf.get();
        let none = slf.py().None().into_bound(slf.py());
        this.with_key(key, |member, key| {
            if this.contains(member, key)? {
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
        let (mut bytes, mut spelling) = (Vec::new(), Vec::new());
        loop {
            let find = |into: &mut _| {
                this.core()
                    .last(member.arena, &mut bytes, &mut spelling, into)
            };
            let Some((value, place)) = this.shared.read(py, member, find)? else {
                return Err(PyKeyError::new_err("the container is empty"));
            };
            let key = Key::new(member.arena, &bytes);
            let popped = keys::decode(py, &spelling)?; // or nothing is taken out
            if this.delete_known(slf.as_any(), member, key, Expect::Word(place.word))? {
                return Ok((popped, value));
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
