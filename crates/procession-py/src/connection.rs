//! `Connection`: messages through a descriptor, whole ones, whoever else uses the same end.

mod messages;

use crate::buffers::{not_contiguous, plain_buffer};
use crate::end::End;
use crate::errors::to_python;
use crate::handle::Travelling;
use crate::raw::source_of;
use crate::transfer::os_error;
use procession_core::spin::Backoff;
use procession_shm::ArenaError;
use procession_sys::clock::Deadline;
use procession_sys::stream::{self, Medium};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple, PyType};
use std::os::fd::IntoRawFd;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicU8};

const CLOSED: i32 = -1;
const READABLE: u8 = 1;
const WRITABLE: u8 = 2;

/// One end of a connection. Closed until `__init__` has run.
#[pyclass(subclass, frozen, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Connection {
    fd: AtomicI32,
    mode: AtomicU8,
    medium: AtomicU8,
    /// The descriptor that has been widened, if it is a pipe's.
    wide: AtomicI32,
    end: OnceLock<End>,
    /// What waiting for messages has been like.
    pub(crate) backoff: Backoff,
}

impl Connection {
    fn blank() -> Self {
        Self {
            fd: AtomicI32::new(CLOSED),
            mode: AtomicU8::new(0),
            medium: AtomicU8::new(Medium::Other as u8),
            wide: AtomicI32::new(CLOSED),
            end: OnceLock::new(),
            backoff: Backoff::new(),
        }
    }

    /// The descriptor, of an open connection.
    pub(crate) fn fd(&self) -> PyResult<i32> {
        match self.fd.load(Relaxed) {
            CLOSED => Err(PyOSError::new_err("handle is closed")),
            fd => Ok(fd),
        }
    }

    pub(crate) fn end(&self, py: Python<'_>) -> PyResult<&End> {
        self.end.get().ok_or_else(|| {
            to_python(
                py,
                &ArenaError::Stale("the connection was not initialised".into()),
            )
        })
    }

    pub(crate) fn medium(&self) -> Medium {
        Medium::from_bits(self.medium.load(Relaxed))
    }

    /// Before a message goes into `fd` that no pipe as the system makes it can hold.
    pub(crate) fn widen(&self, fd: i32) {
        if self.medium() == Medium::Pipe && self.wide.swap(fd, Relaxed) != fd {
            stream::widen(fd);
        }
    }

    fn is(&self, mode: u8) -> bool {
        self.mode.load(Relaxed) & mode != 0
    }

    fn check_readable(&self) -> PyResult<()> {
        self.fd()?;
        if self.is(READABLE) {
            return Ok(());
        }
        Err(PyOSError::new_err("connection is write-only"))
    }

    fn check_writable(&self) -> PyResult<()> {
        self.fd()?;
        if self.is(WRITABLE) {
            return Ok(());
        }
        Err(PyOSError::new_err("connection is read-only"))
    }

    fn open_fd(&self, fd: i32, readable: bool, writable: bool) {
        let mode = (u8::from(readable) * READABLE) | (u8::from(writable) * WRITABLE);
        self.mode.store(mode, Relaxed);
        self.medium.store(Medium::of(fd) as u8, Relaxed);
        self.wide.store(CLOSED, Relaxed);
        self.fd.store(fd, Relaxed);
    }

    fn close_fd(&self) -> PyResult<()> {
        match self.fd.swap(CLOSED, Relaxed) {
            CLOSED => Ok(()),
            fd => stream::close(fd).map_err(os_error),
        }
    }
}

fn of_class<'py>(cls: &Bound<'py, PyType>) -> PyResult<Bound<'py, Connection>> {
    let made = cls.call_method1("__new__", (cls,))?;
    Ok(made.cast_into::<Connection>()?)
}

