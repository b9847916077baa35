//! What a worker puts down: each task's result, before the next task begins.

use super::Desk;
use super::records::{Header, bytes_of, put};
use crate::plain;
use procession_core::desk;
use procession_core::lock::Waiting;
use procession_sys::clock::Deadline;
use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::sync::atomic::Ordering::Relaxed;

/// An item as the arguments that it stands for.
pub(super) fn arguments<'py>(item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    match item.cast::<PyTuple>() {
        Ok(arguments) => Ok(arguments.clone()),
        Err(_) => PyTuple::new(item.py(), item.try_iter()?.collect::<PyResult<Vec<_>>>()?),
    }
}

/// How a worker runs tasks: what it needs of Python besides the function.
pub(super) struct Manners<'a, 'py> {
    pub(super) encode: &'a Bound<'py, PyAny>,
    pub(super) fail: &'a Bound<'py, PyAny>,
    pub(super) ring: &'a Bound<'py, PyAny>,
}

impl Desk {
    /// The worker's: puts a record down, after waiting for room if need be; whether it has rung.
    pub(super) fn answer(
        &self,
        py: Python<'_>,
        header: Header,
        payload: &[u8],
        ring: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let results = desk::results(self.lines);
        let needed = bytes_of(payload.len());
        if needed > results.size {
            return Err(PyValueError::new_err("the result is larger than the desk"));
        }
        let mut has_rung = false;
        while results.room() < needed {
            has_rung = true;
            if desk::must_ring_for_room(self.lines) {
                ring.call0()?;
            }
            let waiting = Waiting::until(Deadline::NEVER);
            let has_room = || results.room() >= needed;
            let _ = py.detach(|| desk::sleep(&self.lines.room, has_room, &waiting));
            if let Err(error) = py.check_signals() {
                // The task is done: what was to interrupt it comes too late.
                if !error.is_instance_of::<PyKeyboardInterrupt>(py) {
                    return Err(error);
                }
            }
        }
        put(results, &self.outbox, header, payload);
        self.answered
            .store(header.first.wrapping_add(header.count), Relaxed);
        if desk::wish(self.lines).must_ring() {
            ring.call0()?;
            has_rung = true;
        }
        Ok(has_rung)
    }

    /// Puts the result of one task down, or its error; whether it has rung.
    pub(super) fn answer_task(
        &self,
        py: Python<'_>,
        number: u32,
        outcome: &PyResult<Bound<'_, PyAny>>,
        manners: &Manners<'_, '_>,
    ) -> PyResult<bool> {
        let encoded = match outcome {
            Ok(value) => {
                if let Some(plain) = plain::of(value) {
                    let payload = plain.bytes();
                    if bytes_of(payload.len()) <= self.outbox.len() as u64 / 2 {
                        let header = Header {
                            length: payload.len() as u32,
                            kind: plain.kind(),
                            first: number,
                            count: 1,
                        };
                        return self.answer(py, header, payload, manners.ring);
                    }
                }
                manners.encode.call1((value,))?
            }
            Err(error) => manners.fail.call1((error.clone_ref(py).into_value(py),))?,
        };
        let (kind, payload): (u32, Bound<'_, PyBytes>) = encoded.extract()?;
        let header = Header {
            length: payload.as_bytes().len() as u32,
            kind,
            first: number,
            count: 1,
        };
        self.answer(py, header, payload.as_bytes(), manners.ring)
    }
}
