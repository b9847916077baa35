//! `Barrier`: parties in the arena.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use crate::blocking::{Blocking, Patience};
use crate::container::Counter;
use crate::errors::to_python;
use crate::handle::{Handle, Travelling};
use procession_core::barrier::{Arrived, Barrier as Core, Outcome};
use procession_core::lock::Waiting;
use procession_core::{ObjectKind, waiters};
use procession_shm::layout::{BarrierLine, Waiter};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::Ordering::Relaxed;

/// A barrier in the arena.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Barrier {
    handle: Handle,
    line: &'static BarrierLine,
}

fn broken(py: Python<'_>) -> PyErr {
    let class = py
        .import("threading")
        .and_then(|module| module.getattr("BrokenBarrierError"));
    match class.and_then(|class| class.call0()) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

impl Barrier {
    fn core(&self) -> Core<'_> {
        Core {
            object: &self.handle.object,
            line: self.line,
        }
    }

    /// Arrives; waits for the next generation while this one is full.
    fn arrive(&self, py: Python<'_>, wait: &Blocking<'_, '_>) -> PyResult<Arrived> {
        let core = self.core();
        loop {
            let member = self.handle.member(py)?;
            let arrived = core.arrive(member).map_err(|error| to_python(py, &error))?;
            let Arrived::Full(state) = arrived else {
                return Ok(arrived);
            };
            let slice = |waiting: &Waiting| {
                let member = self.handle.known_member().unwrap_or(member);
                core.wait_for_next(member, state, waiting)
            };
            if !wait.park(slice, || self.handle.member(py).map(|_| ()))? {
                core.abort(self.handle.member(py)?);
                return Ok(Arrived::Broken);
            }
        }
    }

    fn sleep(
        &self,
        py: Python<'_>,
        entry: &'static Waiter,
        wait: &Blocking<'_, '_>,
        end: Option<&Counter>,
    ) -> PyResult<Outcome> {
        let member = self.handle.member(py)?;
        let core = self.core();
        let slept = if wait.spin(|| !waiters::is_waiting(entry)) {
            Ok(true)
        } else {
            let slice = |waiting: &Waiting| {
                let member = self.handle.known_member().unwrap_or(member);
                core.wait(member, entry, waiting)
            };
            wait.park(slice, || {
                // A child that a signal handler has forked is no party; its parent is.
                let member = self.handle.member(py)?;
                if end.is_some_and(Counter::has_begun) {
                    core.abort(member);
                }
                if waiters::is_of(entry, member.local.owner) {
                    Ok(())
                } else {
                    Err(broken(py))
                }
            })
        };
        let outcome = core.leave(self.handle.member(py)?, entry, slept.is_err());
        slept.map(|_| outcome)
    }

    fn act_and_release(
        &self,
        py: Python<'_>,
        entry: &'static Waiter,
        action: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Outcome> {
        let member = self.handle.member(py)?;
        if let Some(action) = action {
            if let Err(error) = action.call0() {
                self.core().leave(member, entry, false);
                return Err(error);
            }
        }
        Ok(self.core().release(member, entry))
    }
}

#[pymethods]
impl Barrier {
    #[new]
    #[pyo3(signature = (parties, *, _handle = None))]
    fn new(py: Python<'_>, parties: u32, _handle: Option<Travelling>) -> PyResult<Self> {
        let init = |line: &BarrierLine| line.parties.store(parties, Relaxed);
        let (handle, line) = Handle::with_body(py, ObjectKind::Barrier, _handle, init)?;
        Ok(Self { handle, line })
    }

    fn _set_parties(&self, parties: u32) {
        self.line.parties.store(parties, Relaxed);
    }

    /// Waits for the others; the last one runs `action` first. The number of those who came before.
    /// When `end` is no longer 0 it breaks.
    #[pyo3(signature = (action = None, timeout = None, end = None))]
    fn _wait(
        &self,
        py: Python<'_>,
        action: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, Counter>>,
    ) -> PyResult<u32> {
        let deadline = Patience::of(timeout)?.deadline();
        let wait = Blocking::new(py, &self.handle, deadline, "a Barrier");
        let (outcome, index) = match self.arrive(py, &wait)? {
            Arrived::Waits(entry, index) => {
                (self.sleep(py, entry, &wait, end.map(Bound::get))?, index)
            }
            Arrived::Last(entry, index) => (self.act_and_release(py, entry, action)?, index),
            Arrived::Full(_) | Arrived::Broken => return Err(broken(py)),
        };
        match outcome {
            Outcome::Released => Ok(index),
            Outcome::Broken => Err(broken(py)),
        }
    }

    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.core().abort(self.handle.member(py)?);
        Ok(())
    }

    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.core().reset(self.handle.member(py)?);
        Ok(())
    }

    #[getter]
    fn parties(&self) -> u32 {
        self.line.parties.load(Relaxed)
    }

    #[getter]
    fn n_waiting(&self, py: Python<'_>) -> PyResult<u32> {
        Ok(self.core().waiting(self.handle.member(py)?))
    }

    #[getter(broken)]
    fn is_broken(&self) -> bool {
        self.core().is_broken()
    }

    fn _statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let figures = PyDict::new(py);
        figures.set_item("generations", self.core().generation())?;
        figures.set_item("waiting", self.n_waiting(py)?)?;
        figures.set_item("handles", self.handle.holders())?;
        Ok(figures)
    }

    fn _handle(&self) -> Travelling {
        self.handle.travelling()
    }

    fn _pin(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.pin(py)
    }
}
