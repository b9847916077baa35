//! Putting and getting in full: waiting for room and for items, and what ends in an exception.

use super::letter::Letter;
use super::references::Common;
use super::{Queue, parcel};
use crate::blocking::{Blocking, Patience};
use crate::codec::encode_pickled;
use crate::errors::to_python;
use procession_core::lock::{Waited, Waiting};
use procession_core::queue::{Got, Item, Put};
use procession_core::spin::Backoff;
use procession_shm::ArenaError;
use procession_shm::member::Member;
use procession_sys::clock::Deadline;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyList;
use std::sync::atomic::Ordering::Relaxed;

/// Most items that one call takes out of a queue.
const MOST: usize = 10_000;

/// Exceptions of other modules.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    Full,
    Empty,
    ShutDown,
}

impl Refusal {
    #[cold]
    pub(super) fn raise(self, py: Python<'_>) -> PyErr {
        static CLASSES: [PyOnceLock<Py<PyAny>>; 3] = [const { PyOnceLock::new() }; 3];
        let (module, name) = match self {
            Self::Full => ("queue", "Full"),
            Self::Empty => ("queue", "Empty"),
            Self::ShutDown => ("procession._shared.queues", "ShutDown"),
        };
        let class = CLASSES[self as usize].import(py, module, name);
        match class.and_then(Bound::call0) {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }
    }
}

/// A wait that begins when it is needed.
struct Wait<'a, 'py> {
    slf: &'a Bound<'py, Queue>,
    backoff: &'a Backoff,
    patience: Patience,
    what: &'static str,
    began: Option<Blocking<'a, 'py>>,
    /// Whether it has been looked for what the dead had.
    has_looked: bool,
}

impl<'a, 'py> Wait<'a, 'py> {
    fn new(
        slf: &'a Bound<'py, Queue>,
        backoff: &'a Backoff,
        patience: Patience,
        what: &'static str,
    ) -> Self {
        Self {
            slf,
            backoff,
            patience,
            what,
            began: None,
            has_looked: false,
        }
    }

    /// Until it may be worth another try; false: no longer.
    fn again(
        &mut self,
        member: Member,
        is_ready: impl Fn(&Queue) -> bool + Sync,
        slice: impl Fn(&Queue, Member, &Waiting) -> Option<Waited> + Sync,
    ) -> PyResult<bool> {
        let queue = self.slf.get();
        if !self.patience.is_any() {
            let may_come_back = !self.has_looked && queue.core().redelivers();
            if may_come_back {
                self.has_looked = true;
                queue.look_for_dead(self.slf.py(), member)?;
            }
            return Ok(may_come_back);
        }
        let began = self.began.get_or_insert_with(|| {
            let until = self.patience.deadline();
            Blocking::new(self.slf.py(), &queue.handle, until, self.what).spinning(self.backoff)
        });
        if began.spin(|| is_ready(queue)) {
            return Ok(true);
        }
        match began.sleep(|waiting| slice(queue, member, waiting)) {
            None | Some(Waited::Acquired(_)) => {}
            Some(Waited::TimedOut) => return Ok(false),
            Some(Waited::Slice) => {
                began.after_slice()?;
                let py = self.slf.py();
                queue.look_for_dead(py, queue.handle.member(py)?)?;
            }
        }
        Ok(true)
    }
}

impl Queue {
    /// The object, put; as long as it takes.
    pub(crate) fn put_one(
        slf: &Bound<'_, Self>,
        obj: &Bound<'_, PyAny>,
        patience: Patience,
    ) -> PyResult<()> {
        Self::check_open(slf, super::WRITER)?;
        let letter = Letter::of(obj, slf.get().handle.arena.nonce());
        Self::put_letter(slf, obj, letter, patience)
    }

    /// The same, as long as it takes, for an object that has no native form.
    pub(crate) fn put_pickled(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::check_open(slf, super::WRITER)?;
        let encoded = encode_pickled(obj, slf.get().handle.arena.nonce(), Vec::new());
        Self::put_letter(
            slf,
            obj,
            encoded.map(Letter::with),
            Patience::Until(Deadline::NEVER),
        )
    }

