//! `Desk`: where one worker of a pool finds its tasks and leaves its results.

#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

mod answers;
mod hatch;
mod lending;
mod records;

use self::answers::{Manners, arguments};
pub(crate) use self::hatch::Hatch;
use self::records::{Header, bytes_of, peek, put, take};
use crate::blocking::Patience;
use crate::errors::to_python;
use crate::handle::{Handle, Travelling};
use crate::keepers;
use crate::plain::{self, PICKLED};
use crate::raw::Bytes;
use procession_core::desk::{self, Watch};
use procession_core::lock::{Waited, Waiting};
use procession_core::object::BODY;
use procession_core::{ObjectKind, claims, eventcount};
use procession_shm::layout::DeskLines;
use procession_sys::clock::now_ns;
use pyo3::exceptions::{PySystemExit, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySequence, PyTuple, PyType};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

const LINES: u64 = size_of::<DeskLines>() as u64;
/// An answer of `receive` that has values, not a record.
const VALUES: u32 = 1;
/// One whose pickle could not be read.
const UNREADABLE: u32 = 2;

/// A worker's desk.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Desk {
    handle: Handle,
    lines: &'static DeskLines,
    inbox: Bytes,
    outbox: Bytes,
    /// The parent's: the next task's number.
    next: AtomicU32,
    /// The worker's: one more than the last task whose result it has put down.
    answered: AtomicU32,
}

impl Desk {
    fn over(py: Python<'_>, handle: Handle) -> PyResult<Self> {
        let lines: &DeskLines = handle
            .object
            .body(handle.arena)
            .map_err(|error| to_python(py, &error))?;
        let (inside, outside) = (lines.in_size.load(Relaxed), lines.out_size.load(Relaxed));
        let inbox = Bytes::of(py, &handle, BODY + LINES, inside)?;
        let outbox = Bytes::of(py, &handle, BODY + LINES + inside, outside)?;
        Ok(Self {
            handle,
            lines,
            inbox,
            outbox,
            next: AtomicU32::new(0),
            answered: AtomicU32::new(0),
        })
    }

    /// Puts a message with `count` tasks down, and wakes nobody; None when it must wait.
    fn put_down(&self, count: u32, message: &[u8]) -> Option<u32> {
        let tasks = desk::tasks(self.lines);
        let first = self.next.load(Relaxed);
        if tasks.room() < bytes_of(message.len())
            || (count > 0 && !claims::grant(&self.lines.claims, first, count))
        {
            return None;
        }
        self.next.store(first.wrapping_add(count), Relaxed);
        let header = Header {
            length: message.len() as u32,
            kind: 0,
            first,
            count,
        };
        put(tasks, &self.inbox, header, message);
        Some(first)
    }
}

#[pymethods]
impl Desk {
    #[new]
    #[pyo3(signature = (inbox = 0, outbox = 0, *, _handle = None))]
    fn new(py: Python<'_>, inbox: u64, outbox: u64, _handle: Option<Travelling>) -> PyResult<Self> {
        if let Some(travelled) = _handle {
            let handle = Handle::open(py, travelled, |kind| kind == ObjectKind::Desk)?;
            return Self::over(py, handle);
        }
        let sound = |size: u64| size >= 64 && size % 8 == 0;
        if !sound(inbox) || !sound(outbox) {
            return Err(PyValueError::new_err(
                "a ring's size is a multiple of 8, and 64 at least",
            ));
        }
        let me = crate::arena::current_member(py)?.local.owner.bits();
        let bytes = LINES.saturating_add(inbox).saturating_add(outbox);
        let handle = Handle::create(py, ObjectKind::Desk, bytes, |object, arena| {
            let lines: &DeskLines = object.body(arena)?;
            lines.in_size.store(inbox, Relaxed);
            lines.out_size.store(outbox, Relaxed);
            lines.parent.store(me, Relaxed);
            Ok(())
        })?;
        Self::over(py, handle)
    }

    // ---- the parent's side ----

    /// Puts a message with `count` tasks down; their first number, or None when it must wait.
    fn post(&self, py: Python<'_>, count: u32, message: &[u8]) -> PyResult<Option<u32>> {
        self.handle.check(py)?;
        if bytes_of(message.len()) > self.inbox.len() as u64 {
            return Err(PyValueError::new_err("the message is larger than the desk"));
        }
        let first = self.put_down(count, message);
        if first.is_some() {
            // A moment in the kernel: giving the GIL away would cost more, and a time slice if somebody wants it.
            eventcount::wake(&self.lines.wake, 1);
        }
        Ok(first)
    }

