//! Bytes of the arena: copied under a lock, or lent as a buffer.

use super::payload::Lent;
use crate::errors::to_python;
use crate::handle::{Handle, Travelling};
use procession_core::object::BODY;
use procession_core::{Object as CoreObject, ObjectKind};
use procession_shm::{Arena, ArenaError};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of an arena object that whoever made this holds a handle to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    at: NonNull<u8>,
    nbytes: usize,
}

// SAFETY: `at` points into a mapping that is never unmapped and that other processes change
// anyway; every access is a copy of plain bytes.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// `nbytes` of the object's block from `from` on.
    pub(crate) fn of(py: Python<'_>, handle: &Handle, from: u64, nbytes: u64) -> PyResult<Self> {
        let at = handle.arena.bytes(handle.object.offset + from, nbytes);
        let at = at.map_err(|error| to_python(py, &error))?;
        let nbytes = nbytes as usize;
        Ok(Self { at, nbytes })
    }

    /// `nbytes` of the arena from `offset` on.
    pub(crate) fn at(arena: &Arena, offset: u64, nbytes: u64) -> Result<Self, ArenaError> {
        let at = arena.bytes(offset, nbytes)?;
        let nbytes = nbytes as usize;
        Ok(Self { at, nbytes })
    }

    pub(crate) fn len(&self) -> usize {
        self.nbytes
    }

    /// Bytes that are not the arena's.
    ///
    /// # Safety
    /// `nbytes` lie at `at` for as long as this or a copy of it is used.
    pub(super) unsafe fn lent(at: NonNull<u8>, nbytes: usize) -> Self {
        Self { at, nbytes }
    }

    /// What lies from `from` on; nothing beyond the end.
    pub(crate) fn rest(&self, from: usize) -> Self {
        let from = from.min(self.nbytes);
        // SAFETY: `from <= nbytes`.
        let at = unsafe { self.at.add(from) };
        Self {
            at,
            nbytes: self.nbytes - from,
        }
    }

    /// Where they begin.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.at
    }

    /// Copies as many bytes from other ones to the beginning; nothing if they do not fit.
    pub(super) fn copy_from(&self, other: &Self) {
        if other.nbytes <= self.nbytes {
            // SAFETY: as many lie at either, and nobody keeps two objects at one place.
            unsafe { self.at.copy_from_nonoverlapping(other.at, other.nbytes) };
        }
    }

    /// Copies bytes out; what does not lie inside is left as it is.
    pub(crate) fn read(&self, from: usize, into: &mut [u8]) {
        if from > self.nbytes || into.len() > self.nbytes - from {
            return;
        }
        // SAFETY: `from <= nbytes` was checked.
        let source = unsafe { self.at.as_ptr().add(from) };
        // SAFETY: `from + into.len() <= nbytes` was checked, and no slice of Rust's lies in the arena.
        unsafe { std::ptr::copy_nonoverlapping(source, into.as_mut_ptr(), into.len()) };
    }

    /// Copies bytes in; what does not fit is not copied.
    pub(crate) fn write(&self, to: usize, bytes: &[u8]) {
        if to > self.nbytes || bytes.len() > self.nbytes - to {
            return;
        }
        // SAFETY: `to <= nbytes` was checked.
        let target = unsafe { self.at.as_ptr().add(to) };
        // SAFETY: `to + bytes.len() <= nbytes` was checked, and no slice of Rust's lies in the arena.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }
}

/// Fills a view of bytes that `exporter` keeps where they are. `BufferError` for a writable view of
/// what may only be read.
///
/// # Safety
/// `view` is the caller's to fill, or null; `nbytes` lie at `at` for as long as `exporter` lives.
pub(super) unsafe fn fill_view(
    exporter: &Bound<'_, PyAny>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
    at: NonNull<u8>,
    nbytes: usize,
    is_read_only: bool,
) -> PyResult<()> {
    if view.is_null() {
        return Err(PyBufferError::new_err("no view to fill"));
    }
    // SAFETY: by the caller's promise; the filled view refers to `exporter`, which keeps the bytes.
    let filled = unsafe {
        ffi::PyBuffer_FillInfo(
            view,
            exporter.as_ptr(),
            at.as_ptr().cast(),
            nbytes as ffi::Py_ssize_t,
            is_read_only.into(),
            flags,
        )
    };
    if filled == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(exporter.py()))
    }
}

/// Bytes of an arena object as a buffer. Holds a handle, so the bytes outlive every view of them.
#[pyclass(frozen, weakref, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Memory {
    handle: Handle,
    at: NonNull<u8>,
    nbytes: u64,
    /// Whoever reads it by this may not write.
    is_read_only: bool,
}

// SAFETY: `at` points into a mapping that is never unmapped and that other processes change
// anyway; what threads make of the bytes is the user's business, as with any shared memory.
unsafe impl Send for Memory {}
// SAFETY: as above; the other fields are Sync.
unsafe impl Sync for Memory {}

impl Memory {
    /// `nbytes` of the object's block from `from` on.
    pub(crate) fn view(py: Python<'_>, handle: Handle, from: u64, nbytes: u64) -> PyResult<Self> {
        let offset = handle.object.offset + from;
        let at = handle
            .arena
            .bytes(offset, nbytes)
            .map_err(|error| to_python(py, &error))?;
        Ok(Self {
            handle,
            at,
            nbytes,
            is_read_only: false,
        })
    }
}

