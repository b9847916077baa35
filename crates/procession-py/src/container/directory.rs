//! Keys of whose equality only their own code knows: found by Python, in a dict of this process.
//!
//! ```text
//! table (shared)   o 17 -> blob: spelling of key A      o 23 -> blob: spelling of key B
//! directory        {A: [cell, o 17], B: [cell, o 23]}   {o 17: A, o 23: B}
//! ```
//!
//! Hashes differ from process to process, so none can lie in the arena. Instead each process keeps a
//! plain dict of the keys that it has met in the table, made again from their spellings, and a look-up
//! asks that for the bytes under which the key stands. Before each it reads on where it had stopped:
//! a table's cells are filled in order, and a new bank is read anew. So each process makes each such
//! key once. What was taken out of the table stays in the dict until there is a new bank: the bytes are
//! never used again, and found under them is nothing.
//!
//! Several threads may read on at once, in the same dicts, and each of them stops where keys run their own code.
//! So one may add late what it had read, when an equal key has been taken out and put in anew, and others know that.
//! The cells tell which is the later, and only a later one replaces what is there. So for each key the dict has the
//! last number before `newest` that was there to be read, or a later one. When that is found dead, then the key
//! was absent at some instant of the look-up: when it was read that there is no other, or when it died.
//! And who then puts it in is refused if anything was put in since.
//!
//! A key whose class is not to be had here equals none of this process; but the class may come later, with an
//! import or a definition. So such keys are tried again before a key counts as absent. Whoever puts a key in makes it
//! again first, and knows it by that: what nobody can make never gets in.
//!
//! Whoever puts a new key in says up to where it has seen the table (`Expect::Newest`): it is refused
//! when somebody else was quicker, whose key may be an equal one, and looks again.

use super::keys;
use procession_core::newest::Newest;
use procession_core::table::{Key, Table as CoreTable};
use procession_shm::Arena;
use pyo3::exceptions::{PyAttributeError, PyImportError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// What one handle's process knows of the table's keys that are compared.
#[derive(Default)]
pub(super) struct Directory(Mutex<Option<Seen>>);

/// Never changed but by adding what it lacks, so that several threads may have it.
struct Seen {
    newest: Newest,
    /// Cells and bytes by keys: a list of two each.
    by_key: Py<PyDict>,
    /// Keys by bytes.
    by_name: Py<PyDict>,
    /// Bytes of those whose class was not to be had: what the key is made from, the error's text, and its cell.
    missing: Py<PyDict>,
}

impl Seen {
    fn new(py: Python<'_>, newest: Newest) -> Self {
        let dict = || PyDict::new(py).unbind();
        Self {
            newest,
            by_key: dict(),
            by_name: dict(),
            missing: dict(),
        }
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            newest: self.newest,
            by_key: self.by_key.clone_ref(py),
            by_name: self.by_name.clone_ref(py),
            missing: self.missing.clone_ref(py),
        }
    }

    fn add(&self, key: &Bound<'_, PyAny>, cell: u64, name: &Bound<'_, PyBytes>) -> PyResult<()> {
        let py = key.py();
        self.by_name.bind(py).set_item(name, key)?;
        let mine = PyList::new(py, [cell.into_pyobject(py)?.as_any(), name.as_any()])?;
        let by_key = self.by_key.bind(py);
        // The key's own code runs in here, and none below: between the look and the change nobody comes.
        let there = by_key.call_method1(intern!(py, "setdefault"), (key, &mine))?;
        let there = there.cast::<PyList>()?;
        if there.get_item(0)?.extract::<u64>()? < cell {
            there.set_item(0, mine.get_item(0)?)?;
            there.set_item(1, name)?;
        }
        Ok(())
    }

    fn name_of(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
        let Some(there) = self.by_key.bind(key.py()).get_item(key)? else {
            return Ok(None);
        };
        let name = there.cast::<PyList>()?.get_item(1)?;
        Ok(Some(name.cast::<PyBytes>()?.as_bytes().to_vec()))
    }

    /// Tries the missing again, of those that failed alike one; whether any is there now.
    #[cold]
    fn make_missing(&self, py: Python<'_>, arena: &Arena, table: CoreTable) -> PyResult<bool> {
        let (missing, mut failed) = (self.missing.bind(py), HashSet::new());
        let mut is_any = false;
        for (name, how) in missing.copy()? {
            let (spelling, error, cell): (Bound<'_, PyBytes>, String, u64) = how.extract()?;
            if failed.contains(&error) {
                continue;
            }
            match made(py, spelling.as_bytes())? {
                Ok(key) => {
                    let name: &Bound<'_, PyBytes> = name.cast()?;
                    missing.call_method1(intern!(py, "pop"), (name, py.None()))?;
                    // An equal key may have come in the place of one that was taken out.
                    if table.contains(arena, Key::new(arena, name.as_bytes())) {
                        self.add(&key, cell, name)?;
                        is_any = true;
                    }
                }
                Err(again) => {
                    failed.extend([error, again]);
                }
            }
        }
        Ok(is_any)
    }
}

/// The key of a spelling; the error's text where its class is not to be had here.
fn made<'py>(py: Python<'py>, spelling: &[u8]) -> PyResult<Result<Bound<'py, PyAny>, String>> {
    match keys::decode(py, spelling) {
        Ok(key) => Ok(Ok(key)),
        Err(error)
            if error.is_instance_of::<PyImportError>(py)
                || error.is_instance_of::<PyAttributeError>(py) =>
        {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error),
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
        let mut name = seen.name_of(key)?;
        let is_complete = name.is_some() || seen.missing.bind(py).is_empty();
        if !is_complete && seen.make_missing(py, arena, table)? {
            name = seen.name_of(key)?;
        }
        Ok((name, seen.newest))
    }

    /// Makes the key of a spelling that is about to stand in the table under these bytes.
    pub(super) fn foresee(&self, py: Python<'_>, name: &[u8], spelling: &[u8]) -> PyResult<()> {
        let key = keys::decode(py, spelling)?;
        key.hash()?;
        match self.seen(py) {
            Some(seen) => seen.by_name.bind(py).set_item(PyBytes::new(py, name), key),
            None => Ok(()),
        }
    }

    /// Forgets a key that was not put in under these bytes after all.
    pub(super) fn forget(&self, py: Python<'_>, name: &[u8]) -> PyResult<()> {
        if let Some(seen) = self.seen(py) {
            let arguments = (PyBytes::new(py, name), py.None());
            let by_name = seen.by_name.bind(py);
            by_name.call_method1(intern!(py, "pop"), arguments)?;
        }
        Ok(())
    }

    fn read_on(&self, py: Python<'_>, arena: &Arena, table: CoreTable) -> PyResult<Seen> {
        let before = self.seen(py);
        let newest = before.as_ref().map(|seen| seen.newest).unwrap_or_default();
        let new = table.newcomers(arena, newest, keys::COMPARED);
        let mut seen = match &before {
            Some(seen) if !new.is_all => seen.clone_ref(py),
            _ => Seen::new(py, newest),
        };
        seen.newest = new.newest;
        for new in new.keys {
            let name = PyBytes::new(py, &new.key);
            let known = match &before {
                Some(before) => before.by_name.bind(py).get_item(&name)?,
                None => None,
            };
            match known.map_or_else(|| made(py, &new.spelling), |key| Ok(Ok(key)))? {
                Ok(key) => seen.add(&key, new.cell, &name)?,
                Err(error) => {
                    let how = (PyBytes::new(py, &new.spelling), error, new.cell);
                    seen.missing.bind(py).set_item(name, how)?;
                }
            }
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
