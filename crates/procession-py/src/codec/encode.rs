//! Objects into bytes.

use super::pickler::{self, Pickled};
use super::{DEEPEST, Format, LARGEST_CONTAINER, tag};
use crate::gathering::{Gathered, gather};
use crate::raw;
use procession_shm::arena::Nonce;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple,
};

/// From here on str and bytes are not copied before they are copied into the arena.
const LENT: usize = 16 << 10;

/// An object as a message: `head`, then `parts`, and what goes out of band.
#[derive(Debug)]
pub(crate) struct Encoded<'py> {
    pub(crate) format: Format,
    pub(crate) head: Vec<u8>,
    pub(crate) parts: Vec<Part<'py>>,
    pub(crate) buffers: Vec<raw::Lent>,
    /// The objects of the arena that it refers to.
    pub(crate) enclosed: Gathered,
}

/// Bytes that a Python object lends.
#[derive(Debug)]
pub(crate) enum Part<'py> {
    Bytes(Bound<'py, PyBytes>),
    Str(Bound<'py, PyString>),
    Buffer(raw::Lent),
}

impl Part<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Buffer(lent) => lent.len(),
            frozen => frozen.as_bytes().len(),
        }
    }

    /// The bytes of what does not change.
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            // Asked for before, when the part was made: it is there.
            Self::Str(text) => text.to_str().map_or(&[], str::as_bytes),
            Self::Buffer(_) => &[],
        }
    }
}

impl Encoded<'_> {
    /// Bytes in all, but for the buffers.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.parts.iter().map(Part::len).sum::<usize>()
    }

    /// All in one piece.
    pub(crate) fn gather(&mut self, py: Python<'_>) -> PyResult<()> {
        for part in self.parts.drain(..) {
            match part {
                Part::Buffer(lent) => self.head.extend_from_slice(&lent.to_vec(py)?),
                frozen => self.head.extend_from_slice(frozen.as_bytes()),
            }
        }
        Ok(())
    }

    /// Copies it all to where there is room for it.
    pub(crate) fn copy_to(&self, py: Python<'_>, into: &raw::Bytes) {
        into.fill(py, 0, &self.head);
        let mut at = self.head.len();
        for part in &self.parts {
            match part {
                Part::Buffer(lent) => lent.copy_to(py, &into.rest(at)),
                frozen => into.fill(py, at, frozen.as_bytes()),
            }
            at += part.len();
        }
    }
}

/// The object as a message in the arena `nonce`, written into `head`, which is empty.
#[inline]
pub(crate) fn encode<'py>(
    obj: &Bound<'py, PyAny>,
    nonce: &Nonce,
    mut head: Vec<u8>,
) -> PyResult<Encoded<'py>> {
    if scalar(obj, &mut head) {
        return Ok(as_native(head, Vec::new()));
    }
    encode_large(obj, nonce, head)
}

fn as_native(head: Vec<u8>, parts: Vec<Part<'_>>) -> Encoded<'_> {
    Encoded {
        format: Format::Native,
        head,
        parts,
        buffers: Vec::new(),
        enclosed: Gathered::new(),
    }
}

fn encode_large<'py>(
    obj: &Bound<'py, PyAny>,
    nonce: &Nonce,
    mut head: Vec<u8>,
) -> PyResult<Encoded<'py>> {
    if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
        length(tag::BYTES, bytes.as_bytes().len(), &mut head);
        return Ok(as_native(head, vec![Part::Bytes(bytes.clone())]));
    }
    if let Ok(text) = obj.cast_exact::<PyString>() {
        if let Ok(utf8) = text.to_str() {
            length(tag::STR, utf8.len(), &mut head);
            return Ok(as_native(head, vec![Part::Str(text.clone())]));
        }
    } else if obj.cast_exact::<PyInt>().is_ok() {
        let bytes = bytes_of_integer(obj)?;
        length(tag::INT, bytes.as_bytes().len(), &mut head);
        return Ok(as_native(head, vec![Part::Bytes(bytes)]));
    } else if obj.cast_exact::<PyByteArray>().is_ok() {
        let lent = raw::Lent::of(obj)?;
        length(tag::BYTEARRAY, lent.len(), &mut head);
        return Ok(as_native(head, vec![Part::Buffer(lent)]));
    } else if container(obj, &mut head) {
        return Ok(as_native(head, Vec::new()));
    }
    head.clear();
    encode_pickled(obj, nonce, head)
}

