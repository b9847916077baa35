//! A Python object's share in an arena object.

use crate::arena;
use crate::errors::to_python;
use procession_core::spin::Backoff;
use procession_core::{Object, ObjectKind, fork, ledger};
use procession_shm::layout::Shared;
use procession_shm::local::Wiped;
use procession_shm::member::Member;
use procession_shm::{Arena, ArenaError, OwnerId};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// `(nonce, offset, serial)`, as handles travel.
pub(crate) type Travelling = ([u8; 16], u64, u64);

/// One handle to an object. Dropping it gives it back; in a process that was forked behind
/// our back and has not attached there is nothing to give back.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) arena: &'static Arena,
    pub(crate) object: Object,
    wiped: &'static Wiped,
    /// Who the process was when this handle was last found valid: another number means that
    /// we were forked since.
    seen: AtomicU32,
    /// What waiting for the object has been like.
    pub(crate) backoff: Backoff,
}

impl Handle {
    /// A new object in the current arena, which is made if there is none.
    pub(crate) fn create(
        py: Python<'_>,
        kind: ObjectKind,
        nbytes: u64,
        init: impl FnOnce(&Object, &'static Arena) -> Result<(), ArenaError>,
    ) -> PyResult<Self> {
        let member = arena::current_member(py)?;
        let made = Object::create(member, kind, nbytes, |object| init(object, member.arena));
        Self::made(py, member, made)
    }

    /// A new object in the current arena, with a body that is as its memory was left but for what `init` writes.
    pub(crate) fn create_filled(
        py: Python<'_>,
        kind: ObjectKind,
        nbytes: u64,
        init: impl FnOnce(&Object, &'static Arena) -> Result<(), ArenaError>,
    ) -> PyResult<Self> {
        let member = arena::current_member(py)?;
        let made = Object::create_filled(member, kind, nbytes, |object| init(object, member.arena));
        Self::made(py, member, made)
    }

    fn made(py: Python<'_>, member: Member, made: Result<Object, ArenaError>) -> PyResult<Self> {
        made.map(|object| Self::of(member, object))
            .map_err(|error| to_python(py, &error))
    }

    /// A new object of plain bytes in this member's arena.
    pub(crate) fn create_in(
        py: Python<'_>,
        member: Member,
        kind: ObjectKind,
        nbytes: u64,
    ) -> PyResult<Self> {
        Self::made(py, member, Object::create(member, kind, nbytes, |_| Ok(())))
    }

    /// The object behind a handle that travelled.
    pub(crate) fn open(
        py: Python<'_>,
        (nonce, offset, serial): Travelling,
        may_be: impl Fn(ObjectKind) -> bool,
    ) -> PyResult<Self> {
        let opened = Arena::by_nonce(&nonce)
            .ok_or_else(|| ArenaError::Stale("the handle is of another family of processes".into()))
            .and_then(fork::member)
            .and_then(|member| {
                let object = Object::open(member, offset, serial, may_be)?;
                Ok(Self::of(member, object))
            });
        opened.map_err(|error| to_python(py, &error))
    }

    /// An object whose body is an `L`: the one behind a handle that travelled, or else a new one,
    /// which `init` fills before anybody else sees it.
    pub(crate) fn with_body<L: Shared>(
        py: Python<'_>,
        kind: ObjectKind,
        travelled: Option<Travelling>,
        init: impl FnOnce(&L),
    ) -> PyResult<(Self, &'static L)> {
        let handle = match travelled {
            Some(handle) => Self::open(py, handle, |found| found == kind)?,
            None => Self::create(py, kind, size_of::<L>() as u64, |object, arena| {
                init(object.body(arena)?);
                Ok(())
            })?,
        };
        let body = handle.object.body(handle.arena);
        let body = body.map_err(|error| to_python(py, &error))?;
        Ok((handle, body))
    }

    /// How many processes hold the object.
    pub(crate) fn holders(&self) -> usize {
        ledger::holders(self.arena, self.object.header)
    }

    fn of(member: Member, object: Object) -> Self {
        Self {
            arena: member.arena,
            object,
            wiped: member.arena.wiped(),
            seen: AtomicU32::new(member.local.owner.bits()),
            backoff: Backoff::new(),
        }
    }

    /// A second handle to the same object.
    pub(crate) fn duplicate(&self, py: Python<'_>) -> PyResult<Self> {
        Self::open(py, self.travelling(), |_| true)
    }

    /// Who we are, if the handle is known to be good here: one load and one comparison.
    #[inline]
    pub(crate) fn me(&self) -> Option<OwnerId> {
        let me = self.wiped.owner().load(Relaxed);
        (me == self.seen.load(Relaxed)).then(|| OwnerId::of_word(me))
    }

    /// This process as a member, if the handle is known to be good here.
    #[inline]
    pub(crate) fn known_member(&self) -> Option<Member> {
        self.me()?;
        self.arena.known_member()
    }

    /// Finds out once per process whether the handle is good here.
    #[inline]
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.me().is_some() {
            Ok(())
        } else {
            self.member(py).map(|_| ())
        }
    }

    /// Who we are; after a fork this finds out whether the handle is good here.
    pub(crate) fn member(&self, py: Python<'_>) -> PyResult<Member> {
        let member = fork::member(self.arena).map_err(|error| to_python(py, &error))?;
        let owner = member.local.owner.bits();
        if self.seen.load(Relaxed) != owner {
            if !self.object.is_held(member) {
                let text = "the object was freed before this process, which was forked without \
                            procession's knowledge, used it";
                return Err(to_python(py, &ArenaError::Stale(text.into())));
            }
            self.seen.store(owner, Relaxed);
        }
        Ok(member)
    }

    pub(crate) fn travelling(&self) -> Travelling {
        (*self.arena.nonce(), self.object.offset, self.object.serial)
    }

    /// Keeps the object for the life of its arena.
    pub(crate) fn pin(&self, py: Python<'_>) -> PyResult<()> {
        ledger::pin(self.member(py)?, &self.object);
        Ok(())
    }
}

/// An instance of `cls` for a handle that travelled, made without `__init__`.
pub(crate) fn open_as<'py>(
    cls: &Bound<'py, PyType>,
    handle: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let given = PyDict::new(cls.py());
    given.set_item("_handle", handle)?;
    cls.call_method("__new__", (cls,), Some(&given))
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(member) = self.arena.known_member() {
            self.object.drop_handle(member);
        }
    }
}
