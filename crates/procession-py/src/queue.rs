//! `Queue`: putting and getting with Python's manners.
//!
//! ```text
//! put   encode | lock, message, commit, unlock | wake            get   lock, copy, commit, unlock | decode
//! ```
//!
//! Python runs before the queue is locked and after it is free, never in between: so a `__del__`
//! or a reducer that uses the same queue finds it as anybody else would. [`crate::raw`]
//! installs put and get, whose quick way is for scalars and for a queue with room, or an item.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

mod bell;
mod delivery;
mod letter;
mod overdue;
mod parcel;
mod references;
mod transfer;

use crate::blocking::Patience;
use crate::container::Counter;
use crate::errors::to_python;
use crate::handle::{Handle, Travelling};
use bell::Bell;
pub(crate) use delivery::Delivery;
use letter::Letter;
use overdue::Overdue;
use procession_core::ObjectKind;
use procession_core::queue::{Got, Message, Put, Queue as Core, mode};
use procession_core::spin::Backoff;
use procession_shm::layout::QueueLine;
use procession_shm::member::Member;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

/// Ends of a queue, as bits.
const READER: u32 = 1;
const WRITER: u32 = 2;

/// There is a bell.
const BELL: u32 = 1;
/// There are errors to be raised.
const OVERDUE: u32 = 2;
/// Somebody is to be rung, for which no descriptor was left.
const UNRUNG: u32 = 4;

/// A queue in the arena.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) handle: Handle,
    line: &'static QueueLine,
    /// What waiting for room has been like; the handle's says that of waiting for items.
    room: Backoff,
    /// The ends that this process has closed, and what else its Python face notes there.
    closed: AtomicU32,
    bell: Mutex<Option<Bell>>,
    /// What a get has to see to besides, as bits: looked at by every one.
    attention: AtomicU32,
    overdue: Overdue,
    /// How often what was got last has been delivered.
    last_delivery: AtomicU32,
    dead_letters: OnceLock<Py<Self>>,
}

impl Queue {
    #[inline]
    fn core(&self) -> Core<'_> {
        Core {
            object: &self.handle.object,
            line: self.line,
        }
    }

    #[inline]
    fn is_open(&self, end: u32) -> bool {
        self.closed.load(Relaxed) & end == 0
    }

    /// Raises what the Python face says of a queue that this process has closed.
    fn check_open(slf: &Bound<'_, Self>, end: u32) -> PyResult<()> {
        if slf.get().is_open(end) {
            return Ok(());
        }
        slf.call_method0(intern!(slf.py(), "_refuse"))?;
        Err(PyRuntimeError::new_err("the queue is closed"))
    }

    /// put(obj) of a scalar, if there is room and nobody to be told of it.
    #[inline]
    pub(crate) fn put_fast(&self, head: &[u8]) -> bool {
        let Some(member) = self.handle.known_member().filter(|_| self.is_open(WRITER)) else {
            return false;
        };
        match self.core().try_put(member, Message::of(0, head)) {
            Ok(Put::Done) => true,
            Ok(Put::Rings(bells)) => {
                self.ring(&bells);
                true
            }
            // The slow way says what is the matter.
            _ => false,
        }
    }

    /// The next message, if there is one: its bytes replace those of `into`.
    #[inline]
    pub(crate) fn get_fast(&self, into: &mut Vec<u8>) -> Option<Taken> {
        let member = self.handle.known_member()?;
        let is_quiet = self.attention.load(Relaxed) == 0 && self.core().letters() == 0;
        if !is_quiet || !self.is_open(READER) {
            return None;
        }
        match self.core().try_get(member, into) {
            Ok(Got::Message {
                flags,
                blocks,
                deliveries,
                ..
            }) => {
                if deliveries != 0 {
                    self.last_delivery.store(deliveries, Relaxed);
                }
                Some(Taken {
                    member,
                    flags,
                    blocks,
                })
            }
            _ => None,
        }
    }

    fn patience(block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Patience> {
        if block {
            Patience::of(timeout)
        } else {
            Ok(Patience::None)
        }
    }

    /// put(obj, block, timeout) in full.
    pub(crate) fn put_args(
        slf: &Bound<'_, Self>,
        obj: &Bound<'_, PyAny>,
        block: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let block = block.map_or(Ok(true), Bound::is_truthy)?;
        Self::put_one(slf, obj, Self::patience(block, timeout)?)
    }

    /// get(block, timeout) in full.
    pub(crate) fn get_args<'py>(
        slf: &Bound<'py, Self>,
        block: Option<&Bound<'py, PyAny>>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let block = block.map_or(Ok(true), Bound::is_truthy)?;
        Self::get_one(slf, Self::patience(block, timeout)?)
    }
}

