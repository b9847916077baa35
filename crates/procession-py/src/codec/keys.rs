//! The keys of dicts, which come again and again: the last of each hash is kept.

use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::{Mutex, MutexGuard};

const KEPT: usize = 256;
/// Longer ones are not kept, in bytes.
const LONGEST: usize = 32;

struct Kept {
    text: [u8; LONGEST],
    length: usize,
    key: Py<PyString>,
}

static KEYS: Mutex<[Option<Kept>; KEPT]> = Mutex::new([const { None }; KEPT]);

/// What is kept, for as long as a dict is made. Never waited for: with what another thread has, or had when this
/// process was forked, every key is made anew.
pub(super) struct Keys(Option<MutexGuard<'static, [Option<Kept>; KEPT]>>);

impl Keys {
    pub(super) fn take() -> Self {
        Self(KEYS.try_lock().ok())
    }

    /// The str of these bytes: one that was made before, if it is still there.
    pub(super) fn text<'py>(
        &mut self,
        py: Python<'py>,
        utf8: &[u8],
    ) -> PyResult<Bound<'py, PyString>> {
        let keys = match &mut self.0 {
            Some(keys) if utf8.len() <= LONGEST => keys,
            _ => return PyString::from_bytes(py, utf8),
        };
        let place = &mut keys[hash(utf8) % KEPT];
        if let Some(kept) = place {
            if kept.text[..kept.length] == *utf8 {
                return Ok(kept.key.bind(py).clone());
            }
        }
        let key = PyString::from_bytes(py, utf8)?;
        let mut text = [0; LONGEST];
        text[..utf8.len()].copy_from_slice(utf8);
        // The end of the one that was here runs nothing: it is a str, of no subclass.
        *place = Some(Kept {
            text,
            length: utf8.len(),
            key: key.clone().unbind(),
        });
        Ok(key)
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> usize {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    (hash ^ (hash >> 32)) as usize
}
