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
//! z (length, item)*      a frozenset, its members in the order of their bytes
//! x length, kind, item   anything else that has a plain form: procession._shared.containers.keys
//! ```
//!
//! What equals a key of a plain type has that key's bytes. Where the key cannot be made from these again
//! (`True` is found as 1), it is kept beside them, as it was first put in:
//!
//! ```text
//! v value                the spelling of a key
//! ```
//!
//! What equality means for a user's own class only its own code knows. Such a key is found by
//! comparing (`directory.rs`), and stands in the table under a number that no other ever had:
//!
//! ```text
//! o 8 bytes              a key that was found by comparing
//! ```

use super::hooks;
use super::values::{self, integer, put_integer};
use procession_shm::member::Member;
use pyo3::exceptions::{PyRecursionError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyString, PyTuple};

/// What the bytes of a key say of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[must_use]
pub(super) enum Form {
    /// All: the key is made from them again.
    Whole,
    /// What it equals.
    Equal,
    /// Nothing: it has to be compared.
    Compared,
}

/// The first byte of the keys that are compared.
pub(super) const COMPARED: u8 = b'o';
const SPELLING: u8 = b'v';

/// A key's bytes under which no other was ever put in.
pub(super) fn unique(member: Member) -> Vec<u8> {
    let mut bytes = vec![COMPARED];
    bytes.extend_from_slice(&member.next_serial().to_le_bytes());
    bytes
}

/// The key itself, as it is kept beside bytes that do not say all of it.
pub(super) fn spell(key: &Bound<'_, PyAny>, nonce: &[u8; 16]) -> PyResult<Vec<u8>> {
    let mut spelling = vec![SPELLING];
    values::encode_alone(key, nonce, &mut spelling)?;
    Ok(spelling)
}

/// Whether a key's bytes are those of a spelling.
pub(super) fn is_spelling(bytes: &[u8]) -> bool {
    bytes.first() == Some(&SPELLING)
}

/// Keys within keys, as many as a pickle could have within each other.
const DEEPEST: usize = 1000;

/// Writes a key; nothing of use if it has to be compared.
#[inline]
pub(super) fn encode(key: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<Form> {
    encode_within(key, 0, into)
}

#[inline]
fn encode_within(key: &Bound<'_, PyAny>, depth: usize, into: &mut Vec<u8>) -> PyResult<Form> {
    if let Ok(text) = key.cast_exact::<PyString>() {
        put_text(text, into)?;
        return Ok(Form::Whole);
    }
    if let Ok(number) = key.cast_exact::<PyInt>() {
        put_int(number, into)?;
        return Ok(Form::Whole);
    }
    encode_other(key, depth, into)
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

fn put_float(number: &Bound<'_, PyFloat>, into: &mut Vec<u8>) -> PyResult<Form> {
    let value = number.value();
    if value.is_finite() && value.fract() == 0.0 {
        let whole = number.call_method0(intern!(number.py(), "__int__"))?;
        put_int(whole.cast::<PyInt>()?, into)?;
        return Ok(Form::Equal);
    }
    into.push(b'f');
    into.extend_from_slice(&value.to_le_bytes());
    Ok(Form::Whole)
}

fn encode_other(key: &Bound<'_, PyAny>, depth: usize, into: &mut Vec<u8>) -> PyResult<Form> {
    if depth > DEEPEST {
        return Err(PyRecursionError::new_err("this key is nested too deeply"));
    }
    if key.is_none() {
        into.push(b'N');
    } else if let Ok(bytes) = key.cast_exact::<PyBytes>() {
        into.push(b'b');
        into.extend_from_slice(bytes.as_bytes());
    } else if let Ok(number) = key.cast_exact::<PyFloat>() {
        return put_float(number, into);
    } else if let Ok(truth) = key.cast_exact::<PyBool>() {
        into.push(b'i');
        put_integer(truth.is_true().into(), into);
        return Ok(Form::Equal);
    } else if let Ok(tuple) = key.cast_exact::<PyTuple>() {
        into.push(b't');
        let mut form = Form::Whole;
        for item in tuple.iter_borrowed() {
            form = form.max(with_length(into, |into| {
                encode_within(&item, depth + 1, into)
            })?);
            if form == Form::Compared {
                key.hash()?; // unhashable: the usual exception
                break;
            }
        }
        return Ok(form);
    } else if let Ok(set) = key.cast_exact::<PyFrozenSet>() {
        return put_frozenset(set, depth, into);
    } else {
        return encode_alien(key, depth, into);
    }
    Ok(Form::Whole)
}

/// Equal sets may be iterated in any order: the bytes of their members have one.
fn put_frozenset(set: &Bound<'_, PyFrozenSet>, depth: usize, into: &mut Vec<u8>) -> PyResult<Form> {
    let mut form = Form::Whole;
    let mut members = Vec::with_capacity(set.len());
    for member in set {
        let mut bytes = Vec::new();
        form = form.max(encode_within(&member, depth + 1, &mut bytes)?);
        members.push(bytes);
    }
    members.sort_unstable();
    into.push(b'z');
    for bytes in &members {
        with_length(into, |into| {
            into.extend_from_slice(bytes);
            Ok(())
        })?;
    }
    Ok(form)
}

/// Instances of subclasses are what they equal, unless they say otherwise themselves.
fn encode_alien(key: &Bound<'_, PyAny>, depth: usize, into: &mut Vec<u8>) -> PyResult<Form> {
    let py = key.py();
    key.hash()?; // unhashable: the usual exception
    let found = hooks(py)?.canonical.bind(py).call1((key,))?;
    let Some((kind, plain)) = found.extract::<Option<(Option<String>, Bound<'_, PyAny>)>>()? else {
        return Ok(Form::Compared);
    };
    if let Some(kind) = kind {
        into.push(b'x');
        with_length(into, |into| {
            into.extend_from_slice(kind.as_bytes());
            Ok(())
        })?;
    }
    Ok(encode_within(&plain, depth + 1, into)?.max(Form::Equal))
}

fn with_length<R>(
    into: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> PyResult<R>,
) -> PyResult<R> {
    let at = into.len();
    into.extend_from_slice(&[0; 4]);
    let written = write(into)?;
    let length = u32::try_from(into.len() - at - 4);
    let length = length.map_err(|_| PyTypeError::new_err("this key is too long"))?;
    into[at..at + 4].copy_from_slice(&length.to_le_bytes());
    Ok(written)
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

/// Whether making the key runs nobody's code.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((&SPELLING, value)) => values::is_plain(value),
        _ => true,
    }
}

fn items<'py>(py: Python<'py>, mut rest: &[u8]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut items = Vec::new();
    while !rest.is_empty() {
        let (item, after) = split_length(rest)?;
        items.push(decode(py, item)?);
        rest = after;
    }
    Ok(items)
}

/// The key of these bytes, or of this spelling.
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
        b't' => PyTuple::new(py, items(py, content)?)?.into_any(),
        b'z' => PyFrozenSet::new(py, items(py, content)?)?.into_any(),
        b'v' => values::decode_alone(py, content)?,
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
        _ => return Err(spoilt()),
    })
}