/// A message that was taken and is not an object yet.
pub(crate) struct Taken {
    member: Member,
    flags: u32,
    blocks: Vec<procession_core::payload::ClaimedBlock>,
}

impl Taken {
    /// Whether it is a native form without blocks.
    #[inline]
    pub(crate) fn is_simple(&self) -> bool {
        self.flags == 0 && self.blocks.is_empty()
    }

    pub(crate) fn open<'py>(self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        parcel::open(py, self.member, self.flags, bytes, self.blocks)
    }
}

#[pymethods]
impl Queue {
    #[new]
    #[pyo3(signature = (maxsize = 0, producers = 0, *, acknowledging = false, redelivering = false, max_deliveries = 0, _handle = None))]
    fn new(
        py: Python<'_>,
        maxsize: u64,
        producers: u32,
        acknowledging: bool,
        redelivering: bool,
        max_deliveries: u32,
        _handle: Option<Travelling>,
    ) -> PyResult<Self> {
        let mut bits = 0;
        for (wanted, bit) in [
            (acknowledging, mode::ACKNOWLEDGING),
            (redelivering, mode::REDELIVERING),
        ] {
            bits |= if wanted { bit } else { 0 };
        }
        let (handle, line) =
            Handle::with_body(py, ObjectKind::Queue, _handle, |line: &QueueLine| {
                line.terms.maxsize.store(maxsize, Relaxed);
                line.terms.mode.store(bits, Relaxed);
                line.terms.expected.store(producers, Relaxed);
                line.terms.max_deliveries.store(max_deliveries, Relaxed);
            })?;
        Ok(Self {
            handle,
            line,
            room: Backoff::new(),
            closed: AtomicU32::new(0),
            bell: Mutex::new(None),
            attention: AtomicU32::new(0),
            overdue: Overdue::default(),
            last_delivery: AtomicU32::new(0),
            dead_letters: OnceLock::new(),
        })
    }

    /// Fills in a queue that nobody else has yet.
    #[pyo3(signature = (maxsize, producers, *, redelivering = false, max_deliveries = 0))]
    fn _configure(&self, maxsize: u64, producers: u32, redelivering: bool, max_deliveries: u32) {
        let terms = &self.line.terms;
        terms.maxsize.store(maxsize, Relaxed);
        terms.expected.store(producers, Relaxed);
        if redelivering {
            terms.mode.fetch_or(mode::REDELIVERING, Relaxed);
        }
        terms.max_deliveries.store(max_deliveries, Relaxed);
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        cls: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let alias = cls.py().import("types")?.getattr("GenericAlias")?;
        alias.call1((cls, item))
    }

    /// `put_many(items, block=True, timeout=None)`, without a look at whether the queue is closed.
    #[pyo3(signature = (items, block = true, timeout = None))]
    fn _put_many(
        slf: &Bound<'_, Self>,
        items: &Bound<'_, PyAny>,
        block: bool,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let patience = Self::patience(block, timeout)?;
        Self::check_open(slf, WRITER)?;
        let nonce = slf.get().handle.arena.nonce();
        let letters = items.try_iter()?.map(|item| Letter::of(&item?, nonce));
        let mut letters = letters.collect::<PyResult<Vec<_>>>()?;
        if letters.is_empty() {
            return Ok(());
        }
        Self::send_referring(slf, &mut letters, patience)
    }

