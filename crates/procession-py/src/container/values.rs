//! Values as bytes: plain ones by a tag and their content, a list, dict or tuple of such as messages have
//! them (`codec.rs`), all others as a pickle.

use super::hooks;
use super::{Counter, List, Table};
use crate::codec;
use crate::handle::Travelling;
use procession_core::blob::{MOST_HANDLES, Named};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString, PyTuple};

mod tag {
    pub(super) const NONE: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INT: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const STR: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const PICKLE: u8 = 7;
    pub(super) const FACE: u8 = 8;
    pub(super) const FLAT: u8 = 9;
}

/// What encoded bytes refer to, kept alive until a blob does that.
pub(super) enum Refers<'py> {
    Nothing,
    One(
        Named,
        #[expect(dead_code, reason = "keeps the object")] Bound<'py, PyAny>,
    ),
    Many(Bound<'py, PyList>),
}

impl Refers<'_> {
    pub(super) fn named(&self) -> PyResult<Vec<Named>> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::One(named, _) => Ok(vec![*named]),
            Self::Many(objects) => objects
                .iter()
                .map(|object| {
                    let (_, offset, serial): Travelling =
                        object.call_method0("_handle")?.extract()?;
                    Ok((offset, serial))
                })
                .collect(),
        }
    }
}

/// Writes an integer's significant bytes.
pub(super) fn put_integer(value: i64, into: &mut Vec<u8>) {
    // The sign's bit is one of them.
    let bits = 65 - (value ^ (value >> 63)).leading_zeros() as usize;
    into.extend_from_slice(&value.to_le_bytes()[..bits.div_ceil(8)]);
}

/// Reads what `put_integer` wrote.
pub(super) fn integer(bytes: &[u8]) -> Option<i64> {
    let unused = 64 - 8 * u32::try_from(bytes.len()).ok()?;
    let mut word = [0; 8];
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    if bytes.is_empty() {
        return None;
    }
    Some(i64::from_le_bytes(word) << unused >> unused)
}

/// Writes a value; only exact types are plain.
#[inline]
pub(super) fn encode<'py>(
    value: &Bound<'py, PyAny>,
    nonce: &[u8; 16],
    into: &mut Vec<u8>,
) -> PyResult<Refers<'py>> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        // A str with lone surrogates is no UTF-8.
        if let Ok(utf8) = text.to_str() {
            into.push(tag::STR);
            into.extend_from_slice(utf8.as_bytes());
            return Ok(Refers::Nothing);
        }
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        if let Ok(number) = number.extract::<i64>() {
            into.push(tag::INT);
            put_integer(number, into);
            return Ok(Refers::Nothing);
        }
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        into.push(tag::BYTES);
        into.extend_from_slice(bytes.as_bytes());
        return Ok(Refers::Nothing);
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        into.push(tag::FLOAT);
        into.extend_from_slice(&number.value().to_le_bytes());
        return Ok(Refers::Nothing);
    } else if value.is_none() {
        into.push(tag::NONE);
        return Ok(Refers::Nothing);
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        into.push(if truth.is_true() {
            tag::TRUE
        } else {
            tag::FALSE
        });
        return Ok(Refers::Nothing);
    } else if let Some(refers) = face(value, nonce, into)? {
        return Ok(refers);
    }
    let before = into.len();
    into.push(tag::FLAT);
    if codec::container(value, into) {
        return Ok(Refers::Nothing);
    }
    into.truncate(before);
    pickle(value, nonce, MOST_HANDLES, into)
}

/// Writes a value that may refer to no object, for it will keep none alive: what it refers to lives on anyway.
pub(super) fn encode_alone(
    value: &Bound<'_, PyAny>,
    nonce: &[u8; 16],
    into: &mut Vec<u8>,
) -> PyResult<()> {
    let before = into.len();
    into.push(tag::FLAT);
    if codec::native(value, into) == codec::Form::Native {
        return Ok(());
    }
    into.truncate(before);
    pickle(value, nonce, 0, into).map(drop)
}

/// Reads what `encode_alone` wrote.
pub(super) fn decode_alone<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match bytes.split_first() {
        Some((&tag::FLAT, content)) => codec::decode(py, content),
        Some((&tag::PICKLE, content)) => unpickle(py, content),
        _ => Err(spoilt()),
    }
}

