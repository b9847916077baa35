//! The hot methods of queues.

use super::arguments::{arguments, sort};
use super::{Object, add_method, new_reference, py_none, with, wrapped};
use crate::codec::{self, Form};
use crate::queue::Queue;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::cell::Cell;

thread_local! {
    /// Room for a message. Who needs it while it is taken gets an empty one.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A message that needed more room than this, in bytes, does not keep it.
const KEPT: usize = 64 << 10;

/// An empty one in a thread that is ending, and has given up its own.
#[inline]
fn take_scratch() -> Vec<u8> {
    SCRATCH.try_with(Cell::take).unwrap_or_default()
}

#[inline]
fn give_back_scratch(mut bytes: Vec<u8>) {
    if bytes.capacity() <= KEPT {
        bytes.clear();
        let _ = SCRATCH.try_with(|kept| kept.set(bytes));
    }
}

/// Those of the plainest queues (`SIMPLE`) take no `block` and no `timeout`.
unsafe extern "C" fn put<const SIMPLE: bool>(
    slf: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    if count == 1 && keywords.is_null() {
        // SAFETY: the interpreter lends one argument.
        let obj = unsafe { args.read() };
        // SAFETY: attached, being called from Python.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: a live object, lent for this call.
        let obj = unsafe { Borrowed::from_ptr(py, obj) };
        let mut bytes = take_scratch();
        let form = codec::native(&obj, &mut bytes);
        let is_put = form == Form::Native
            // SAFETY: called by the method descriptor of Queue.
            && unsafe { with::<Queue, _>(slf, |queue| queue.put_fast(&bytes)) };
        give_back_scratch(bytes);
        if is_put {
            // SAFETY: attached, being called from Python.
            return unsafe { new_reference(py_none()) };
        }
        if form == Form::Mixed {
            // SAFETY: called by the method descriptor of Queue.
            return unsafe {
                wrapped::<Queue>(slf, |queue| {
                    Queue::put_pickled(queue, &obj).map(|()| queue.py().None())
                })
            };
        }
    }
    // SAFETY: called by the method descriptor of Queue.
    unsafe {
        wrapped::<Queue>(slf, |queue| {
            let py = queue.py();
            let (positional, named) = arguments(py, args, count as usize, keywords)?;
            let [obj, block, timeout] = if SIMPLE {
                let [obj] = sort("put", ["obj"], &positional, &named)?;
                [obj, None, None]
            } else {
                sort("put", ["obj", "block", "timeout"], &positional, &named)?
            };
            let obj = obj.ok_or_else(|| {
                PyTypeError::new_err("put() missing 1 required positional argument: 'obj'")
            })?;
            Queue::put_args(queue, obj, block, timeout)?;
            Ok(py.None())
        })
    }
}

unsafe extern "C" fn get<const SIMPLE: bool>(
    slf: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    let simple = count == 0 && keywords.is_null();
    let mut bytes = take_scratch();
    // SAFETY: called by the method descriptor of Queue.
    let taken = unsafe {
        with::<Queue, _>(slf, |queue| {
            simple.then(|| queue.get_fast(&mut bytes)).flatten()
        })
    };
    let object = match taken {
        Some(taken) => {
            // SAFETY: attached, being called from Python.
            let py = unsafe { Python::assume_attached() };
            let number = taken
                .is_simple()
                .then(|| codec::integer(py, &bytes))
                .flatten();
            match number {
                Some(number) => number.into_ptr(),
                // SAFETY: called by the method descriptor of Queue.
                None => unsafe {
                    wrapped::<Queue>(slf, |queue| {
                        taken.open(queue.py(), &bytes).map(Bound::unbind)
                    })
                },
            }
        }
        // SAFETY: as above.
        None => unsafe {
            wrapped::<Queue>(slf, |queue| {
                let py = queue.py();
                let (positional, named) = arguments(py, args, count as usize, keywords)?;
                let [block, timeout] = if SIMPLE {
                    let [] = sort("get", [], &positional, &named)?;
                    [None, None]
                } else {
                    sort("get", ["block", "timeout"], &positional, &named)?
                };
                Queue::get_args(queue, block, timeout).map(Bound::unbind)
            })
        },
    };
    give_back_scratch(bytes);
    object
}

/// Puts them on `class`, a subclass of Queue.
pub(super) fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    use ffi::{METH_FASTCALL, METH_KEYWORDS, PyMethodDefPointer as Method};
    let flags = METH_FASTCALL | METH_KEYWORDS;
    let (put, get, of_put, of_get) = if class.hasattr(intern!(class.py(), "_is_simple"))? {
        (
            Method {
                PyCFunctionFastWithKeywords: put::<true>,
            },
            Method {
                PyCFunctionFastWithKeywords: get::<true>,
            },
            c"put($self, /, obj)\n--\n\nPut an object. It is in the queue when this returns.",
            c"get($self, /)\n--\n\nTake the next object, waiting for it.",
        )
    } else {
        (
            Method {
                PyCFunctionFastWithKeywords: put::<false>,
            },
            Method {
                PyCFunctionFastWithKeywords: get::<false>,
            },
            c"put($self, /, obj, block=True, timeout=None)\n--\n\nPut an object; queue.Full when there was no room before the timeout. It is in the queue when this returns.",
            c"get($self, /, block=True, timeout=None)\n--\n\nTake the next object; queue.Empty when none came before the timeout.",
        )
    };
    add_method(class, c"put", flags, put, of_put)?;
    add_method(class, c"get", flags, get, of_get)
}
