//! Keys as bytes that are equal when the keys are.
//!
//! ```text
//! N                      None
//! i bytes                an integer, and every number that equals one (True, 2.0)
//! I bytes                an integer of more than 64 bits
//! f 8 bytes              any other float, and every number that equals one
//! s utf-8   S utf-8      str; with lone surrogates
//! b bytes                bytes
//! t (length, item)*      a tuple
//! x length, kind, item   anything else that has a plain form: procession._shared.containers.keys
//! ```
//!
//! What equals a key of a plain type is that key, and comes back as the plain one: `True` as 1.

use super::hooks;
use super::values::{integer, put_integer};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyString, PyTuple};

/// Writes a key.
#[inline]
pub(super) fn encode(key: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(text) = key.cast_exact::<PyString>() {
        return put_text(text, into);
    }
    if let Ok(number) = key.cast_exact::<PyInt>() {
        return put_int(number, into);
    }
    encode_other(key, into)
}

fn put_text(text: &Bound<'_, PyString>, into: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(utf8) = text.to_str() {
        into.push(b's');
        into.extend_from_slice(utf8.as_bytes());
        return Ok(());
    }
    let py = text.py();
    let encoded = text.call_method1(intern!(py, "encode"), ("utf-8", "surrogatepass"))?;
    into.push(b'S');
    into.extend_from_slice(encoded.cast::<PyBytes>()?.as_bytes());
    Ok(())
}

fn put_int(number: &Bound<'_, PyInt>, into: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(small) = number.extract::<i64>() {
        into.push(b'i');
        put_integer(small, into);
        return Ok(());
    }
    let py = number.py();
    let bits: usize = number.call_method0(intern!(py, "bit_length"))?.extract()?;
    let signed = PyDict::new(py);
    signed.set_item(intern!(py, "signed"), true)?;
    let arguments = (bits / 8 + 1, "little");
    let bytes = number.call_method(intern!(py, "to_bytes"), arguments, Some(&signed))?;
    into.push(b'I');
    into.extend_from_slice(bytes.cast::<PyBytes>()?.as_bytes());
    Ok(())
}

fn put_float(number: &Bound<'_, PyFloat>, into: &mut Vec<u8>) -> PyResult<()> {
    let value = number.value();
    if value.is_finite() && value.fract() == 0.0 {
        let whole = number.call_method0(intern!(number.py(), "__int__"))?;
        return put_int(whole.cast::<PyInt>()?, into);
    }
    into.push(b'f');
    into.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

fn encode_other(key: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
    // Instances of subclasses as well: what they equal is that key, unless they say otherwise.
    if key.is_none() {
        into.push(b'N');
    } else if let Ok(bytes) = key.cast_exact::<PyBytes>() {
        into.push(b'b');
        into.extend_from_slice(bytes.as_bytes());
    } else if let Ok(number) = key.cast_exact::<PyFloat>() {
        put_float(number, into)?;
    } else if let Ok(tuple) = key.cast_exact::<PyTuple>() {
        into.push(b't');
        for item in tuple.iter_borrowed() {
            with_length(into, |into| encode(&item, into))?;
        }
    } else {
        let py = key.py();
        key.hash()?; // unhashable: the usual exception
        let pair = hooks(py)?.canonical.bind(py).call1((key,))?;
        let (kind, plain): (Option<String>, Bound<'_, PyAny>) = pair.extract()?;
        let Some(kind) = kind else {
            return encode(&plain, into);
        };
        into.push(b'x');
        with_length(into, |into| {
            into.extend_from_slice(kind.as_bytes());
            Ok(())
        })?;
        encode(&plain, into)?;
    }
    Ok(())
}

fn with_length(
    into: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> PyResult<()>,
) -> PyResult<()> {
    let at = into.len();
    into.extend_from_slice(&[0; 4]);
    write(into)?;
    let length = u32::try_from(into.len() - at - 4);
    let length = length.map_err(|_| PyTypeError::new_err("this key is too long"))?;
    into[at..at + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

#[cold]
fn spoilt() -> PyErr {
    PyValueError::new_err("these bytes are no key of a container")
}

fn split_length(bytes: &[u8]) -> PyResult<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk().ok_or_else(spoilt)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or_else(spoilt)
}

/// The key of these bytes.
#[inline]
pub(super) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let (tag, content) = bytes.split_first().ok_or_else(spoilt)?;
    Ok(match tag {
        b's' => PyString::from_bytes(py, content)?.into_any(),
        b'i' => {
            let number = integer(content).ok_or_else(spoilt)?;
            number.into_pyobject(py)?.into_any()
        }
        b'b' => PyBytes::new(py, content).into_any(),
        b'N' => py.None().into_bound(py),
        b'f' => {
            let word = content.try_into().map_err(|_| spoilt())?;
            PyFloat::new(py, f64::from_le_bytes(word)).into_any()
        }
        b't' => {
            let mut items = Vec::new();
            let mut rest = content;
            while !rest.is_empty() {
                let (item, after) = split_length(rest)?;
                items.push(decode(py, item)?);
                rest = after;
            }
            PyTuple::new(py, items)?.into_any()
        }
        b'I' => {
            let signed = PyDict::new(py);
            signed.set_item(intern!(py, "signed"), true)?;
            let arguments = (PyBytes::new(py, content), "little");
            let class = py.get_type::<PyInt>();
            class.call_method(intern!(py, "from_bytes"), arguments, Some(&signed))?
        }
        b'S' => {
            let bytes = PyBytes::new(py, content);
            bytes.call_method1(intern!(py, "decode"), ("utf-8", "surrogatepass"))?
        }
        b'x' => {
            let (kind, plain) = split_length(content)?;
            let arguments = (PyString::from_bytes(py, kind)?, decode(py, plain)?);
            hooks(py)?.restore.bind(py).call1(arguments)?
        }
        _ => return Err(spoilt()),
    })
}
