//! The one module with unsafe code: hot methods without a detour, bytes of the arena, and the
//! buffer protocol.
//!
//! PyO3 wraps every method so that panics, arguments and errors are handled; that costs
//! several times what a free lock costs. The methods here first look whether the uncontended
//! way is open, which cannot fail, panic, or touch a reference count but of `True`, `None` and
//! fresh numbers; everything else goes the wrapped way.
#![allow(unsafe_code)]

mod conditions;
mod events;

use crate::condition::Condition;
use crate::errors::to_python;
use crate::event::Event;
use crate::handle::{Handle, Travelling};
use crate::sem::{SemLock, sort_arguments};
use crate::semaphore::Semaphore;
use crate::value::Value;
use procession_core::object::BODY;
use procession_core::{Object as CoreObject, ObjectKind};
use procession_shm::Arena;
use pyo3::PyClass;
use pyo3::exceptions::{
    PyAttributeError, PyBufferError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyType;
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::Ordering::Relaxed;

type Object = *mut ffi::PyObject;

/// Runs `f` on the Rust side of `slf`.
///
/// # Safety
/// The calling thread is attached to the interpreter, and `slf` is an instance of `T`: the
/// interpreter's method and getset descriptors check that before they call.
unsafe fn with<T: PyClass<Frozen = True> + Sync, R>(slf: Object, f: impl FnOnce(&T) -> R) -> R {
    // SAFETY: attached, by the caller's promise.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: a live object, lent for the duration of the call.
    let any = unsafe { Borrowed::from_ptr(py, slf) };
    // SAFETY: an instance of T, by the caller's promise.
    let instance = unsafe { any.cast_unchecked::<T>() };
    f(instance.get())
}

/// Goes the wrapped way: errors are raised, a panic becomes an exception.
///
/// # Safety
/// As for [`with`].
#[cold]
#[inline(never)]
unsafe fn wrapped<T: PyClass>(
    slf: Object,
    f: impl FnOnce(&Bound<'_, T>) -> PyResult<Py<PyAny>>,
) -> Object {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        Python::attach(|py| {
            // SAFETY: a live object, lent for the duration of the call.
            let any = unsafe { Borrowed::from_ptr(py, slf) };
            // SAFETY: an instance of T, by the caller's promise.
            let instance = unsafe { any.cast_unchecked::<T>() };
            match f(&instance) {
                Ok(result) => result.into_ptr(),
                Err(error) => {
                    error.restore(py);
                    null_mut()
                }
            }
        })
    }));
    outcome.unwrap_or_else(|_| {
        Python::attach(|py| PyRuntimeError::new_err("procession's core panicked").restore(py));
        null_mut()
    })
}

/// A new reference to True or None, which live for ever.
///
/// # Safety
/// The calling thread is attached.
unsafe fn new_reference(of: Object) -> Object {
    // SAFETY: attached; `of` is one of the interpreter's own singletons.
    unsafe { ffi::Py_NewRef(of) }
}

fn py_true() -> Object {
    // SAFETY: gives the address of a static object.
    unsafe { ffi::Py_True() }
}

fn py_false() -> Object {
    // SAFETY: gives the address of a static object.
    unsafe { ffi::Py_False() }
}

fn py_none() -> Object {
    // SAFETY: gives the address of a static object.
    unsafe { ffi::Py_None() }
}

