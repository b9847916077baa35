//! The hot methods of values: read, write, add.

use super::{Gate, Object, add_method, with, wrapped};
use crate::sem::SemLock;
use crate::value::Value;
use pyo3::exceptions::PyAttributeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

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

/// Puts them on `class`, a subclass of Value.
pub(super) fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    use ffi::{METH_O, PyMethodDefPointer as Method};
    let py = class.py();
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