impl Memory {
    fn of_handle(py: Python<'_>, handle: Travelling) -> PyResult<Self> {
        let is_bytes = |kind| matches!(kind, ObjectKind::Memory | ObjectKind::Buffer);
        let handle = Handle::open(py, handle, is_bytes)?;
        let nbytes = handle.object.header.nbytes.load(Relaxed);
        Self::view(py, handle, BODY, nbytes)
    }
}

/// Longest text that [`Memory::text_at`] reads, in bytes.
const LONGEST_TEXT: u64 = 512;

impl Memory {
    pub(crate) fn len(&self) -> u64 {
        self.nbytes
    }

    /// A second handle to the object.
    pub(crate) fn share(&self, py: Python<'_>) -> PyResult<Handle> {
        self.handle.duplicate(py)
    }

    /// Where the object lies.
    pub(crate) fn offset(&self) -> u64 {
        self.handle.object.offset
    }

    /// The text in a Memory object of some process; None when none lies there (any more).
    pub(crate) fn text_at(arena: &'static Arena, offset: u64) -> Option<String> {
        if offset == 0 {
            return None;
        }
        let object = CoreObject::at(arena, offset).ok()??;
        let length = object.header.nbytes.load(Relaxed);
        if object.kind() != Some(ObjectKind::Memory) || length > LONGEST_TEXT {
            return None;
        }
        let at = arena.bytes(offset + BODY, length).ok()?;
        let mut text = vec![0; length as usize];
        // SAFETY: `bytes` checked that the range is mapped, for ever; should its owner free it
        // meanwhile, we copy other bytes, and below decide whether they are a text.
        unsafe { at.copy_to_nonoverlapping(NonNull::from(&mut text[..]).cast(), text.len()) };
        String::from_utf8(text).ok()
    }
}

#[pymethods]
impl Memory {
    #[new]
    fn new(py: Python<'_>, size: i64) -> PyResult<Self> {
        let Ok(nbytes) = u64::try_from(size) else {
            return Err(PyValueError::new_err(format!(
                "size must not be negative: {size}"
            )));
        };
        let handle = Handle::create(py, ObjectKind::Memory, nbytes, |_, _| Ok(()))?;
        Self::view(py, handle, BODY, nbytes)
    }

    /// Memory of `size` bytes that has these buffers, each from its place on, and between them whatever lay there.
    #[staticmethod]
    #[expect(clippy::needless_pass_by_value, reason = "extracted arguments")]
    fn _holding(py: Python<'_>, size: u64, pieces: Vec<(u64, Bound<'_, PyAny>)>) -> PyResult<Self> {
        let lend = |(at, piece): &(u64, Bound<'_, PyAny>)| {
            let lent = Lent::of(piece)?;
            let end = at.checked_add(lent.len() as u64);
            if end.is_none_or(|end| end > size) {
                return Err(PyValueError::new_err("a piece that does not fit"));
            }
            Ok((*at, lent))
        };
        let pieces = pieces.iter().map(lend).collect::<PyResult<Vec<_>>>()?;
        let handle = Handle::create_filled(py, ObjectKind::Memory, size, |object, arena| {
            for (at, piece) in &pieces {
                let place = object.offset + BODY + at;
                piece.copy_to(py, &Bytes::at(arena, place, piece.len() as u64)?);
            }
            Ok(())
        })?;
        Self::view(py, handle, BODY, size)
    }

    /// A Buffer of so many bytes: what arrays lie in that are sent as themselves.
    #[staticmethod]
    #[pyo3(signature = (size, *, zeroed = false))]
    fn _buffer(py: Python<'_>, size: u64, zeroed: bool) -> PyResult<Self> {
        let handle = Handle::create(py, ObjectKind::Buffer, size, |object, arena| {
            if zeroed {
                arena.zero(object.offset + BODY, size)
            } else {
                Ok(())
            }
        })?;
        Self::view(py, handle, BODY, size)
    }

    /// `(Buffer, where the bytes begin in it)` for bytes that lie in one; None for all others.
    #[staticmethod]
    fn _lending(buffer: &Bound<'_, PyAny>) -> PyResult<Option<(Self, u64)>> {
        let py = buffer.py();
        let lent = Lent::of(buffer)?;
        for arena in Arena::all() {
            let Some(member) = arena.known_member() else {
                continue;
            };
            let found = CoreObject::lending(member, lent.address(), lent.len() as u64);
            let Some((object, from)) = found else {
                continue;
            };
            let travelled = (*arena.nonce(), object.offset, object.serial);
            return Self::of_handle(py, travelled).map(|memory| Some((memory, from)));
        }
        Ok(None)
    }

    /// The same bytes, of which no view can be written in.
    fn _read_only(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            handle: self.share(py)?,
            at: self.at,
            nbytes: self.nbytes,
            is_read_only: true,
        })
    }

    #[getter]
    fn nbytes(&self) -> u64 {
        self.nbytes
    }

    fn __len__(&self) -> usize {
        self.nbytes as usize
    }

    fn _handle(&self) -> Travelling {
        self.handle.travelling()
    }

    fn _pin(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.pin(py)
    }

    #[classmethod]
    fn _open(cls: &Bound<'_, PyType>, handle: Travelling) -> PyResult<Self> {
        Self::of_handle(cls.py(), handle)
    }

    #[expect(clippy::needless_pass_by_value, reason = "the protocol's signature")]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let this = slf.get();
        this.handle.member(slf.py())?;
        let nbytes = this.nbytes as usize;
        // SAFETY: `view` is the interpreter's; the bytes stay mapped for ever, and the handle keeps them
        // from being allocated anew.
        unsafe { fill_view(&slf, view, flags, this.at, nbytes, this.is_read_only) }
    }
}
