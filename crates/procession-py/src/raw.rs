//! The one module with unsafe code: hot methods without a detour, bytes of the arena, and the
//! buffer protocol.
//!
//! PyO3 wraps every method so that panics, arguments and errors are handled; that costs
//! several times what a free lock costs. The methods here first look whether the uncontended
//! way is open, which cannot fail, panic, or touch a reference count but of `True`, `None` and
//! fresh numbers; everything else goes the wrapped way.
#![allow(unsafe_code)]

mod arguments;
mod block;
mod cells;
mod collector;
mod conditions;
mod events;
mod frames;
mod gates;
mod memory;
mod payload;
mod private;
mod queues;

pub(crate) use block::Block;
pub(crate) use collector::Paused;
pub(crate) use frames::{Blank, source_of, target_of};
pub(crate) use gates::Gate;
pub(crate) use memory::{Bytes, Memory};
pub(crate) use payload::{Lent, small_integer};
pub(crate) use private::Private;

use crate::condition::Condition;
use crate::event::Event;
use crate::queue::Queue;
use crate::sem::SemLock;
use crate::semaphore::Semaphore;
use crate::value::Value;
use pyo3::PyClass;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyType;
use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

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

/// Puts hot methods on `class`: those of locks, values, semaphores, events, conditions or
/// queues.
///
/// The interpreter calls a method descriptor without checks and detours only for instances of
/// the very class that the descriptor was made for, so each class gets descriptors of its own.
pub(crate) fn install_fast_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    // The methods trust the descriptors to be given instances of these.
    if class.is_subclass_of::<Semaphore>()? {
        gates::install::<Semaphore>(class)
    } else if class.is_subclass_of::<Event>()? {
        events::install(class)
    } else if class.is_subclass_of::<Queue>()? {
        queues::install(class)
    } else if class.is_subclass_of::<Condition>()? {
        conditions::install(class)
    } else if class.is_subclass_of::<Value>()? {
        gates::install::<SemLock>(class)?;
        cells::install(class)
    } else if class.is_subclass_of::<SemLock>()? {
        gates::install::<SemLock>(class)
    } else {
        Err(PyTypeError::new_err(
            "only objects of procession have fast methods",
        ))
    }
}
