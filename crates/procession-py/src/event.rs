//! `Event`: a flag in the arena. Its methods are installed by [`crate::raw`] on top of this.

#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use crate::blocking::{Blocking, Patience};
use crate::handle::{Handle, Travelling};
use procession_core::{ObjectKind, event};
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

impl Event {
    /// Finds out whether the handle is good in this process.
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)
    }

    /// None: find out who we are first.
    #[inline]
    pub(crate) fn is_set_fast(&self) -> Option<bool> {
        self.handle.me()?;
        Some(event::is_set(&self.line.word))
    }

    #[inline]
    pub(crate) fn set_fast(&self) -> bool {
        let known = self.handle.me().is_some();
        if known {
            event::set(&self.line.word);
        }
        known
    }

    #[inline]
    pub(crate) fn clear_fast(&self) -> bool {
        let known = self.handle.me().is_some();
        if known {
            event::clear(&self.line.word);
        }
        known
    }

    pub(crate) fn wait(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        self.handle.check(py)?;
        let word = &self.line.word;
        if event::is_set(word) {
            return Ok(true);
        }
        let Patience::Until(deadline) = Patience::of(timeout)? else {
            return Ok(false);
        };
        let epoch = event::epoch(word);
        let wait = Blocking::new(py, &self.handle, deadline, "an Event");
        if wait.spin(|| event::has_happened(word, epoch)) {
            return Ok(true);
        }
        wait.park(|waiting| event::wait(word, epoch, waiting), || Ok(()))
    }
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
        let (handle, line) = Handle::with_body(py, ObjectKind::Event, _handle, |_| ())?;
        Ok(Self { handle, line })
    }

    fn _statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let figures = PyDict::new(py);
        figures.set_item("sets", event::sets(&self.line.word))?;
        figures.set_item("handles", self.handle.holders())?;
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
