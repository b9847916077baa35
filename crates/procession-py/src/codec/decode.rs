//! Bytes into objects.

use super::keys::Keys;
use super::{DEEPEST, HEAD, tag};
use crate::raw::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// The object that these bytes are the native form of.
#[inline]
pub(crate) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Reader { bytes }.value(py, 0)
}

/// The same, if it is an int of eight bytes or fewer: nothing can fail then.
#[inline]
pub(crate) fn integer<'py>(py: Python<'py>, bytes: &[u8]) -> Option<Bound<'py, PyAny>> {
    let (tag, content) = bytes.split_first()?;
    let nbytes = length_of_short(*tag).filter(|nbytes| *nbytes == content.len())?;
    let Ok(number) = short(&content[..nbytes]).into_pyobject(py);
    Some(number.into_any())
}

#[inline]
fn length_of_short(tag: u8) -> Option<usize> {
    let nbytes = usize::from(tag.checked_sub(tag::SHORT)?);
    (1..=8).contains(&nbytes).then_some(nbytes)
}

/// Up to eight bytes as a number.
#[inline]
fn short(bytes: &[u8]) -> i64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let unused = 64 - 8 * bytes.len() as u32;
    i64::from_le_bytes(word) << unused >> unused
}

/// The object that these bytes of the arena are the native form of. Large bytes are copied once.
pub(crate) fn decode_block<'py>(py: Python<'py>, bytes: &Bytes) -> PyResult<Bound<'py, PyAny>> {
    let mut head = [0; HEAD];
    bytes.read(0, &mut head);
    let mut reader = Reader { bytes: &head };
    let tag = reader.byte()?;
    if reader.length()? == bytes.len().saturating_sub(HEAD) {
        match tag {
            tag::BYTES => return bytes.to_bytes(py, HEAD),
            tag::BYTEARRAY => return bytes.to_bytearray(py, HEAD),
            _ => {}
        }
    }
    let mut copy = vec![0; bytes.len()];
    bytes.read(0, &mut copy);
    decode(py, &copy)
}

#[cold]
fn torn() -> PyErr {
    PyValueError::new_err("these bytes are no message of procession's")
}

/// What has not been read yet. Never reads beyond the end, whatever the bytes say.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> PyResult<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(torn)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> PyResult<u8> {
        Ok(self.take(1)?[0])
    }

    fn length(&mut self) -> PyResult<usize> {
        let mut word = [0; 8];
        word[..6].copy_from_slice(self.take(6)?);
        usize::try_from(u64::from_le_bytes(word)).map_err(|_| torn())
    }

    /// A number of items, each of which takes a byte at least.
    fn count(&mut self) -> PyResult<usize> {
        let count = self.length()?;
        if count > self.bytes.len() {
            return Err(torn());
        }
        Ok(count)
    }

    fn blob(&mut self) -> PyResult<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn value<'py>(&mut self, py: Python<'py>, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let tag = self.byte()?;
        Ok(match tag {
            tag::NONE => py.None().into_bound(py),
            tag::FALSE => false.into_pyobject(py)?.to_owned().into_any(),
            tag::TRUE => true.into_pyobject(py)?.to_owned().into_any(),
            tag::FLOAT => {
                let mut word = [0; 8];
                word.copy_from_slice(self.take(8)?);
                PyFloat::new(py, f64::from_le_bytes(word)).into_any()
            }
            tag::STR => PyString::from_bytes(py, self.blob()?)?.into_any(),
            tag::BYTES => PyBytes::new(py, self.blob()?).into_any(),
            tag::BYTEARRAY => PyByteArray::new(py, self.blob()?).into_any(),
            tag::INT => large(py, self.blob()?)?,
            tag::TUPLE if depth <= DEEPEST => PyTuple::new(py, self.items(py, depth)?)?.into_any(),
            tag::LIST if depth == 0 => PyList::new(py, self.items(py, depth)?)?.into_any(),
            tag::DICT if depth == 0 => self.dict(py)?.into_any(),
            _ => {
                let nbytes = length_of_short(tag).ok_or_else(torn)?;
                short(self.take(nbytes)?).into_pyobject(py)?.into_any()
            }
        })
    }

    fn items<'py>(&mut self, py: Python<'py>, depth: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let count = self.count()?;
        (0..count).map(|_| self.value(py, depth + 1)).collect()
    }

    fn dict<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        let mut keys = Keys::take();
        for _ in 0..self.count()? {
            if let Some((&tag::STR, rest)) = self.bytes.split_first() {
                self.bytes = rest;
                let key = keys.text(py, self.blob()?)?;
                dict.set_item(key, self.value(py, 1)?)?;
            } else {
                let key = self.value(py, 1)?;
                dict.set_item(key, self.value(py, 1)?)?;
            }
        }
        Ok(dict)
    }
}

fn large<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let signed = PyDict::new(py);
    signed.set_item(intern!(py, "signed"), true)?;
    py.get_type::<PyInt>().call_method(
        intern!(py, "from_bytes"),
        (PyBytes::new(py, bytes), intern!(py, "little")),
        Some(&signed),
    )
}