/// What is acquired and released: locks and semaphores.
pub(crate) trait Gate: PyClass<Frozen = True> + Sync {
    /// Goes in if that needs no thought.
    fn try_fast(&self) -> bool;
    /// Goes out if that needs no thought.
    fn release_fast(&self) -> bool;
    /// acquire(block, timeout) in full.
    fn acquire_args(
        slf: &Bound<'_, Self>,
        block: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool>;
    /// `release()` in full.
    fn release_slow(slf: &Bound<'_, Self>) -> PyResult<()>;
}

fn acquire_wrapped<T: Gate>(slf: &Bound<'_, T>) -> PyResult<Py<PyAny>> {
    let taken = T::acquire_args(slf, None, None)?;
    Ok(taken
        .into_pyobject(slf.py())?
        .to_owned()
        .into_any()
        .unbind())
}

fn release_wrapped<T: Gate>(slf: &Bound<'_, T>) -> PyResult<Py<PyAny>> {
    T::release_slow(slf)?;
    Ok(slf.py().None())
}

unsafe extern "C" fn enter<T: Gate>(slf: Object, _: Object) -> Object {
    // SAFETY: called by the method descriptor of T.
    if unsafe { with::<T, _>(slf, T::try_fast) } {
        // SAFETY: attached, being called from Python.
        return unsafe { new_reference(py_true()) };
    }
    // SAFETY: as above.
    unsafe { wrapped::<T>(slf, acquire_wrapped) }
}

unsafe extern "C" fn release<T: Gate>(slf: Object, _: Object) -> Object {
    // SAFETY: called by the method descriptor of T.
    if unsafe { with::<T, _>(slf, T::release_fast) } {
        // SAFETY: attached, being called from Python.
        return unsafe { new_reference(py_none()) };
    }
    // SAFETY: as above.
    unsafe { wrapped::<T>(slf, release_wrapped) }
}

unsafe extern "C" fn exit<T: Gate>(slf: Object, _: *mut Object, _: ffi::Py_ssize_t) -> Object {
    // SAFETY: release() with the same self; the exception's three parts say nothing to us.
    unsafe { release::<T>(slf, null_mut()) }
}

unsafe extern "C" fn acquire<T: Gate>(
    slf: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    if count == 0 && keywords.is_null() {
        // SAFETY: enter() with the same self means the same.
        return unsafe { enter::<T>(slf, null_mut()) };
    }
    // SAFETY: called by the method descriptor of T.
    unsafe {
        wrapped::<T>(slf, |lock| {
            let (positional, named) = arguments(lock.py(), args, count as usize, keywords)?;
            let [block, timeout] =
                sort_arguments("acquire", ["block", "timeout"], &positional, &named)?;
            let taken = T::acquire_args(lock, block, timeout)?;
            Ok(taken
                .into_pyobject(lock.py())?
                .to_owned()
                .into_any()
                .unbind())
        })
    }
}

type Arguments<'py> = (Vec<Bound<'py, PyAny>>, Vec<(String, Bound<'py, PyAny>)>);

/// The arguments of a vectorcall, owned.
fn arguments(
    py: Python<'_>,
    args: *const Object,
    count: usize,
    names: Object,
) -> PyResult<Arguments<'_>> {
    // SAFETY: null, or the tuple of names that the interpreter lends for this call.
    let names = unsafe { Bound::from_borrowed_ptr_or_opt(py, names) };
    let names: Vec<String> = names.map_or(Ok(Vec::new()), |names| names.extract())?;
    let all = (0..count + names.len()).map(|index| {
        // SAFETY: the interpreter lends `count` values and one for each name.
        let place = unsafe { args.add(index) };
        // SAFETY: a place of that array, initialised.
        let value = unsafe { place.read() };
        // SAFETY: a live object, lent for this call.
        unsafe { Bound::from_borrowed_ptr(py, value) }
    });
    let mut positional: Vec<_> = all.collect();
    let values = positional.split_off(count);
    Ok((positional, names.into_iter().zip(values).collect()))
}

/// Runs `f` under the value's lock if that is free and nothing needs thought.
///
/// # Safety
/// As for [`with`], `slf` being a Value.
unsafe fn cell_fast<R>(slf: Object, f: impl FnOnce(&SemLock) -> R) -> Option<R> {
    let locked = |lock: &SemLock| {
        if !lock.try_fast() {
            return None;
        }
        let result = f(lock);
        // We hold it, so this cannot be refused.
        let _ = lock.release_fast();
        Some(result)
    };
    // SAFETY: a Value is a SemLock, too.
    unsafe { with::<SemLock, _>(slf, locked) }
}

unsafe extern "C" fn get_value(slf: Object, _: *mut c_void) -> Object {
    // SAFETY: called by the getset descriptor of Value.
    let bits = unsafe { cell_fast(slf, SemLock::cell) };
    // SAFETY: as above.
    let quick = bits.and_then(|bits| unsafe { with::<Value, _>(slf, |value| number(value, bits)) });
    // SAFETY: as above.
    quick.unwrap_or_else(|| unsafe { wrapped(slf, Value::read) })
}

/// A new Python number for the bits of a numeric Value.
fn number(value: &Value, bits: u64) -> Option<Object> {
    if let Some(integer) = value.scalar().as_integer(bits) {
        // SAFETY: attached (a method of Python called us); null would be a memory error that
        // is set already.
        return Some(unsafe { ffi::PyLong_FromLongLong(integer) });
    }
    let float = value.scalar().as_float(bits)?;
    // SAFETY: as above.
    Some(unsafe { ffi::PyFloat_FromDouble(float) })
}

/// The bits of an exact int or float that fit the Value without any conversion of Python's.
///
/// # Safety
/// As for [`with`], `slf` being a Value; `given` is a live object.
unsafe fn quick_bits(slf: Object, given: Object) -> Option<u64> {
    // SAFETY: by the caller's promise.
    let scalar = unsafe { with::<Value, _>(slf, Value::scalar) };
    // SAFETY: a live object.
    if unsafe { ffi::PyLong_CheckExact(given) } != 0 {
        let mut overflow: c_int = 0;
        // SAFETY: an int; overflow is reported, not raised.
        let wide = unsafe { ffi::PyLong_AsLongLongAndOverflow(given, &raw mut overflow) };
        return if overflow == 0 {
            scalar.bits_of_integer(wide)
        } else {
            None
        };
    }
    // SAFETY: a live object.
    if unsafe { ffi::PyFloat_CheckExact(given) } != 0 {
        // SAFETY: a float.
        return scalar.bits_of_float(unsafe { ffi::PyFloat_AsDouble(given) });
    }
    None
}

unsafe extern "C" fn set_value(slf: Object, given: Object, _: *mut c_void) -> c_int {
    if !given.is_null() {
        // SAFETY: called by the getset descriptor of Value with a live object.
        let bits = unsafe { quick_bits(slf, given) };
        let stored =
            // SAFETY: as above.
            bits.and_then(|bits| unsafe { cell_fast(slf, |lock| lock.set_cell(bits)) });
        if stored.is_some() {
            return 0;
        }
    }
    let write = |value: &Bound<'_, Value>| {
        let py = value.py();
        // SAFETY: null (deletion), or a live object lent for this call.
        let given = unsafe { Bound::from_borrowed_ptr_or_opt(py, given) }
            .ok_or_else(|| PyAttributeError::new_err("cannot delete attribute"))?;
        Value::write(value, &given)?;
        Ok(py.None())
    };
    // SAFETY: called by the getset descriptor of Value.
    let done = unsafe { wrapped::<Value>(slf, write) };
    if done.is_null() {
        return -1;
    }
    // SAFETY: a reference of our own.
    unsafe { ffi::Py_DECREF(done) };
    0
}

unsafe extern "C" fn add(slf: Object, given: Object) -> Object {
    // SAFETY: called by the method descriptor of Value with a live object.
    let by = unsafe { quick_bits(slf, given) };
    let sum = by.and_then(|by| {
        // SAFETY: as above.
        let scalar = unsafe { with::<Value, _>(slf, Value::scalar) };
        scalar.add(0, 0)?;
        // SAFETY: as above.
        unsafe {
            cell_fast(slf, |lock| {
                let sum = scalar.add(lock.cell(), by).unwrap_or(by);
                lock.set_cell(sum);
                sum
            })
        }
    });
    // SAFETY: as above.
    let quick = sum.and_then(|sum| unsafe { with::<Value, _>(slf, |value| number(value, sum)) });
    let plus = |value: &Bound<'_, Value>| {
        // SAFETY: a live object, lent for this call.
        let given = unsafe { Bound::from_borrowed_ptr(value.py(), given) };
        Value::plus(value, &given)
    };
    // SAFETY: as above.
    quick.unwrap_or_else(|| unsafe { wrapped::<Value>(slf, plus) })
}

