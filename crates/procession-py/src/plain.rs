//! Values that travel without pickle: as tasks return them most often.

use crate::errors::corrupt;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyNone, PyString};

/// Kinds of records that carry a plain value; [`PICKLED`] carries any other.
const NONE: u32 = 1;
const TRUE: u32 = 2;
const FALSE: u32 = 3;
const INT: u32 = 4;
const FLOAT: u32 = 5;
const TEXT: u32 = 6;
const BYTES: u32 = 7;

/// The kind of a record that carries a pickle.
pub(crate) const PICKLED: u32 = 0;

/// Whether such a record carries a value, pickled or not.
pub(crate) fn is_value(kind: u32) -> bool {
    kind <= BYTES
}

/// A plain value's bytes, which lie in the value or fit into a word.
pub(crate) enum Plain<'a> {
    Word(u32, [u8; 8]),
    Empty(u32),
    Lent(u32, &'a [u8]),
}

impl Plain<'_> {
    pub(crate) fn kind(&self) -> u32 {
        match self {
            Self::Word(kind, _) | Self::Empty(kind) | Self::Lent(kind, _) => *kind,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Word(_, word) => word,
            Self::Empty(_) => &[],
            Self::Lent(_, bytes) => bytes,
        }
    }
}

/// How `value` travels; None: by pickle. Subclasses do, for they may be pickled otherwise.
pub(crate) fn of<'a>(value: &'a Bound<'_, PyAny>) -> Option<Plain<'a>> {
    if value.is_none() {
        return Some(Plain::Empty(NONE));
    }
    if let Ok(value) = value.cast_exact::<PyInt>() {
        let word = value.extract::<i64>().ok()?;
        return Some(Plain::Word(INT, word.to_le_bytes()));
    }
    if let Ok(value) = value.cast_exact::<PyFloat>() {
        return Some(Plain::Word(FLOAT, value.value().to_le_bytes()));
    }
    if let Ok(value) = value.cast_exact::<PyString>() {
        // Lone surrogates have no UTF-8.
        return Some(Plain::Lent(TEXT, value.to_str().ok()?.as_bytes()));
    }
    if let Ok(value) = value.cast_exact::<PyBytes>() {
        return Some(Plain::Lent(BYTES, value.as_bytes()));
    }
    let value = value.cast_exact::<PyBool>().ok()?;
    Some(Plain::Empty(if value.is_true() { TRUE } else { FALSE }))
}

/// The value that travelled as these bytes; None for another kind of record.
pub(crate) fn value<'py>(
    py: Python<'py>,
    kind: u32,
    bytes: &[u8],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let word = || <[u8; 8]>::try_from(bytes).map_err(|_| corrupt("a number of another length"));
    Ok(Some(match kind {
        NONE => PyNone::get(py).to_owned().into_any(),
        TRUE => PyBool::new(py, true).to_owned().into_any(),
        FALSE => PyBool::new(py, false).to_owned().into_any(),
        INT => i64::from_le_bytes(word()?).into_pyobject(py)?.into_any(),
        FLOAT => PyFloat::new(py, f64::from_le_bytes(word()?)).into_any(),
        TEXT => {
            let text = std::str::from_utf8(bytes).map_err(|_| corrupt("a text that is none"))?;
            PyString::new(py, text).into_any()
        }
        BYTES => PyBytes::new(py, bytes).into_any(),
        _ => return Ok(None),
    }))
}
