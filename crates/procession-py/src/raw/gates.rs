//! The hot methods of what is acquired and released.

use super::arguments::{arguments, sort};
use super::{Object, add_method, new_reference, py_none, py_true, with, wrapped};
use pyo3::PyClass;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyType;
use std::ptr::null_mut;

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
            let [block, timeout] = sort("acquire", ["block", "timeout"], &positional, &named)?;
            let taken = T::acquire_args(lock, block, timeout)?;
            Ok(taken
                .into_pyobject(lock.py())?
                .to_owned()
                .into_any()
                .unbind())
        })
    }
}

/// Puts them on `class`, a subclass of `T`.
pub(super) fn install<T: Gate>(class: &Bound<'_, PyType>) -> PyResult<()> {
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
