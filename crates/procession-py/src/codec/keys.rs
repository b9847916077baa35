//! The keys of dicts, which come again and again: the last of each hash is kept.

use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::Mutex;

const KEPT: usize = 256;
/// Longer ones are not kept, in bytes.
const LONGEST: usize = 32;

struct Kept {
    text: [u8; LONGEST],
    length: usize,
    key: Py<PyString>,
}

static KEYS: Mutex<[Option<Kept>; KEPT]> = Mutex::new([const { None }; KEPT]);

/// The str of these bytes: one that was made before, if it is still there.
pub(super) fn text<'py>(py: Python<'py>, utf8: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if utf8.len() > LONGEST {
        return Ok(PyString::from_bytes(py, utf8)?.into_any());
    }
    let place = hash(utf8) % KEPT;
    // Never waited for: what another thread has, or had when this process was forked, is only
    // not kept.
    let Ok(mut keys) = KEYS.try_lock() else {
        return Ok(PyString::from_bytes(py, utf8)?.into_any());
    };
    if let Some(kept) = &keys[place] {
        if kept.text[..kept.length] == *utf8 {
            return Ok(kept.key.bind(py).clone().into_any());
        }
    }
    let key = PyString::from_bytes(py, utf8)?;
    let mut kept = Kept {
        text: [0; LONGEST],
        length: utf8.len(),
        key: key.clone().unbind(),
    };
    kept.text[..utf8.len()].copy_from_slice(utf8);
    let before = keys[place].replace(kept);
    drop(keys);
    drop(before);
    Ok(key.into_any())
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> usize {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    (hash ^ (hash >> 32)) as usize
}
