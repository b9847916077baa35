//! One message on its way: the turn, the bytes, the waiting in between.
//!
//! ```text
//! Away      the turn is somebody else's
//! Between   it is ours, at the edge of a message: signal handlers run without it, a death tears nothing
//! Within    some bytes of a message have moved: whatever stops us now tears it
//! ```
//!
//! Dropping a transfer gives the turn back, and tears what it was within.

use crate::blocking::Blocking;
use crate::connection::Connection;
use crate::end::End;
use procession_core::spin::Ground;
use procession_core::turn::{Awaited, Turn};
use procession_sys::clock::Deadline;
use procession_sys::error::{SysError, SysResult};
use procession_sys::process;
use procession_sys::region::{Source, Target};
use procession_sys::stream::{self, Event, Medium, Moved, PIPE_ROOM, Ready};
use pyo3::exceptions::{PyBlockingIOError, PyBrokenPipeError, PyOSError, PyRuntimeError};
use pyo3::exceptions::{PyEOFError, PyTimeoutError};
use pyo3::prelude::*;
use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

/// Steps that move bytes before signals are looked at, although nothing has blocked.
const STEPS: u32 = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Away,
    Between,
    Within,
}

/// A message on its way through one end.
pub(crate) struct Transfer<'a, 'py> {
    py: Python<'py>,
    connection: &'a Connection,
    end: &'a End,
    pub(crate) fd: i32,
    pub(crate) medium: Medium,
    event: Event,
    pub(crate) turn: Turn<'static>,
    wait: Blocking<'a, 'py>,
    stage: Cell<Stage>,
}

impl<'a, 'py> Transfer<'a, 'py> {
    /// Waits for the turn to send (`Writable`) or to receive.
    pub(crate) fn begin(
        py: Python<'py>,
        connection: &'a Connection,
        event: Event,
        until: Deadline,
    ) -> PyResult<Self> {
        let (fd, end) = (connection.fd()?, connection.end(py)?);
        let what = match event {
            Event::Readable => "a message from a Connection",
            Event::Writable => "room in a Connection",
        };
        let this = Self {
            py,
            connection,
            end,
            fd,
            medium: connection.medium(),
            event,
            turn: end.turn(event),
            wait: Blocking::new(py, &end.handle, until, what),
            stage: Cell::new(Stage::Away),
        };
        this.take()?;
        // What is whole may still be read; what is sent now would be read by nobody.
        let is_vain = || event == Event::Writable && end.other_turn(event).is_known_torn();
        if this.turn.is_known_torn() || is_vain() {
            return Err(this.torn("it"));
        }
        Ok(this)
    }

    fn take(&self) -> PyResult<()> {
        let (turn, end, thread) = (self.turn, self.end, process::thread());
        let mut me = end.owner(self.py)?;
        if !turn.try_take(me) {
            if turn.owner() == me && end.thread(self.event).load(Relaxed) == thread {
                return Err(PyRuntimeError::new_err(
                    "reentrant call: this thread is in the middle of a message on this connection",
                ));
            }
            if !self.wait.spin(|| turn.try_take(me)) {
                let arena = end.handle.arena;
                while self.wait.sleep(|waiting| turn.wait(me, arena, waiting)) == Awaited::Slice {
                    self.look()?;
                    me = end.owner(self.py)?;
                }
            }
        }
        end.thread(self.event).store(thread, Relaxed);
        self.stage.set(Stage::Between);
        Ok(())
    }

    fn give_back(&self) {
        self.end.thread(self.event).store(0, Relaxed);
        self.stage.set(Stage::Away);
        self.turn.give_back();
    }

    /// Signal handlers run, and the deadline is looked at.
    fn look(&self) -> PyResult<()> {
        self.wait.after_slice()?;
        if self.wait.waiting.is_over() {
            return Err(PyTimeoutError::new_err("timed out"));
        }
        Ok(())
    }

    /// From here on whatever stops us tears the message.
    pub(crate) fn enter(&self) {
        self.turn.begin();
        self.stage.set(Stage::Within);
    }

