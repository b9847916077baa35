//! `Table`, `Dict`, `List` and `Counter`: the core's containers, their members as Python objects.
//!
//! ```text
//! change   encode key and value -> blob -> (core: lock, one store, unlock) -> free what it replaced
//! read     (core: copy) -> open the objects that the value refers to -> decode
//! ```
//!
//! All that is Python's happens before the core is asked, or after.

mod counter;
mod dict;
mod directory;
mod iterate;
mod keys;
mod list;
mod splice;
mod table;
mod values;

pub(crate) use counter::Counter;
pub(crate) use dict::Dict;
pub(crate) use iterate::Members;
pub(crate) use list::List;
pub(crate) use table::Table;

use keys::Form;

use crate::errors::to_python;
use crate::handle::{Handle, Travelling};
use procession_core::blob::{self, Blob, LONGEST_KEY, Named};
use procession_core::container::{CONTAINER_BYTES, Container, Refused, Writer};
use procession_core::nested::{self, Opened};
use procession_core::table::{Copied, Place};
use procession_core::{Object, ObjectKind};
use procession_shm::layout::LockLine;
use procession_shm::member::Member;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::process;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList};
use std::cell::Cell;

/// What `procession._shared` gives to this module.
pub(crate) struct Hooks {
    /// `(object, nonce) -> (bytes, objects that they refer to)`
    dumps: Py<PyAny>,
    /// `bytes -> object`
    loads: Py<PyAny>,
    /// `key -> (kind, plain key)`, or None
    canonical: Py<PyAny>,
    /// `container -> lock`
    lock: Py<PyAny>,
    /// The classes whose objects lie in containers by a number instead of a pickle.
    faces: Py<PyList>,
}

static HOOKS: PyOnceLock<Hooks> = PyOnceLock::new();

fn hooks(py: Python<'_>) -> PyResult<&Hooks> {
    HOOKS
        .get(py)
        .ok_or_else(|| PyRuntimeError::new_err("procession.shared has not been imported"))
}

#[pyfunction]
#[pyo3(signature = (*, dumps, loads, canonical, lock, faces))]
fn set_container_hooks(
    py: Python<'_>,
    dumps: Py<PyAny>,
    loads: Py<PyAny>,
    canonical: Py<PyAny>,
    lock: Py<PyAny>,
    faces: Py<PyList>,
) -> PyResult<()> {
    let hooks = Hooks {
        dumps,
        loads,
        canonical,
        lock,
        faces,
    };
    HOOKS
        .set(py, hooks)
        .map_err(|_| PyRuntimeError::new_err("the hooks are set already"))
}

/// Adds the classes and functions to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Table>()?;
    module.add_class::<Dict>()?;
    module.add_class::<List>()?;
    module.add_class::<Counter>()?;
    module.add_class::<Members>()?;
    module.add_function(wrap_pyfunction!(encode_key, module)?)?;
    module.add_function(wrap_pyfunction!(set_container_hooks, module)?)
}

/// The bytes that a key and all its equals share.
#[pyfunction]
fn encode_key<'py>(key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let mut bytes = Vec::new();
    if keys::encode(key, &mut bytes)? == Form::Compared {
        let kind = key.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "only their own code knows what '{kind}' objects equal"
        )));
    }
    Ok(PyBytes::new(key.py(), &bytes))
}

thread_local! {
    /// One for a key, one for a value.
    static SPARE: [Cell<Vec<u8>>; 2] = const { [Cell::new(Vec::new()), Cell::new(Vec::new())] };
}

/// Larger buffers are not kept, in bytes.
const KEPT_BUFFER: usize = 64 << 10;

/// A buffer that this thread used before. Python code that runs meanwhile finds another one.
fn buffer() -> Vec<u8> {
    let mut buffer = SPARE.with(|spare| {
        let first = spare[0].take();
        if first.capacity() == 0 {
            spare[1].take()
        } else {
            first
        }
    });
    buffer.clear();
    buffer
}

fn give_buffer_back(buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT_BUFFER {
        SPARE.with(|spare| {
            let other = spare[0].replace(buffer);
            if other.capacity() != 0 {
                spare[1].set(other);
            }
        });
    }
}

/// A handle to a container.
pub(crate) struct Shared {
    handle: Handle,
    container: Container,
}

impl Shared {
    fn new(py: Python<'_>, kind: ObjectKind, travelled: Option<Travelling>) -> PyResult<Self> {
        let handle = match travelled {
            Some(handle) => Handle::open(py, handle, |found| found == kind)?,
            None => Handle::create(py, kind, CONTAINER_BYTES, |object, arena| {
                let line: &LockLine = object.lock_line(arena)?;
                line.flags
                    .store(procession_core::lock::flags::RECURSIVE, Relaxed);
                Ok(())
            })?,
        };
        let container = Container::of(handle.arena, &handle.object);
        let container = container.map_err(|error| to_python(py, &error))?;
        Ok(Self { handle, container })
    }