fn add_method(
    class: &Bound<'_, PyType>,
    name: &'static CStr,
    flags: c_int,
    method: ffi::PyMethodDefPointer,
    doc: &'static CStr,
) -> PyResult<()> {
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: method,
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }));
    // SAFETY: a type object and a definition that is never freed.
    let descriptor = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), definition) };
    // SAFETY: a new reference, or null with an exception set.
    let descriptor = unsafe { Bound::from_owned_ptr_or_err(class.py(), descriptor) }?;
    class.setattr(name.to_string_lossy(), descriptor)
}

/// Puts the hot methods of `T` on `class`, a subclass of it.
fn install_gate<T: Gate>(class: &Bound<'_, PyType>) -> PyResult<()> {
    use ffi::{METH_FASTCALL, METH_KEYWORDS, METH_NOARGS, PyMethodDefPointer as Method};
    add_method(
        class,
        c"__enter__",
        METH_NOARGS,
        Method {
            PyCFunction: enter::<T>,
        },
        c"__enter__($self, /)\n--\n\nAcquire it.",
    )?;
    add_method(
        class,
        c"__exit__",
        METH_FASTCALL,
        Method {
            PyCFunctionFast: exit::<T>,
        },
        c"__exit__($self, /, *exc)\n--\n\nRelease it.",
    )?;
    add_method(
        class,
        c"acquire",
        METH_FASTCALL | METH_KEYWORDS,
        Method { PyCFunctionFastWithKeywords: acquire::<T> },
        c"acquire($self, /, block=True, timeout=None)\n--\n\nAcquire it; False when the timeout passed.",
    )?;
    add_method(
        class,
        c"release",
        METH_NOARGS,
        Method {
            PyCFunction: release::<T>,
        },
        c"release($self, /)\n--\n\nRelease it.",
    )
}

