//! A hatch: where a caller who is alone with its pool hands a task to an idle worker and takes the result, by itself.
//!
//! ```text
//! collector   open(desk) ---- sleeps ---- shut() -> errand     what a caller has given and not taken is the collector's
//! caller                call(): give, wait, take                two hand-overs between processes, none between threads
//! ```
//!
//! Giving is one step, and so is taking: no bytecode runs in either, hence no signal's handler and no other thread
//! of the interpreter. Handlers run in the wait between them, in the main thread as anywhere; whatever one does or
//! raises, the task is either not given, or the errand that `shut` finds.

use super::Desk;
use super::records::{peek, take};
use crate::plain;
use procession_core::spin::{Ground, WITH_GIL_NS};
use procession_core::{desk, eventcount};
use procession_sys::clock::Deadline;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Seconds after which a caller leaves its task to the collector, who knows what to do about long ones.
const MOMENT: f64 = 0.05;

/// The task was not given.
const REFUSED: u32 = 0;
/// There is the result.
const DONE: u32 = 1;
/// It is the collector's.
const LEFT: u32 = 2;

/// A task on the desk that no ledger knows.
#[derive(Debug)]
struct Errand {
    number: u32,
    /// What the collector is to enter in its ledger.
    segment: Py<PyAny>,
    serial: u64,
}

#[derive(Debug, Default)]
struct State {
    desk: Option<Py<Desk>>,
    errand: Option<Errand>,
    /// Errands, ever.
    errands: u64,
}

impl State {
    fn has(&self, serial: u64) -> bool {
        self.errand
            .as_ref()
            .is_some_and(|errand| errand.serial == serial)
    }
}

/// Open while the collector sleeps and a worker has nothing to do.
///
/// Nobody runs Python code with the lock held, or gives the GIL away: it is never waited for with the GIL.
#[pyclass(frozen, module = "procession._native")]
#[derive(Debug, Default)]
pub(crate) struct Hatch(Mutex<State>);

impl Hatch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(
        &self,
        py: Python<'_>,
        message: &[u8],
        segment: &Bound<'_, PyAny>,
    ) -> PyResult<Option<(Py<Desk>, u64)>> {
        let mut state = self.state();
        let Some(desk) = state.desk.as_ref().filter(|_| state.errand.is_none()) else {
            return Ok(None);
        };
        let desk = desk.clone_ref(py);
        let given = desk.get();
        given.handle.check(py)?;
        let Some(number) = given.put_down(1, message) else {
            return Ok(None);
        };
        state.errands += 1;
        let serial = state.errands;
        state.errand = Some(Errand {
            number,
            segment: segment.clone().unbind(),
            serial,
        });
        Ok(Some((desk, serial)))
    }

    /// Waits until there is a result, the errand is the collector's, or it has lasted a moment.
    fn wait(&self, py: Python<'_>, desk: &Desk, serial: u64) -> PyResult<()> {
        let results = desk::results(desk.lines);
        let is_over = || results.filled() > 0 || !self.state().has(serial);
        let ground = Ground::look();
        if ground.spin(WITH_GIL_NS, is_over) {
            return Ok(());
        }
        let until = Deadline::after_seconds(MOMENT);
        if py.detach(|| desk.handle.backoff.spin(ground, is_over)) {
            return Ok(());
        }
        loop {
            let token = eventcount::prepare(&desk.lines.heard);
            if is_over() {
                return Ok(());
            }
            py.detach(|| eventcount::sleep(&desk.lines.heard, token, until));
            py.check_signals()?;
            if is_over() || until.is_past() {
                return Ok(());
            }
        }
    }

    /// The payload of the result, if it is there and the errand still the caller's; any other is left to the collector.
    fn take(&self, desk: &Desk, serial: u64) -> PyResult<Option<(u32, Vec<u8>, Errand)>> {
        let mut state = self.state();
        if !state.has(serial) {
            return Ok(None);
        }
        let results = desk::results(desk.lines);
        let Some(header) = peek(results, &desk.outbox)? else {
            return Ok(None);
        };
        if !plain::is_value(header.kind) {
            return Ok(None);
        }
        let Some(errand) = state.errand.take_if(|errand| errand.number == header.first) else {
            return Ok(None);
        };
        let mut payload = Vec::new();
        take(results, &desk.outbox, header, &mut payload);
        eventcount::wake(&desk.lines.room, 1);
        Ok(Some((header.kind, payload, errand)))
    }
}

#[pymethods]
impl Hatch {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// The collector's, before it sleeps: the worker of that desk is there for callers.
    fn open(&self, desk: Py<Desk>) {
        let before = self.state().desk.replace(desk);
        drop(before); // with the state free again
    }

    /// The collector's, when it wakes: `(number, segment)` of what has been given and not taken, which is its own now.
    fn shut(&self) -> Option<(u32, Py<PyAny>)> {
        let (desk, errand) = {
            let mut state = self.state();
            (state.desk.take(), state.errand.take())
        };
        let errand = errand?;
        if let Some(desk) = desk {
            eventcount::wake(&desk.get().lines.heard, 1);
        }
        Some((errand.number, errand.segment))
    }

    /// Has the worker run the one task of a message, whose segment that is: `(1, result)`; `(0, None)` where the hatch
    /// is shut or somebody's task is in it; `(2, None)`: the task is the collector's, to be woken.
    ///
    /// What a signal's handler raises, and what `loads` does, is raised; after the first the task is the collector's.
    fn call(
        &self,
        py: Python<'_>,
        message: &[u8],
        segment: &Bound<'_, PyAny>,
        loads: &Bound<'_, PyAny>,
    ) -> PyResult<(u32, Py<PyAny>)> {
        let Some((desk, serial)) = self.give(py, message, segment)? else {
            return Ok((REFUSED, py.None()));
        };
        let desk = desk.get();
        eventcount::wake(&desk.lines.wake, 1);
        self.wait(py, desk, serial)?;
        let Some((kind, payload, errand)) = self.take(desk, serial)? else {
            return Ok((LEFT, py.None()));
        };
        drop(errand);
        let value = match plain::value(py, kind, &payload)? {
            Some(value) => value,
            None => loads.call1((PyBytes::new(py, &payload),))?,
        };
        Ok((DONE, value.unbind()))
    }
}