    fn put_letter<'py>(
        slf: &Bound<'py, Self>,
        obj: &Bound<'py, PyAny>,
        letter: PyResult<Letter<'py>>,
        patience: Patience,
    ) -> PyResult<()> {
        match letter {
            Ok(letter) if letter.buffers().is_empty() => Self::send(slf, &mut [letter], patience),
            Ok(letter) => Self::send_referring(slf, &mut [letter], patience),
            Err(error) => Self::refuse_to_encode(slf, obj, error),
        }
    }

    /// Raises, unless the program wants to be told otherwise.
    #[cold]
    fn refuse_to_encode(
        slf: &Bound<'_, Self>,
        obj: &Bound<'_, PyAny>,
        error: PyErr,
    ) -> PyResult<()> {
        let py = slf.py();
        if error.is_instance_of::<PyException>(py) {
            if let Some(refused) = slf.getattr_opt(intern!(py, "_refused"))? {
                if refused.call1((error.value(py), obj))?.is_truthy()? {
                    return Ok(());
                }
            }
        }
        Err(error)
    }

    /// The same, with what lies in the arena already, or in several of them, sent as what it lies in.
    pub(super) fn send_referring(
        slf: &Bound<'_, Self>,
        letters: &mut [Letter<'_>],
        patience: Patience,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let member = this.handle.member(py)?;
        // What may be delivered again is each time what it was: nobody has written in it.
        if !this.core().redelivers() {
            for letter in &mut *letters {
                letter.find_references(member);
            }
        }
        let common = Common::of(py, member, letters)?;
        let sent = Self::send(slf, letters, patience);
        drop(common);
        sent
    }

    /// All of these, put in their order.
    pub(super) fn send(
        slf: &Bound<'_, Self>,
        letters: &mut [Letter<'_>],
        patience: Patience,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let mut wait = Wait::new(slf, &this.room, patience, "room in a Queue");
        let mut sent = 0;
        loop {
            let member = this.handle.member(py)?;
            let rest = &mut letters[sent..];
            for letter in &mut *rest {
                letter.prepare(py, member)?;
            }
            let messages: Vec<_> = rest.iter().map(Letter::message).collect();
            let put = this.core().try_put_many(member, &messages);
            let (count, outcome) = put.map_err(|error| to_python(py, &error))?;
            rest[..count].iter_mut().for_each(Letter::is_sent);
            sent += count;
            match outcome {
                Put::Done => return Ok(()),
                Put::Rings(bells) => {
                    this.ring(&bells);
                    if sent == letters.len() {
                        return Ok(());
                    }
                }
                Put::Shut => return Err(Refusal::ShutDown.raise(py)),
                Put::Full => {}
            }
            let core = |queue: &Self| queue.core().has_room();
            let slice =
                |queue: &Self, member, waiting: &Waiting| queue.core().wait_room(member, waiting);
            if !wait.again(member, core, slice)? {
                return Err(Refusal::Full.raise(py));
            }
        }
    }

    /// Tries to take something until there is something.
    pub(super) fn take<T>(
        slf: &Bound<'_, Self>,
        patience: Patience,
        mut attempt: impl FnMut(&Self, Member) -> Result<Result<T, Got>, ArenaError>,
    ) -> PyResult<(Member, T)> {
        Self::check_open(slf, super::READER)?;
        let (py, this) = (slf.py(), slf.get());
        this.raise_overdue(py)?;
        this.make_up_for_rings();
        let mut wait = Wait::new(slf, &this.handle.backoff, patience, "an item of a Queue");
        loop {
            let member = this.handle.member(py)?;
            this.move_letters(py, member)?;
            let taken = attempt(this, member).map_err(|error| to_python(py, &error))?;
            this.muffle_bell(member);
            match taken {
                Ok(taken) => return Ok((member, taken)),
                Err(Got::Shut) => return Err(Refusal::ShutDown.raise(py)),
                Err(_) => {}
            }
            // A shut queue may still have to wait, for what other consumers have.
            let is_ready = |queue: &Self| !queue.core().is_empty();
            let slice =
                |queue: &Self, member, waiting: &Waiting| queue.core().wait_item(member, waiting);
            if !wait.again(member, is_ready, slice)? {
                return Err(Refusal::Empty.raise(py));
            }
        }
    }

    /// The next object, as long as it takes.
    pub(crate) fn get_one<'py>(
        slf: &Bound<'py, Self>,
        patience: Patience,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut bytes = Vec::new();
        let (member, (flags, blocks)) = Self::take(slf, patience, |this, member| {
            Ok(match this.core().try_get(member, &mut bytes)? {
                Got::Message {
                    flags,
                    blocks,
                    deliveries,
                    ..
                } => {
                    this.last_delivery.store(deliveries, Relaxed);
                    Ok((flags, blocks))
                }
                nothing => Err(nothing),
            })
        })?;
        parcel::open(slf.py(), member, flags, &bytes, blocks)
    }

    /// At least one object. What cannot be opened is raised by the calls that follow, one each, unless there
    /// is nothing else.
    pub(super) fn get_several<'py>(
        slf: &Bound<'py, Self>,
        most: Option<usize>,
        patience: Patience,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let most = most.map_or(MOST, |most| most.min(MOST));
        let (mut bytes, mut items) = (Vec::new(), Vec::<Item>::new());
        let (member, ()) = Self::take(slf, patience, |this, member| {
            let nothing = this
                .core()
                .try_get_many(member, most, &mut bytes, &mut items)?;
            Ok(nothing.map_or(Ok(()), Err))
        })?;
        if let Some(last) = items.last() {
            slf.get().last_delivery.store(last.deliveries, Relaxed);
        }
        let objects = items.into_iter().map(|item| {
            let content = &bytes[item.bytes];
            parcel::open(py, member, item.flags, content, item.blocks)
        });
        let (mut opened, mut errors) = (Vec::new(), Vec::new());
        for object in objects {
            match object {
                Ok(object) => opened.push(object),
                Err(error) => errors.push(error),
            }
        }
        slf.get().keep_overdue(member, errors);
        if opened.is_empty() {
            slf.get().raise_overdue(py)?;
        }
        PyList::new(py, opened)
    }

    /// Whether there is an item, or comes one in time.
    pub(super) fn poll(slf: &Bound<'_, Self>, patience: Patience) -> PyResult<bool> {
        let this = slf.get();
        this.make_up_for_rings();
        let mut wait = Wait::new(slf, &this.handle.backoff, patience, "an item of a Queue");
        loop {
            let member = this.handle.member(slf.py())?;
            if this.core().has_item() {
                return Ok(true);
            }
            // A shut queue may still have to wait, for what other consumers have.
            let is_ready = |queue: &Self| !queue.core().is_empty();
            let slice =
                |queue: &Self, member, waiting: &Waiting| queue.core().wait_item(member, waiting);
            if !wait.again(member, is_ready, slice)? {
                return Ok(false);
            }
        }
    }
}