/// The same for what has no native form.
pub(crate) fn encode_pickled<'py>(
    obj: &Bound<'py, PyAny>,
    nonce: &Nonce,
    head: Vec<u8>,
) -> PyResult<Encoded<'py>> {
    let (pickled, enclosed) = gather(nonce, usize::MAX, || pickler::pickle(obj));
    let Pickled { chunks, buffers } = pickled?;
    Ok(Encoded {
        format: Format::Pickle,
        head,
        parts: chunks.into_iter().map(Part::Bytes).collect(),
        buffers,
        enclosed,
    })
}

fn length(tag: u8, length: usize, into: &mut Vec<u8>) {
    into.push(tag);
    into.extend_from_slice(&(length as u64).to_le_bytes()[..6]);
}

fn bytes_of_integer<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = obj.py();
    let bits: usize = obj.call_method0(intern!(py, "bit_length"))?.extract()?;
    let to_bytes = obj.getattr(intern!(py, "to_bytes"))?;
    let signed = PyDict::new(py);
    signed.set_item(intern!(py, "signed"), true)?;
    let bytes = to_bytes.call((bits / 8 + 1, intern!(py, "little")), Some(&signed))?;
    Ok(bytes.cast_into()?)
}

/// What has been written of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// All of it.
    Native,
    /// A part: it is a container of what is no scalar, or of much, and has to be pickled.
    Mixed,
    /// Nothing: it is large, or has to be pickled.
    None,
}

/// Writes what is not large, if it has a native form.
#[inline]
pub(crate) fn native(obj: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> Form {
    if scalar(obj, into) {
        return Form::Native;
    }
    let is_container = obj.is_exact_instance_of::<PyDict>()
        || obj.is_exact_instance_of::<PyTuple>()
        || obj.is_exact_instance_of::<PyList>();
    match is_container {
        true if container(obj, into) => Form::Native,
        true => Form::Mixed,
        false => Form::None,
    }
}

/// Writes what is no container and not large; false: written is nothing.
#[inline]
fn scalar(obj: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> bool {
    if let Ok(integer) = obj.cast_exact::<PyInt>() {
        let Some(value) = raw::small_integer(integer) else {
            return false;
        };
        // Significant bytes, the sign's bit among them; a bit more for 0 and -1.
        let bits = 65 - (value ^ (value >> 63)).leading_zeros() as usize;
        let nbytes = bits.div_ceil(8);
        let mut word = [0; 9];
        word[0] = tag::SHORT + nbytes as u8;
        word[1..].copy_from_slice(&value.to_le_bytes());
        into.extend_from_slice(&word[..=nbytes]);
    } else if let Ok(text) = obj.cast_exact::<PyString>() {
        match text.to_str() {
            Ok(utf8) if utf8.len() < LENT => blob(tag::STR, utf8.as_bytes(), into),
            _ => return false,
        }
    } else if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
        if bytes.as_bytes().len() >= LENT {
            return false;
        }
        blob(tag::BYTES, bytes.as_bytes(), into);
    } else if let Ok(float) = obj.cast_exact::<PyFloat>() {
        into.push(tag::FLOAT);
        into.extend_from_slice(&float.value().to_le_bytes());
    } else if obj.is_none() {
        into.push(tag::NONE);
    } else if let Ok(truth) = obj.cast_exact::<PyBool>() {
        into.push(if truth.is_true() {
            tag::TRUE
        } else {
            tag::FALSE
        });
    } else {
        return false;
    }
    true
}

fn blob(tag: u8, content: &[u8], into: &mut Vec<u8>) {
    length(tag, content.len(), into);
    into.extend_from_slice(content);
}

/// Writes a container of scalars; false: something was written, but not all.
pub(crate) fn container(obj: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> bool {
    if let Ok(dict) = obj.cast_exact::<PyDict>() {
        length(tag::DICT, dict.len(), into);
        return dict
            .iter()
            .all(|(key, value)| frozen(&key, 0, into) && frozen(&value, 0, into));
    }
    if let Ok(list) = obj.cast_exact::<PyList>() {
        length(tag::LIST, list.len(), into);
        let expected = list.len();
        return list.iter().all(|item| frozen(&item, 0, into)) && list.len() == expected;
    }
    frozen(obj, 0, into)
}

/// Writes a scalar, or a tuple of such, within a container.
fn frozen(obj: &Bound<'_, PyAny>, depth: usize, into: &mut Vec<u8>) -> bool {
    if scalar(obj, into) {
        return into.len() < LARGEST_CONTAINER;
    }
    match obj.cast_exact::<PyTuple>() {
        Ok(tuple) if depth < DEEPEST => {
            length(tag::TUPLE, tuple.len(), into);
            tuple
                .iter_borrowed()
                .all(|item| frozen(&item, depth + 1, into))
                && into.len() < LARGEST_CONTAINER
        }
        _ => false,
    }
}
