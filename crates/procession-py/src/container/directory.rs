//! Keys of whose equality only their own code knows: found by Python, in a dict of this process.
//!
//! ```text
//! table (shared)   o 17 -> blob: spelling of key A      o 23 -> blob: spelling of key B
//! directory        {A: o 17, B: o 23}                   {o 17: A, o 23: B}
//! ```
//!
//! Hashes differ from process to process, so none can lie in the arena. Instead each process keeps a
//! plain dict of the keys that it has met in the table, made again from their spellings, and a look-up
//! asks that for the bytes under which the key stands. Before each it reads on where it had stopped:
//! a table's cells are filled in order, and a new bank is read anew. So each process makes each such
//! key once. What was taken out of the table stays in the dict until there is a new bank: the bytes are
//! never used again, and found under them is nothing.
//!
//! Whoever puts a new key in says up to where it has seen the table (`Expect::Newest`): it is refused
//! when somebody else was quicker, whose key may be an equal one, and looks again.

use super::keys;
use procession_core::table::{Newest, Table as CoreTable};
use procession_shm::Arena;
use pyo3::exceptions::{PyAttributeError, PyImportError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::sync::{Mutex, PoisonError};

/// What one handle's process knows of the table's keys that are compared.
#[derive(Default)]
pub(super) struct Directory(Mutex<Option<Seen>>);

/// Never changed but by adding what it lacks, so that several threads may have it.
struct Seen {
    newest: Newest,
    /// Bytes by keys.
    by_key: Py<PyDict>,
    /// Keys by bytes.
    by_name: Py<PyDict>,
}

impl Seen {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            newest: self.newest,
            by_key: self.by_key.clone_ref(py),
            by_name: self.by_name.clone_ref(py),
        }
    }
}

impl Directory {
    /// The bytes under which the key stands in the table, or stood; and up to where that is true.
    pub(super) fn find(
        &self,
        arena: &Arena,
        table: CoreTable,
        key: &Bound<'_, PyAny>,
    ) -> PyResult<(Option<Vec<u8>>, Newest)> {
        let py = key.py();
        let seen = self.read_on(py, arena, table)?;
        let name = seen.by_key.bind(py).get_item(key)?;
        let name = name.map(|name| Ok::<_, PyErr>(name.cast::<PyBytes>()?.as_bytes().to_vec()));
        Ok((name.transpose()?, seen.newest))
    }

    fn read_on(&self, py: Python<'_>, arena: &Arena, table: CoreTable) -> PyResult<Seen> {
        let before = self.seen(py);
        let newest = before.as_ref().map(|seen| seen.newest).unwrap_or_default();
        let new = table.newcomers(arena, newest, keys::COMPARED);
        let mut seen = match &before {
            Some(seen) if !new.is_all => seen.clone_ref(py),
            _ => Seen {
                newest,
                by_key: PyDict::new(py).unbind(),
                by_name: PyDict::new(py).unbind(),
            },
        };
        seen.newest = new.newest;
        for (name, spelling) in new.keys {
            let name = PyBytes::new(py, &name);
            let known = match &before {
                Some(before) => before.by_name.bind(py).get_item(&name)?,
                None => None,
            };
            let key = match known.map_or_else(|| keys::decode(py, &spelling), Ok) {
                Ok(key) => key,
                // Its class is not to be had here: no key of this process equals it.
                Err(error)
                    if error.is_instance_of::<PyImportError>(py)
                        || error.is_instance_of::<PyAttributeError>(py) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            seen.by_name.bind(py).set_item(&name, &key)?;
            seen.by_key.bind(py).set_item(key, name)?;
        }
        let kept = seen.clone_ref(py);
        // What it replaces is dropped after the mutex is free: that may run code.
        let _replaced = self.lock().replace(kept);
        Ok(seen)
    }

    fn seen(&self, py: Python<'_>) -> Option<Seen> {
        self.lock().as_ref().map(|seen| seen.clone_ref(py))
    }

    /// For no longer than a copy takes, with the GIL: a fork never finds it locked.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