#[pymethods]
impl Connection {
    #[new]
    #[pyo3(
        signature = (*_args, **_options),
        text_signature = "(handle, readable=True, writable=True)"
    )]
    fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
        Self::blank()
    }

    #[pyo3(signature = (handle, readable = true, writable = true))]
    fn __init__(
        slf: &Bound<'_, Self>,
        handle: &Bound<'_, PyAny>,
        readable: bool,
        writable: bool,
    ) -> PyResult<()> {
        let fd: i64 = handle.call_method0("__index__")?.extract()?;
        let Some(fd) = i32::try_from(fd).ok().filter(|fd| *fd >= 0) else {
            return Err(PyValueError::new_err("invalid handle"));
        };
        if !readable && !writable {
            let text = "at least one of `readable` and `writable` must be True";
            return Err(PyValueError::new_err(text));
        }
        let this = slf.get();
        if this.end.get().is_none() {
            // Of two threads that initialise the same object the later one's end is dropped.
            let _ = this.end.set(End::create(slf.py())?);
        }
        this.open_fd(fd, readable, writable);
        Ok(())
    }

    /// Both ends of a new pipe.
    #[classmethod]
    fn _pair<'py>(
        cls: &Bound<'py, PyType>,
        duplex: bool,
    ) -> PyResult<(Bound<'py, Self>, Bound<'py, Self>)> {
        let py = cls.py();
        let end = End::create(py)?;
        let other = end.opposite(py)?;
        let (one, two) = (of_class(cls)?, of_class(cls)?);
        let made = if duplex {
            stream::socket_pair()
        } else {
            stream::pipe()
        };
        let (first, second) = made.map_err(os_error)?;
        one.get().open_fd(first.into_raw_fd(), true, duplex);
        two.get().open_fd(second.into_raw_fd(), duplex, true);
        // Both are new: nobody has set them.
        let _ = one.get().end.set(end);
        let _ = two.get().end.set(other);
        Ok((one, two))
    }

    /// An end that has travelled: a descriptor of this process, and the object that its users share.
    #[classmethod]
    fn _arrive<'py>(
        cls: &Bound<'py, PyType>,
        fd: i32,
        readable: bool,
        writable: bool,
        handle: Travelling,
        side: usize,
    ) -> PyResult<Bound<'py, Self>> {
        let end = End::open(cls.py(), handle, side)?;
        let made = of_class(cls)?;
        made.get().open_fd(fd, readable, writable);
        let _ = made.get().end.set(end);
        Ok(made)
    }

    /// A closed connection that keeps the object behind this end.
    fn _anchor(&self, py: Python<'_>) -> PyResult<Self> {
        let anchor = Self::blank();
        // It is new: nobody has set it.
        let _ = anchor.end.set(self.end(py)?.duplicate(py)?);
        Ok(anchor)
    }

    fn _object(&self, py: Python<'_>) -> PyResult<Travelling> {
        Ok(self.end(py)?.handle.travelling())
    }

    #[getter]
    fn _side(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.end(py)?.side)
    }

    #[getter(_handle)]
    fn descriptor(&self) -> Option<i32> {
        self.fd().ok()
    }

    #[setter(_handle)]
    fn set_descriptor(&self, fd: Option<i32>) {
        self.fd.store(fd.unwrap_or(CLOSED), Relaxed);
    }

    #[getter(_readable)]
    fn was_readable(&self) -> bool {
        self.is(READABLE)
    }

    #[setter(_readable)]
    fn set_readable(&self, readable: bool) {
        if readable {
            self.mode.fetch_or(READABLE, Relaxed);
        } else {
            self.mode.fetch_and(!READABLE, Relaxed);
        }
    }

    #[getter(_writable)]
    fn was_writable(&self) -> bool {
        self.is(WRITABLE)
    }

    #[setter(_writable)]
    fn set_writable(&self, writable: bool) {
        if writable {
            self.mode.fetch_or(WRITABLE, Relaxed);
        } else {
            self.mode.fetch_and(!WRITABLE, Relaxed);
        }
    }

    /// True if the connection is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.fd.load(Relaxed) == CLOSED
    }

    /// True if the connection is readable.
    #[getter]
    fn readable(&self) -> bool {
        self.is(READABLE)
    }

    /// True if the connection is writable.
    #[getter]
    fn writable(&self) -> bool {
        self.is(WRITABLE)
    }

    /// The descriptor; `OSError` when it is closed.
    fn fileno(&self) -> PyResult<i32> {
        self.fd()
    }

    /// Give this end back. The other end reads what was sent, then `EOFError`, when nobody else has this end.
    fn close(&self) -> PyResult<()> {
        self.close_fd()
    }

    fn _close(&self) -> PyResult<()> {
        self.close_fd()
    }

    /// Send an object to the other end, which reads it with `recv()`.
    ///
    /// Blocks while there is no room. What several processes or threads send at once arrives whole.
    /// `BrokenPipeError` when nobody has the other end, or somebody was killed in the middle of a
    /// message there or here: nothing can follow it.
    fn send(&self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check_writable()?;
        self.send_object(obj)
    }

    /// The next object that was sent from the other end; blocks until there is one.
    ///
    /// `EOFError` when there is none and nobody has the other end; `TornMessageError`, which is an
    /// `EOFError` and an `OSError`, when a process stopped in the middle of a message.
    fn recv<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.check_readable()?;
        self.receive_object(py)
    }

    /// Send `size` bytes of a bytes-like object from `offset` on, as one message. In all else as `send()`.
    #[pyo3(signature = (buf, offset = 0, size = None))]
    fn send_bytes(
        &self,
        buf: &Bound<'_, PyAny>,
        offset: isize,
        size: Option<isize>,
    ) -> PyResult<()> {
        self.check_writable()?;
        self.send_part(buf, offset, size)
    }

    fn _send_bytes(&self, buf: &Bound<'_, PyAny>) -> PyResult<()> {
        let buffer = plain_buffer(buf)?;
        self.send_body(buf.py(), source_of(&buffer).ok_or_else(not_contiguous)?)
    }

    /// The next message, as bytes. In all else as `recv()`.
    ///
    /// `OSError` when it is longer than `maxlength`: nothing can be read here any more then.
    #[pyo3(signature = (maxlength = None))]
    fn recv_bytes<'py>(
        &self,
        py: Python<'py>,
        maxlength: Option<i64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.check_readable()?;
        let most = match maxlength.map(usize::try_from) {
            None => usize::MAX,
            Some(Ok(most)) => most,
            Some(Err(_)) => return Err(PyValueError::new_err("negative maxlength")),
        };
        self.receive_bytes(py, most, Deadline::NEVER)?
            .ok_or_else(|| self.bad_length())
    }

    /// `recv_bytes` for who does not trust the other end: at most `maxlength`, within `seconds`.
    fn _recv_bytes_within<'py>(
        &self,
        py: Python<'py>,
        maxlength: usize,
        seconds: f64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.check_readable()?;
        self.receive_bytes(py, maxlength, Deadline::after_seconds(seconds))?
            .ok_or_else(|| self.bad_length())
    }

    /// Read the next message into a writable bytes-like object at `offset`; how long it was.
    ///
    /// `BufferTooShort`, with the message as its argument, when there is not enough room. In all else
    /// as `recv()`.
    #[pyo3(signature = (buf, offset = 0))]
    fn recv_bytes_into<'py>(
        &self,
        buf: &Bound<'py, PyAny>,
        offset: isize,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check_readable()?;
        self.receive_into(buf, offset)
    }

    /// Whether there is a message, or will be within `timeout` seconds (None: however long it takes).
    ///
    /// True also when `recv()` would raise at once: the other end is closed, or half a message is
    /// all that is left of one.
    #[pyo3(signature = (timeout = Some(0.0)), text_signature = "($self, timeout=0.0)")]
    fn poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.check_readable()?;
        self.wait_for_message(py, timeout)
    }

    #[pyo3(name = "_poll", signature = (timeout))]
    fn wait_for_message(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.await_message(py, timeout)
    }

    /// Whether half a message is all that will come.
    fn _look(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.end(py)?.is_torn())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Who closes the last way to it by dropping it hears of no error, as with files.
        let _ = self.close_fd();
    }
}