    /// No byte has moved after all.
    fn leave(&self) {
        self.turn.begin_later();
        self.stage.set(Stage::Between);
    }

    /// The message is whole.
    pub(crate) fn complete(&self) {
        self.stage.set(Stage::Between);
    }

    /// Moves the first bytes of a message by `attempt`, which moves all that must be moved at one
    /// stroke, or nothing; waits until that is possible.
    pub(crate) fn first(
        &self,
        mut attempt: impl FnMut() -> SysResult<Moved> + Send,
    ) -> PyResult<usize> {
        let mut is_torn = false;
        loop {
            let mut moved = attempt();
            if moved == Ok(Moved::Blocked) && !is_torn {
                let backoff = &self.connection.backoff;
                self.py.detach(|| {
                    backoff.spin(Ground::look(), || {
                        moved = attempt();
                        moved != Ok(Moved::Blocked)
                    })
                });
            }
            match moved.map_err(|error| self.failed(error))? {
                Moved::Bytes(count) => return Ok(count),
                Moved::Blocked if is_torn => return Err(self.torn("the message before")),
                Moved::Blocked => is_torn = self.idle()?,
            }
        }
    }

    /// Sleeps between messages, for one slice at most; true when no message can come, or be sent.
    fn idle(&self) -> PyResult<bool> {
        if stream::is_nonblocking(self.fd) {
            let text = "Resource temporarily unavailable";
            return Err(PyBlockingIOError::new_err((EAGAIN, text)));
        }
        let (fd, event) = (self.fd, self.event);
        let ready = self
            .wait
            .sleep(|waiting| stream::wait(fd, event, waiting.slice_end()));
        if ready == Ready::Yes {
            return Ok(false);
        }
        // A handler may use the connection, too.
        self.give_back();
        self.look()?;
        if self.connection.fd()? != fd {
            return Err(PyOSError::new_err("handle is closed"));
        }
        self.take()?;
        Ok(self.is_over())
    }

    /// Whether a message of this direction was torn, at whichever end.
    fn is_over(&self) -> bool {
        self.turn.is_known_torn() || self.is_abandoned()
    }

    /// Whether somebody at the other end is dead in the middle of a message of ours.
    fn is_abandoned(&self) -> bool {
        self.end
            .other_turn(self.event)
            .is_torn(self.end.handle.arena)
    }

    /// Moves what is left of a message by `step`, until it says that nothing is.
    fn rest(&self, mut step: impl FnMut() -> SysResult<Step> + Send) -> PyResult<()> {
        let (fd, event) = (self.fd, self.event);
        let mut is_torn = false;
        loop {
            let outcome = self.wait.sleep(|waiting| {
                for _ in 0..STEPS {
                    match step()? {
                        Step::Moved => {}
                        Step::Blocked if is_torn => return Ok(Step::Ended),
                        Step::Blocked => {
                            if stream::wait(fd, event, waiting.slice_end()) != Ready::Yes {
                                return Ok(Step::Blocked);
                            }
                        }
                        end => return Ok(end),
                    }
                }
                Ok(Step::Moved)
            });
            match outcome.map_err(|error| self.failed(error))? {
                Step::Done => return Ok(()),
                Step::Ended => return Err(self.torn("it")),
                Step::Blocked => is_torn = self.is_abandoned(),
                Step::Moved => {}
            }
            self.look()?;
        }
    }