    /// Takes up to `count` of the last tasks back: `(limit before, limit now)`.
    fn revoke(&self, py: Python<'_>, count: u32) -> PyResult<(u32, u32)> {
        self.handle.check(py)?;
        Ok(claims::revoke(&self.lines.claims, count))
    }

    /// `(begun, limit)`: tasks below `begun` have been begun, those below `limit` may be.
    fn claims(&self) -> (u32, u32) {
        let claims = claims::look(&self.lines.claims);
        (claims.begun, claims.limit)
    }

    /// Milliseconds since the worker began the task `number`, which it runs; None: it has not noted when.
    fn begun_ago(&self, number: u32) -> Option<u32> {
        desk::begun_ago(&self.lines.began, number)
    }

    /// `(nanoseconds, tasks)`: what the worker has spent on messages that are done, and on how many tasks.
    #[getter]
    fn spent(&self) -> (u64, u64) {
        let [spent, tasks] = &self.lines.spent;
        (spent.load(Relaxed), tasks.load(Relaxed))
    }

    /// Asks for a ring: 0 none, 1 when nothing is left to do, 2 for any result, 3 for none but a wake of a caller at
    /// the hatch. False: there are results.
    fn watch(&self, what: u32) -> bool {
        desk::wish(self.lines).make(Watch::of(what))
    }

    /// Which task an interrupt is meant for; None: whichever runs.
    #[getter]
    fn target(&self) -> Option<u32> {
        let word = self.lines.target.load(Acquire);
        (word >> 32 != 0).then_some(word as u32)
    }

    /// Says which task the next interrupt is meant for.
    #[setter]
    fn set_target(&self, number: Option<u32>) {
        let word = number.map_or(0, |number| 1 << 32 | u64::from(number));
        self.lines
            .target
            .store(word, std::sync::atomic::Ordering::Release);
    }

    /// The first task of the next message that the worker has not taken; None: it has taken all.
    fn unread(&self) -> PyResult<Option<u32>> {
        let next = peek(desk::tasks(self.lines), &self.inbox)?;
        Ok(next.map(|header| header.first))
    }

    /// Whether there are results.
    fn has_results(&self) -> bool {
        desk::results(self.lines).filled() > 0
    }

    /// Waits a little for results without sleeping, if that paid lately; whether there are any.
    fn linger(&self, py: Python<'_>) -> bool {
        let results = desk::results(self.lines);
        let ground = procession_core::spin::Ground::look();
        py.detach(|| self.handle.backoff.spin(ground, || results.filled() > 0))
    }

    /// Up to `most` results, as `(number of the first, VALUES, list)`, `(number, UNREADABLE, error)`,
    /// or `(number, kind, bytes)` for kinds that are Python's business.
    fn receive<'py>(
        &self,
        py: Python<'py>,
        most: usize,
        loads: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.handle.check(py)?;
        let (ring, answers) = (desk::results(self.lines), PyList::empty(py));
        let mut payload = Vec::new();
        let mut run: Option<(u32, u32, Bound<'py, PyList>)> = None;
        for _ in 0..most {
            let Some(header) = peek(ring, &self.outbox)? else {
                break;
            };
            take(ring, &self.outbox, header, &mut payload);
            let value = match plain::value(py, header.kind, &payload)? {
                Some(value) => Ok(value),
                None if header.kind == PICKLED => loads.call1((PyBytes::new(py, &payload),)),
                None => {
                    run = None;
                    let bytes = PyBytes::new(py, &payload);
                    answers.append((header.first, header.kind, bytes))?;
                    continue;
                }
            };
            match (value, &mut run) {
                (Ok(value), Some((_, after, values))) if *after == header.first => {
                    values.append(value)?;
                    *after = after.wrapping_add(1);
                }
                (Ok(value), _) => {
                    let values = PyList::new(py, [value])?;
                    answers.append((header.first, VALUES, &values))?;
                    run = Some((header.first, header.first.wrapping_add(1), values));
                }
                (Err(error), _) => {
                    run = None;
                    answers.append((header.first, UNREADABLE, error.into_value(py)))?;
                }
            }
        }
        eventcount::wake(&self.lines.room, 1);
        Ok(answers)
    }

    /// After the worker's death, with all results received: gives up a large one that it did not get to put down.
    fn settle(&self, py: Python<'_>) -> PyResult<()> {
        self.give_up_lent(py)
    }