/// Puts hot methods on `class`: those of locks, values, semaphores, events or conditions.
///
/// The interpreter calls a method descriptor without checks and detours only for instances of
/// the very class that the descriptor was made for, so each class gets descriptors of its own.
pub(crate) fn install_fast_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    use ffi::{METH_O, PyMethodDefPointer as Method};
    let py = class.py();
    // The functions above trust the descriptors to be given instances of these.
    if class.is_subclass_of::<Semaphore>()? {
        return install_gate::<Semaphore>(class);
    }
    if class.is_subclass_of::<Event>()? {
        return events::install(class);
    }
    if class.is_subclass_of::<Condition>()? {
        return conditions::install(class);
    }
    if !class.is_subclass_of::<SemLock>()? {
        return Err(PyTypeError::new_err(
            "only objects of procession have fast methods",
        ));
    }
    install_gate::<SemLock>(class)?;
    if !class.is_subclass_of::<Value>()? {
        return Ok(());
    }
    add_method(
        class,
        c"add",
        METH_O,
        Method { PyCFunction: add },
        c"add($self, n, /)\n--\n\nAdd under the lock and return the new value.",
    )?;
    let definition = Box::leak(Box::new(ffi::PyGetSetDef {
        name: c"value".as_ptr(),
        get: Some(get_value),
        set: Some(set_value),
        doc: c"The scalar; reads and writes take the lock.".as_ptr(),
        closure: null_mut(),
    }));
    // SAFETY: a type object and a definition that is never freed.
    let descriptor = unsafe { ffi::PyDescr_NewGetSet(class.as_type_ptr(), definition) };
    // SAFETY: a new reference, or null with an exception set.
    let descriptor = unsafe { Bound::from_owned_ptr_or_err(py, descriptor) }?;
    class.setattr("value", descriptor)
}

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

    pub(crate) fn len(&self) -> usize {
        self.nbytes
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

/// Bytes of an arena object as a writable buffer. Holds a handle, so the bytes outlive every
/// view of them.
#[pyclass(frozen, weakref, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Memory {
    handle: Handle,
    at: NonNull<u8>,
    nbytes: u64,
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
        Ok(Self { handle, at, nbytes })
    }
}

/// Longest text that [`Memory::text_at`] reads, in bytes.
const LONGEST_TEXT: u64 = 512;

impl Memory {
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
        let py = cls.py();
        let handle = Handle::open(py, handle, |kind| kind == ObjectKind::Memory)?;
        let nbytes = handle
            .object
            .header
            .nbytes
            .load(std::sync::atomic::Ordering::Relaxed);
        Self::view(py, handle, BODY, nbytes)
    }

    #[expect(clippy::needless_pass_by_value, reason = "the protocol's signature")]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        let this = slf.get();
        this.handle.member(slf.py())?;
        // SAFETY: `view` is the caller's to fill; the bytes stay mapped for ever, and `slf`,
        // which the filled view refers to, keeps them from being allocated anew.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                this.at.as_ptr().cast(),
                this.nbytes as ffi::Py_ssize_t,
                0,
                flags,
            )
        };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}