    /// Writes these parts, one message.
    pub(crate) fn send(&self, parts: [Source<'_>; 3]) -> PyResult<()> {
        let (fd, medium) = (self.fd, self.medium);
        let total: usize = parts.iter().map(Source::len).sum();
        let mut sent = 0;
        if total <= medium.atomic() {
            sent = self.first(|| stream::try_write(fd, medium, &parts))?;
            if sent == total {
                return Ok(());
            }
        }
        if total > PIPE_ROOM {
            self.connection.widen(fd);
        }
        self.enter();
        let done = self.rest(|| {
            let left = skip(parts, sent);
            Ok(match stream::try_write(fd, medium, &left)? {
                Moved::Bytes(count) => {
                    sent += count;
                    if sent == total {
                        Step::Done
                    } else {
                        Step::Moved
                    }
                }
                Moved::Blocked => Step::Blocked,
            })
        });
        if done.is_ok() {
            self.complete();
        } else if sent == 0 {
            self.leave();
        }
        done
    }

    /// Fills `target`.
    pub(crate) fn fill(&self, target: Target<'_>) -> PyResult<()> {
        let (fd, medium) = (self.fd, self.medium);
        if target.is_empty() {
            return Ok(());
        }
        let mut target = Some(target);
        // What has come already is taken at once.
        let first = step_in(fd, medium, &mut target).map_err(os_error)?;
        match first {
            Step::Done => Ok(()),
            Step::Ended => Err(self.torn("it")),
            _ => self.rest(|| step_in(fd, medium, &mut target)),
        }
    }

    /// What to raise when there is nothing where a message should begin: nobody has the other end,
    /// or whoever tore a message has shut the socket down.
    pub(crate) fn ended(&self) -> PyErr {
        if self.is_over() {
            self.torn("the message before")
        } else {
            PyEOFError::new_err(())
        }
    }

    fn failed(&self, error: SysError) -> PyErr {
        if error.errno == EPIPE && self.is_over() {
            self.torn("the message before")
        } else {
            os_error(error)
        }
    }

    /// What to raise when half a message is all that there is of it.
    pub(crate) fn torn(&self, what: &str) -> PyErr {
        let (mine, theirs) = (self.turn, self.end.other_turn(self.event));
        // Who finds a message torn by the other side tears its own turn, too: that one tells nothing.
        let culprit = if theirs.is_known_torn() { theirs } else { mine };
        let text = match culprit.torn_by() {
            _ if !culprit.is_known_torn() => {
                format!("torn message: the connection ended in the middle of {what}")
            }
            0 => format!("torn message: a process stopped in the middle of {what}"),
            pid => format!("torn message: process {pid} stopped in the middle of {what}"),
        };
        stream::shut_down(self.fd, self.event);
        match self.event {
            Event::Writable => PyBrokenPipeError::new_err((EPIPE, text)),
            Event::Readable => torn_message(self.py, text),
        }
    }
}

const EAGAIN: i32 = 11;
const EPIPE: i32 = 32;

impl Drop for Transfer<'_, '_> {
    fn drop(&mut self) {
        match self.stage.get() {
            Stage::Away => return,
            Stage::Between => {}
            Stage::Within => {
                self.turn.tear(process::pid());
                stream::shut_down(self.fd, self.event);
            }
        }
        self.give_back();
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Moved,
    Blocked,
    Done,
    Ended,
}

/// Reads into `target` once; it is None only while it is replaced by what is left of it.
fn step_in(fd: i32, medium: Medium, target: &mut Option<Target<'_>>) -> SysResult<Step> {
    let Some(room) = target.take() else {
        return Ok(Step::Done);
    };
    Ok(match stream::try_read(fd, medium, &room)? {
        Moved::Bytes(0) => Step::Ended,
        Moved::Bytes(count) => {
            let left = room.skip(count);
            if left.is_empty() {
                Step::Done
            } else {
                *target = Some(left);
                Step::Moved
            }
        }
        Moved::Blocked => {
            *target = Some(room);
            Step::Blocked
        }
    })
}

fn skip(parts: [Source<'_>; 3], mut count: usize) -> [Source<'_>; 3] {
    parts.map(|part| {
        let left = part.skip(count);
        count -= part.len() - left.len();
        left
    })
}

/// The error of a system call.
pub(crate) fn os_error(error: SysError) -> PyErr {
    let text = std::io::Error::from_raw_os_error(error.errno).to_string();
    let said = text.split(" (os error").next().map(str::to_owned);
    PyOSError::new_err((error.errno, said))
}

fn torn_message(py: Python<'_>, text: String) -> PyErr {
    let class = py
        .import("procession._base.errors")
        .and_then(|module| module.getattr("TornMessageError"));
    match class.and_then(|class| class.call1((&text,))) {
        Ok(error) => PyErr::from_value(error),
        Err(_) => PyEOFError::new_err(text),
    }
}
