//! The hot methods of conditions: `with`.

use super::{Gate, Object, add_method, new_reference, py_none, py_true, with, wrapped};
use crate::condition::Condition;
use crate::sem::SemLock;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

/// Whether the condition's lock is ours and lets us pass without further thought.
///
/// # Safety
/// As for [`with`], `slf` being a Condition.
unsafe fn passes(slf: Object, pass: fn(&SemLock) -> bool) -> bool {
    // SAFETY: attached, by the caller's promise.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: by the caller's promise.
    unsafe { with::<Condition, _>(slf, |condition| condition.gate(py).is_some_and(pass)) }
}

unsafe extern "C" fn enter(slf: Object, _: Object) -> Object {
    // SAFETY: called by the method descriptor of Condition.
    if unsafe { passes(slf, Gate::try_fast) } {
        // SAFETY: attached, being called from Python.
        return unsafe { new_reference(py_true()) };
    }
    // SAFETY: as above.
    unsafe {
        wrapped::<Condition>(slf, |condition| {
            let lock = condition.get().lock(condition.py())?;
            lock.call_method0("__enter__").map(Bound::unbind)
        })
    }
}

unsafe extern "C" fn exit(slf: Object, exc: *mut Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called by the method descriptor of Condition.
    if unsafe { passes(slf, Gate::release_fast) } {
        // SAFETY: attached, being called from Python.
        return unsafe { new_reference(py_none()) };
    }
    // SAFETY: as above.
    unsafe {
        wrapped::<Condition>(slf, |condition| {
            let py = condition.py();
            let (exc, _) =
                super::arguments::arguments(py, exc, count as usize, std::ptr::null_mut())?;
            let lock = condition.get().lock(py)?;
            let left = lock.call_method1("__exit__", PyTuple::new(py, exc)?)?;
            Ok(left.unbind())
        })
    }
}

/// Puts them on `class`, a subclass of Condition.
pub(super) fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    use ffi::{METH_FASTCALL, METH_NOARGS, PyMethodDefPointer as Method};
    add_method(
        class,
        c"__enter__",
        METH_NOARGS,
        Method { PyCFunction: enter },
        c"__enter__($self, /)\n--\n\nAcquire the lock.",
    )?;
    add_method(
        class,
        c"__exit__",
        METH_FASTCALL,
        Method {
            PyCFunctionFast: exit,
        },
        c"__exit__($self, /, *exc)\n--\n\nRelease the lock.",
    )
}
