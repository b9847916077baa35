//! `Event`: a flag in the arena.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use crate::blocking::{Patience, until_decided};
use crate::errors::to_python;
use crate::handle::{Handle, Travelling};
use procession_core::lock::Waiting;
use procession_core::{ObjectKind, event, ledger};
use procession_shm::layout::EventLine;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

/// An event in the arena.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Event {
    handle: Handle,
    line: &'static EventLine,
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (*, ctx = None, _handle = None))]
    fn new(
        py: Python<'_>,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Travelling>,
    ) -> PyResult<Self> {
        let _ = ctx;
        let nbytes = size_of::<EventLine>() as u64;
        let handle = match _handle {
            Some(handle) => Handle::open(py, handle, |kind| kind == ObjectKind::Event)?,
            None => Handle::create(py, ObjectKind::Event, nbytes, |_, _| Ok(()))?,
        };
        let line = handle
            .object
            .body(handle.arena)
            .map_err(|error| to_python(py, &error))?;
        Ok(Self { handle, line })
    }

    fn is_set(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.check(py)?;
        Ok(event::is_set(&self.line.word))
    }

    fn set(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        event::set(&self.line.word);
        Ok(())
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        event::clear(&self.line.word);
        Ok(())
    }

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        self.handle.check(py)?;
        let word = &self.line.word;
        if event::is_set(word) {
            return Ok(true);
        }
        let Patience::Until(deadline) = Patience::of(timeout)? else {
            return Ok(false);
        };
        let epoch = event::epoch(word);
        let waiting = Waiting::until(deadline);
        if event::spin(word, epoch, true) || py.detach(|| event::spin(word, epoch, false)) {
            return Ok(true);
        }
        until_decided(
            py,
            &waiting,
            "an Event",
            |waiting| event::wait(word, epoch, waiting),
            || Ok(()),
        )
    }

    fn _statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let figures = PyDict::new(py);
        figures.set_item("sets", event::sets(&self.line.word))?;
        let holders = ledger::holders(self.handle.arena, self.handle.object.header);
        figures.set_item("handles", holders)?;
        Ok(figures)
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
        crate::handle::open_as(cls, handle)
    }
}