    #[pyo3(signature = (most = None, block = true, timeout = None))]
    fn _get_many<'py>(
        slf: &Bound<'py, Self>,
        most: Option<usize>,
        block: bool,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        Self::get_several(slf, most, Self::patience(block, timeout)?)
    }

    #[pyo3(signature = (timeout = None))]
    fn _poll(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        Self::poll(slf, Patience::of(timeout)?)
    }

    fn qsize(&self, py: Python<'_>) -> PyResult<u64> {
        self.handle.check(py)?;
        self.make_up_for_rings();
        Ok(self.core().len())
    }

    fn empty(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.check(py)?;
        self.make_up_for_rings();
        Ok(self.core().is_empty())
    }

    fn full(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.check(py)?;
        self.make_up_for_rings();
        Ok(self.core().is_full())
    }

    #[pyo3(signature = (immediate = false))]
    fn shutdown(&self, py: Python<'_>, immediate: bool) -> PyResult<()> {
        let bells = self.core().shutdown(self.handle.member(py)?, immediate);
        self.ring(&bells);
        Ok(())
    }

    #[getter]
    fn is_shutdown(&self) -> bool {
        self.core().is_shut()
    }

    #[getter]
    fn _bound(&self) -> u64 {
        self.line.terms.maxsize.load(Relaxed)
    }

    #[getter]
    fn _closed_ends(&self) -> u32 {
        self.closed.load(Relaxed)
    }

    fn _close_ends(&self, ends: u32) {
        let closed = self.closed.fetch_or(ends, Relaxed) | ends;
        if closed & READER != 0 {
            self.attention.fetch_and(!BELL, Relaxed);
            drop(self.lock_bell().take());
        }
    }

    /// Acknowledge the oldest item that this process has got and not acknowledged; `ValueError` when
    /// nothing is to be acknowledged.
    ///
    /// A process that has none acknowledges the oldest that anybody has, as with the standard
    /// library's queue, where it does not matter who calls.
    fn _task_done(&self, py: Python<'_>) -> PyResult<()> {
        self.finish_oldest(py)
    }

    /// Waits; the pid of who died with an item that nobody will finish, or None. No longer than `end` is 0.
    #[pyo3(signature = (end = None))]
    fn _wait_all_done(
        slf: &Bound<'_, Self>,
        end: Option<&Bound<'_, Counter>>,
    ) -> PyResult<Option<u32>> {
        Self::wait_all_done(slf, end.map(Bound::get))
    }

    #[pyo3(signature = (block = true, timeout = None))]
    fn _get_delivery<'py>(
        slf: &Bound<'py, Self>,
        block: bool,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyAny>, Delivery)> {
        Self::get_delivery(slf, Self::patience(block, timeout)?)
    }

    fn _acknowledge(&self, py: Python<'_>, delivery: &Delivery) -> PyResult<bool> {
        self.acknowledge(py, delivery)
    }

    fn _give_back(&self, py: Python<'_>, delivery: &Delivery) -> PyResult<bool> {
        self.give_back(py, delivery)
    }

    #[getter]
    fn _last_delivery(&self) -> u32 {
        self.last_delivery.load(Relaxed)
    }

    fn _set_dead_letter(&self, queue: Py<Self>) {
        let _ = self.dead_letters.set(queue);
    }

    #[getter]
    fn _dead_letter<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Self>> {
        Some(self.dead_letters.get()?.bind(py).clone())
    }

    fn _unfinished(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.core().unfinished(self.handle.member(py)?))
    }

    fn _add_producer(&self, py: Python<'_>) -> PyResult<()> {
        let added = self.core().add_producer(self.handle.member(py)?);
        added.map_err(|error| to_python(py, &error))
    }

    fn _remove_producer(&self, py: Python<'_>) -> PyResult<()> {
        let bells = self.core().remove_producer(self.handle.member(py)?);
        self.ring(&bells);
        Ok(())
    }

    /// For who sleeps on the descriptor and may be the only one who is awake at all: takes back what
    /// the dead had. Whether there is something to get.
    fn _look(&self, py: Python<'_>) -> PyResult<bool> {
        let member = self.handle.member(py)?;
        self.look_for_dead(py, member)?;
        Ok(self.core().has_item())
    }

    fn fileno(slf: &Bound<'_, Self>) -> PyResult<i32> {
        Self::check_open(slf, READER)?;
        slf.get().descriptor(slf.py())
    }

    fn _statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let member = self.handle.member(py)?;
        let (figures, core) = (PyDict::new(py), self.core());
        let (gets, puts) = (core.get_seq(), core.put_seq());
        figures.set_item("depth", core.len())?;
        figures.set_item("puts", puts)?;
        figures.set_item("gets", gets)?;
        figures.set_item("bytes", core.put_bytes())?;
        figures.set_item("waiting_producers", core.waiting_producers())?;
        figures.set_item("waiting_consumers", core.waiting_consumers())?;
        let age = core.oldest_ms(member).map(|ms| f64::from(ms) / 1000.0);
        figures.set_item("oldest_age", age)?;
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
