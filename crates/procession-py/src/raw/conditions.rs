//! The hot methods of conditions: `with`.

use super::{Gate, Object, add_method, new_reference, py_none, py_true, with, wrapped};
use crate::condition::Condition;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

unsafe extern "C" fn enter(slf: Object, _: Object) -> Object {
    let fast = |condition: &Condition| condition.gate().is_some_and(Gate::try_fast);
    // SAFETY: called by the method descriptor of Condition.
    if unsafe { with::<Condition, _>(slf, fast) } {
        // SAFETY: attached, being called from Python.
        return unsafe { new_reference(py_true()) };
    }
    // SAFETY: as above.
    unsafe {
        wrapped::<Condition>(slf, |condition| {
            let lock = condition.get().lock(condition.py());
            lock.call_method0("__enter__").map(Bound::unbind)
        })
    }
}

unsafe extern "C" fn exit(slf: Object, exc: *mut Object, count: ffi::Py_ssize_t) -> Object {
    let fast = |condition: &Condition| condition.gate().is_some_and(Gate::release_fast);
    // SAFETY: called by the method descriptor of Condition.
    if unsafe { with::<Condition, _>(slf, fast) } {
        // SAFETY: attached, being called from Python.
        return unsafe { new_reference(py_none()) };
    }
    // SAFETY: as above.
    unsafe {
        wrapped::<Condition>(slf, |condition| {
            let py = condition.py();
            let (exc, _) = super::arguments(py, exc, count as usize, std::ptr::null_mut())?;
            let lock = condition.get().lock(py);
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
