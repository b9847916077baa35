//! A place for a child that maps the arena by itself, and the child's way into it.

use crate::arena::{current_member, register_fork_handlers};
use crate::errors::to_python;
use crate::handle::Travelling;
use procession_core::{fork, passage};
use procession_shm::arena::Nonce;
use procession_shm::{Arena, ArenaError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

/// A place in one arena for a child on its way. Dropped without `handed_over()` it is given up.
#[pyclass(frozen, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Passage(Mutex<passage::Passage>);

impl Passage {
    fn with<R>(&self, f: impl FnOnce(&mut passage::Passage) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl Passage {
    #[new]
    #[pyo3(signature = (nonce = None))]
    fn new(py: Python<'_>, nonce: Option<Nonce>) -> PyResult<Self> {
        let member = match nonce {
            None => current_member(py)?,
            Some(nonce) => Arena::by_nonce(&nonce)
                .ok_or_else(|| ArenaError::Stale("this process has not mapped that arena".into()))
                .and_then(fork::member)
                .map_err(|error| to_python(py, &error))?,
        };
        passage::Passage::reserve(member)
            .map(|made| Self(Mutex::new(made)))
            .map_err(|error| to_python(py, &error))
    }

    #[getter]
    fn nonce<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.with(|passage| passage.arena().nonce()))
    }

    fn board(&self, py: Python<'_>, handle: Travelling) -> PyResult<()> {
        let (_, offset, serial) = handle;
        self.with(|passage| passage.board(offset, serial))
            .map_err(|error| to_python(py, &error))
    }

    /// The arena's descriptor, and that of the slot's open file.
    fn descriptors(&self, py: Python<'_>) -> PyResult<(i32, i32)> {
        self.with(|passage| {
            let slot = passage.descriptor().ok_or(ArenaError::Crowded)?;
            Ok((passage.arena().fd()?, slot))
        })
        .map_err(|error| to_python(py, &error))
    }

    fn manifest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.with(|passage| passage.manifest()))
    }

    fn announce(&self, pid: u32) {
        self.with(|passage| passage.announce(pid));
    }

    fn handed_over(&self) {
        self.with(passage::Passage::handed_over);
    }

    fn abandon(&self) {
        self.with(passage::Passage::abandon);
    }
}

/// What came along with this process and has not been put down.
#[pyclass(frozen, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Luggage(Mutex<passage::Luggage>);

#[pymethods]
impl Luggage {
    fn put_down(&self) {
        let mut luggage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        luggage.put_down();
    }
}

#[pyfunction]
#[pyo3(signature = (fd, slot, manifest, *, current))]
pub(crate) fn embark(
    py: Python<'_>,
    fd: i32,
    slot: i32,
    manifest: &[u8],
    current: bool,
) -> PyResult<Luggage> {
    let borrowed = |fd: BorrowedFd<'_>| passage::embark(fd, slot, manifest);
    let luggage =
        procession_sys::file::borrow(fd, borrowed).map_err(|error| to_python(py, &error))?;
    if current {
        luggage.arena().make_current();
    }
    register_fork_handlers(py)?;
    Ok(Luggage(Mutex::new(luggage)))
}