fn handle_of(value: &Bound<'_, PyAny>) -> Option<Travelling> {
    if let Ok(table) = value.cast::<Table>() {
        Some(table.get().shared.handle.travelling())
    } else if let Ok(list) = value.cast::<List>() {
        Some(list.get().shared.handle.travelling())
    } else {
        let counter = value.cast::<Counter>().ok()?;
        Some(counter.get().handle.travelling())
    }
}

/// A container of this arena, by its class's number.
fn face<'py>(
    value: &Bound<'py, PyAny>,
    nonce: &[u8; 16],
    into: &mut Vec<u8>,
) -> PyResult<Option<Refers<'py>>> {
    let Some((home, offset, serial)) = handle_of(value).filter(|handle| handle.0 == *nonce) else {
        return Ok(None);
    };
    let faces = hooks(value.py())?.faces.bind(value.py());
    let class = value.get_type();
    let Some(number) = faces.iter().position(|face| face.is(&class)) else {
        return Ok(None);
    };
    debug_assert_eq!(home, *nonce);
    into.push(tag::FACE);
    into.push(number as u8);
    into.extend_from_slice(&offset.to_le_bytes());
    into.extend_from_slice(&serial.to_le_bytes());
    Ok(Some(Refers::One((offset, serial), value.clone())))
}

#[cold]
fn pickle<'py>(
    value: &Bound<'py, PyAny>,
    nonce: &[u8; 16],
    most: usize,
    into: &mut Vec<u8>,
) -> PyResult<Refers<'py>> {
    let py = value.py();
    let arguments = (value, PyBytes::new(py, nonce), most);
    let pair = hooks(py)?.dumps.bind(py).call1(arguments)?;
    let pair = pair.cast::<PyTuple>()?;
    into.push(tag::PICKLE);
    into.extend_from_slice(pair.get_item(0)?.cast::<PyBytes>()?.as_bytes());
    let objects = pair.get_item(1)?.cast_into::<PyList>()?;
    Ok(if objects.is_empty() {
        Refers::Nothing
    } else {
        Refers::Many(objects)
    })
}

#[cold]
fn spoilt() -> PyErr {
    PyValueError::new_err("these bytes are no value of a container")
}

/// The value of these bytes.
#[inline]
pub(super) fn decode<'py>(
    py: Python<'py>,
    bytes: &[u8],
    nonce: &[u8; 16],
) -> PyResult<Bound<'py, PyAny>> {
    let (tag, content) = bytes.split_first().ok_or_else(spoilt)?;
    Ok(match *tag {
        tag::NONE => py.None().into_bound(py),
        tag::FALSE => PyBool::new(py, false).to_owned().into_any(),
        tag::TRUE => PyBool::new(py, true).to_owned().into_any(),
        tag::INT => {
            let number = integer(content).ok_or_else(spoilt)?;
            number.into_pyobject(py)?.into_any()
        }
        tag::FLOAT => {
            let word = content.try_into().map_err(|_| spoilt())?;
            PyFloat::new(py, f64::from_le_bytes(word)).into_any()
        }
        tag::STR => PyString::from_bytes(py, content)?.into_any(),
        tag::BYTES => PyBytes::new(py, content).into_any(),
        tag::PICKLE => unpickle(py, content)?,
        tag::FLAT => codec::decode(py, content)?,
        tag::FACE => open_face(py, content, nonce)?,
        _ => return Err(spoilt()),
    })
}

/// Whether making the value runs nobody's code.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    !matches!(bytes.first(), Some(&(tag::PICKLE | tag::FACE)))
}

fn unpickle<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let bytes = PyBytes::new(py, content);
    hooks(py)?.loads.bind(py).call1((bytes,))
}

fn open_face<'py>(
    py: Python<'py>,
    content: &[u8],
    nonce: &[u8; 16],
) -> PyResult<Bound<'py, PyAny>> {
    let (number, handle) = content.split_first().ok_or_else(spoilt)?;
    let (offset, serial) = handle.split_at_checked(8).ok_or_else(spoilt)?;
    let word =
        |bytes: &[u8]| Ok::<_, PyErr>(u64::from_le_bytes(bytes.try_into().map_err(|_| spoilt())?));
    let class = hooks(py)?.faces.bind(py).get_item(usize::from(*number))?;
    let handle = (PyBytes::new(py, nonce), word(offset)?, word(serial)?);
    class.call_method1("_open", (handle,))
}
