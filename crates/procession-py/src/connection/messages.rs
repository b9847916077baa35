//! The messages of a connection: objects and bytes into it, and out of it.

use super::{Connection, READABLE, WRITABLE};
use crate::blocking::{Blocking, Patience};
use crate::buffers::{not_contiguous, not_writable, part, plain_buffer};
use crate::message::{Prefix, SimplePickle};
use crate::raw::source_of;
use crate::receiving::{Place, Received, receive};
use crate::transfer::Transfer;
use procession_sys::clock::Deadline;
use procession_sys::region::Source;
use procession_sys::stream::{self, Event, Ready};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView};
use std::sync::atomic::Ordering::Relaxed;

static DUMPS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The pickler that all of multiprocessing registers its reducers with.
fn forking_pickler(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    DUMPS.import(py, "multiprocessing.reduction", "ForkingPickler")
}

impl Connection {
    fn send_parts(&self, py: Python<'_>, parts: [Source<'_>; 3]) -> PyResult<()> {
        Transfer::begin(py, self, Event::Writable, Deadline::NEVER)?.send(parts)
    }

    pub(super) fn send_body(&self, py: Python<'_>, body: Source<'_>) -> PyResult<()> {
        let prefix = Prefix::header(body.len());
        self.send_parts(py, [prefix.source(), body, Source::from(&[][..])])
    }

    /// Sends a part of a contiguous buffer of bytes.
    fn send_buffer(
        &self,
        py: Python<'_>,
        body: Source<'_>,
        offset: isize,
        size: Option<isize>,
    ) -> PyResult<()> {
        let (from, size) = part(body.len(), offset, size)?;
        self.send_body(py, body.skip(from).first(size))
    }

    pub(super) fn bad_length(&self) -> PyErr {
        if self.is(WRITABLE) {
            self.mode.fetch_and(!READABLE, Relaxed);
        } else if let Err(error) = self.close_fd() {
            return error;
        }
        PyOSError::new_err("bad message length")
    }

    pub(super) fn receive_bytes<'py>(
        &self,
        py: Python<'py>,
        most: usize,
        until: Deadline,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match receive(py, self, most, &Place::Bytes, until)? {
            Received::Bytes(bytes) => Ok(Some(bytes)),
            Received::TooLong => Ok(None),
            Received::Buffer(_) => unreachable!("no buffer was given"),
        }
    }

    /// Sends the pickle of an object.
    pub(super) fn send_object(&self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = obj.py();
        if let Some(pickle) = SimplePickle::of(obj) {
            let prefix = pickle.prefix();
            let [body, stop] = pickle.rest();
            return self.send_parts(py, [prefix.source(), body, stop]);
        }
        let pickled = forking_pickler(py)?.call_method1("dumps", (obj,))?;
        let buffer = plain_buffer(&pickled)?;
        self.send_body(py, source_of(&buffer).ok_or_else(not_contiguous)?)
    }

    /// Sends a part of a bytes-like object.
    pub(super) fn send_part(
        &self,
        buf: &Bound<'_, PyAny>,
        offset: isize,
        size: Option<isize>,
    ) -> PyResult<()> {
        let py = buf.py();
        if let Ok(bytes) = buf.cast_exact::<PyBytes>() {
            return self.send_buffer(py, bytes.as_bytes().into(), offset, size);
        }
        let buffer = plain_buffer(buf)?;
        let body = source_of(&buffer).ok_or_else(not_contiguous)?;
        self.send_buffer(py, body, offset, size)
    }

    /// The next message, unpickled.
    pub(super) fn receive_object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.receive_bytes(py, usize::MAX, Deadline::NEVER)? {
            Some(bytes) => LOADS.import(py, "pickle", "loads")?.call1((bytes,)),
            None => Err(self.bad_length()),
        }
    }

    /// The next message in the caller's buffer, from `offset` on; how long it was.
    pub(super) fn receive_into<'py>(
        &self,
        buf: &Bound<'py, PyAny>,
        offset: isize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = buf.py();
        let view = PyMemoryView::from(buf)?;
        if view.getattr("readonly")?.is_truthy()? || !view.getattr("c_contiguous")?.is_truthy()? {
            return Err(not_writable());
        }
        let buffer = plain_buffer(&view)?;
        let Ok(offset) = usize::try_from(offset) else {
            return Err(PyValueError::new_err("negative offset"));
        };
        if offset > buffer.len_bytes() {
            return Err(PyValueError::new_err("offset too large"));
        }
        let place = Place::Buffer(&buffer, offset);
        match receive(py, self, usize::MAX, &place, Deadline::NEVER)? {
            Received::Buffer(len) => Ok(len.into_pyobject(py)?.into_any()),
            Received::Bytes(bytes) => {
                let class = py.import("multiprocessing")?.getattr("BufferTooShort")?;
                Err(PyErr::from_value(class.call1((bytes,))?))
            }
            Received::TooLong => Err(self.bad_length()),
        }
    }

    /// Whether something can be received, or will be in time.
    pub(super) fn await_message(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let (fd, end) = (self.fd()?, self.end(py)?);
        let patience = Patience::of_seconds(timeout)?;
        let at_once = stream::wait(fd, Event::Readable, Deadline::after_ns(0));
        if at_once == Ready::Yes || end.is_torn() || !patience.is_any() {
            return Ok(at_once == Ready::Yes || end.is_torn());
        }
        let what = "a message from a Connection";
        let wait = Blocking::new(py, &end.handle, patience.deadline(), what);
        loop {
            let ready =
                wait.sleep(|waiting| stream::wait(fd, Event::Readable, waiting.slice_end()));
            if ready == Ready::Yes || end.is_torn() {
                return Ok(true);
            }
            wait.after_slice()?;
            if wait.waiting.is_over() {
                return Ok(false);
            }
            self.fd()?;
        }
    }
}
