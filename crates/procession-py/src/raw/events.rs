//! The hot methods of events.

use super::arguments::{arguments, sort};
use super::{Object, add_method, new_reference, py_false, py_none, py_true, with, wrapped};
use crate::event::Event;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

unsafe extern "C" fn is_set(slf: Object, _: Object) -> Object {
    // SAFETY: called by the method descriptor of Event.
    match unsafe { with::<Event, _>(slf, Event::is_set_fast) } {
        // SAFETY: attached, being called from Python.
        Some(true) => unsafe { new_reference(py_true()) },
        // SAFETY: as above.
        Some(false) => unsafe { new_reference(py_false()) },
        // SAFETY: as above.
        None => unsafe {
            wrapped::<Event>(slf, |event| {
                event.get().check(event.py())?;
                boolean(event.py(), event.get().is_set_fast() == Some(true))
            })
        },
    }
}

fn boolean(py: Python<'_>, value: bool) -> PyResult<Py<PyAny>> {
    Ok(value.into_pyobject(py)?.to_owned().into_any().unbind())
}

/// A method without arguments or a result, by its fast form; false: find out who we are first.
unsafe fn act(slf: Object, fast: fn(&Event) -> bool) -> Object {
    // SAFETY: called by a method descriptor of Event.
    if unsafe { with::<Event, _>(slf, fast) } {
        // SAFETY: attached, being called from Python.
        return unsafe { new_reference(py_none()) };
    }
    // SAFETY: as above.
    unsafe {
        wrapped::<Event>(slf, |event| {
            event.get().check(event.py())?;
            fast(event.get());
            Ok(event.py().None())
        })
    }
}

unsafe extern "C" fn set(slf: Object, _: Object) -> Object {
    // SAFETY: called by the method descriptor of Event.
    unsafe { act(slf, Event::set_fast) }
}

unsafe extern "C" fn clear(slf: Object, _: Object) -> Object {
    // SAFETY: called by the method descriptor of Event.
    unsafe { act(slf, Event::clear_fast) }
}

unsafe extern "C" fn wait(
    slf: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    let simple = count == 0 && keywords.is_null();
    // SAFETY: called by the method descriptor of Event.
    if simple && unsafe { with::<Event, _>(slf, Event::is_set_fast) } == Some(true) {
        // SAFETY: attached, being called from Python.
        return unsafe { new_reference(py_true()) };
    }
    // SAFETY: as above.
    unsafe {
        wrapped::<Event>(slf, |event| {
            let py = event.py();
            let (positional, named) = arguments(py, args, count as usize, keywords)?;
            let [timeout] = sort("wait", ["timeout"], &positional, &named)?;
            boolean(py, event.get().wait(py, timeout)?)
        })
    }
}

/// Puts them on `class`, a subclass of Event.
pub(super) fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    use ffi::{METH_FASTCALL, METH_KEYWORDS, METH_NOARGS, PyMethodDefPointer as Method};
    add_method(
        class,
        c"is_set",
        METH_NOARGS,
        Method {
            PyCFunction: is_set,
        },
        c"is_set($self, /)\n--\n\nWhether it is set.",
    )?;
    add_method(
        class,
        c"set",
        METH_NOARGS,
        Method { PyCFunction: set },
        c"set($self, /)\n--\n\nSet it and wake all who wait.",
    )?;
    add_method(
        class,
        c"clear",
        METH_NOARGS,
        Method { PyCFunction: clear },
        c"clear($self, /)\n--\n\nClear it.",
    )?;
    add_method(
        class,
        c"wait",
        METH_FASTCALL | METH_KEYWORDS,
        Method {
            PyCFunctionFastWithKeywords: wait,
        },
        c"wait($self, /, timeout=None)\n--\n\nWait until it is set; False when the timeout passed.",
    )
}