    // ---- the worker's side ----

    /// The next message: `(its first task's number, how many tasks, bytes)`; None at the timeout.
    #[pyo3(signature = (timeout = None))]
    fn take<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<(u32, u32, Bound<'py, PyBytes>)>> {
        self.handle.check(py)?;
        let ring = desk::tasks(self.lines);
        let is_there = || ring.filled() > 0;
        if !is_there() {
            let deadline = Patience::of(timeout)?.deadline();
            let waiting = Waiting::until(deadline);
            let ground = procession_core::spin::Ground::look();
            if !py.detach(|| self.handle.backoff.spin(ground, is_there)) {
                loop {
                    match py.detach(|| desk::sleep(&self.lines.wake, is_there, &waiting)) {
                        None | Some(Waited::Acquired(_)) => break,
                        Some(Waited::TimedOut) => return Ok(None),
                        Some(Waited::Slice) => py.check_signals()?,
                    }
                }
            }
        }
        let Some(header) = peek(ring, &self.inbox)? else {
            return Ok(None);
        };
        let mut message = Vec::new();
        take(ring, &self.inbox, header, &mut message);
        Ok(Some((
            header.first,
            header.count,
            PyBytes::new(py, &message),
        )))
    }

    /// Calls `function` on the items from `start` on, whose first has number `first`, and puts each
    /// result down before the next begins. Ends early at one that was given to somebody else.
    ///
    /// `star`: an item is the tuple of the arguments. `encode(value)` and `fail(error)` give
    /// `(kind, bytes)`; `ring()` wakes the parent. False after `SystemExit`: the worker is to leave.
    /// When a task begins is noted of the first, and of each that comes after a ring: at the others the parent looks itself.
    ///
    /// A task may fork, and the child return from it as well. That one is no worker: it puts nothing down,
    /// and gets what its task raised, or False.
    #[expect(clippy::too_many_arguments, reason = "one call for a whole message")]
    fn run(
        &self,
        py: Python<'_>,
        first: u32,
        items: &Bound<'_, PySequence>,
        function: &Bound<'_, PyAny>,
        star: bool,
        encode: &Bound<'_, PyAny>,
        fail: &Bound<'_, PyAny>,
        ring: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        self.handle.check(py)?;
        let manners = Manners { encode, fail, ring };
        let descent = keepers::descent();
        let (started, mut ran, mut stays) = (now_ns(), 0, true);
        let mut to_note = Some(started);
        for index in 0..items.len()? {
            let number = first.wrapping_add(index as u32);
            let item = items.get_item(index)?;
            if let Some(now) = to_note.take() {
                desk::note_begin(&self.lines.began, number, now);
            }
            if !claims::begin(&self.lines.claims, number) {
                break;
            }
            let outcome = if star {
                arguments(&item).and_then(|arguments| function.call1(arguments))
            } else {
                function.call1((item,))
            };
            if keepers::descent() != descent {
                return outcome.map(|_| false);
            }
            let leaves = matches!(&outcome, Err(error) if error.is_instance_of::<PySystemExit>(py));
            if self.answer_task(py, number, &outcome, &manners)? {
                to_note = Some(now_ns());
            }
            ran += 1;
            if leaves {
                stays = false;
                break;
            }
        }
        let [spent, tasks] = &self.lines.spent;
        spent.store(spent.load(Relaxed) + (now_ns() - started), Relaxed);
        tasks.store(tasks.load(Relaxed) + ran, Relaxed);
        Ok(stays)
    }

    /// Puts a record of another kind down for `count` tasks from `first` on.
    fn tell(
        &self,
        py: Python<'_>,
        first: u32,
        count: u32,
        kind: u32,
        payload: &[u8],
        ring: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.handle.check(py)?;
        let header = Header {
            length: payload.len() as u32,
            kind,
            first,
            count,
        };
        self.answer(py, header, payload, ring).map(drop)
    }

    /// One more than the last task whose result was put down by this process.
    #[getter]
    fn answered(&self) -> u32 {
        self.answered.load(Relaxed)
    }

    /// Makes the parent a holder of an object of the caller's, whose handle the next result carries; false when it is one.
    /// A result lies in two objects at most, which are noted at 0 and 1.
    #[pyo3(signature = (handle, note = 0))]
    fn lend(&self, py: Python<'_>, handle: Travelling, note: usize) -> PyResult<bool> {
        self.lend_to_parent(py, handle, note)
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