    #[inline]
    fn member(&self, py: Python<'_>) -> PyResult<Member> {
        match self.handle.known_member() {
            Some(member) => Ok(member),
            None => self.handle.member(py),
        }
    }

    fn nonce(&self) -> &'static [u8; 16] {
        self.handle.arena.nonce()
    }

    /// A blob of ours with this key, and its spelling if it needs one, for a value.
    fn blob(
        &self,
        member: Member,
        key: &[u8],
        spelling: Option<&[u8]>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Blob> {
        let py = value.py();
        let longest = key.len().max(spelling.map_or(0, <[u8]>::len));
        if longest > LONGEST_KEY {
            return Err(PyValueError::new_err(format!(
                "the key has {longest} bytes: those of a shared container have at most {LONGEST_KEY}"
            )));
        }
        let mut bytes = buffer();
        if let Some(spelling) = spelling {
            blob::spell(spelling, &mut bytes);
        }
        let refers = values::encode(value, self.nonce(), &mut bytes)?;
        let named: Vec<Named> = refers.named()?;
        let of = match spelling {
            Some(_) => Blob::make_spelt,
            None => Blob::make,
        };
        let made = of(member, key, &bytes, &named)
            .and_then(|blob| nested::enter(member, &blob, &named).map(|()| blob));
        give_buffer_back(bytes);
        made.map_err(|error| to_python(py, &error))
    }

    /// Makes a change; while somebody else has the container's lock, takes that first.
    #[inline]
    fn change<R>(
        whole: &Bound<'_, PyAny>,
        member: Member,
        mut act: impl FnMut(Writer) -> Result<R, Refused>,
    ) -> PyResult<R> {
        let py = whole.py();
        let thread = process::thread();
        match act(Writer { member, thread }) {
            Ok(made) => Ok(made),
            Err(Refused::Arena(error)) => Err(to_python(py, &error)),
            Err(Refused::Excluded) => {
                Self::locked(whole, || match act(Writer { member, thread }) {
                    Ok(made) => Ok(made),
                    Err(Refused::Arena(error)) => Err(to_python(py, &error)),
                    Err(Refused::Excluded) => Err(PyRuntimeError::new_err(
                        "the container's lock was released in the middle of a change",
                    )),
                })
            }
        }
    }

    /// Runs `f` with the container's lock.
    #[cold]
    fn locked<R>(whole: &Bound<'_, PyAny>, f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        let lock = hooks(whole.py())?.lock.bind(whole.py()).call1((whole,))?;
        lock.call_method0("acquire")?;
        let done = f();
        lock.call_method0("release")?;
        done
    }

    /// A blob of ours put in by `put`, which says whether it was; if not it is freed.
    fn put_blob<R>(
        whole: &Bound<'_, PyAny>,
        member: Member,
        blob: &Blob,
        mut put: impl FnMut(Writer) -> Result<R, Refused>,
        is_in: impl FnOnce(&R) -> bool,
    ) -> PyResult<R> {
        let outcome = Self::change(whole, member, &mut put);
        if !outcome.as_ref().is_ok_and(is_in) {
            nested::discard(member, blob);
        }
        outcome
    }

    /// Handles to all that a value refers to, while it is where it was found; None: it is no longer.
    fn open_named(
        &self,
        py: Python<'_>,
        member: Member,
        place: Place,
        named: &[Named],
    ) -> PyResult<Option<Vec<Opening>>> {
        let mut opened = Vec::with_capacity(named.len());
        for named in named {
            let is_there = || self.container.has(member.arena, place.cell, place.word);
            match nested::open(member, &self.container, *named, is_there) {
                Ok(Opened::Object(object)) => opened.push(Opening { member, object }),
                Ok(Opened::Changed) => return Ok(None),
                Err(error) => return Err(to_python(py, &error)),
            }
        }
        Ok(Some(opened))
    }

    /// What `find` copies, as an object; None when there is nothing.
    #[inline]
    fn read<'py>(
        &self,
        py: Python<'py>,
        member: Member,
        mut find: impl FnMut(&mut Copied) -> Option<Place>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, Place)>> {
        let mut copied = Copied {
            bytes: buffer(),
            named: Vec::new(),
        };
        loop {
            let Some(place) = find(&mut copied) else {
                give_buffer_back(copied.bytes);
                return Ok(None);
            };
            let _held = if copied.named.is_empty() {
                Vec::new()
            } else {
                let Some(opened) = self.open_named(py, member, place, &copied.named)? else {
                    copied.bytes.clear();
                    continue;
                };
                opened
            };
            let value = values::decode(py, &copied.bytes, self.nonce());
            give_buffer_back(copied.bytes);
            return Ok(Some((value?, place)));
        }
    }
}

/// A handle for as long as a value is decoded that refers to the object.
pub(crate) struct Opening {
    member: Member,
    object: Object,
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.object.drop_handle(self.member);
    }
}
