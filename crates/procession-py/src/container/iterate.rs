//! Iteration over what was in a container at one instant.

use super::{Opening, Shared, keys, values};
use crate::raw;
use procession_core::snapshot::{Snapshot, What};
use procession_core::table::Place;
use procession_shm::member::Member;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An iterator over the members that there were.
///
/// Plain members are made many at once, as many as were asked for before, without collections of
/// garbage; those whose making runs code, each when it is asked for.
#[pyclass(frozen, module = "procession._native")]
pub(crate) struct Members {
    snapshot: Snapshot,
    what: What,
    nonce: [u8; 16],
    reverse: bool,
    progress: Mutex<Progress>,
    _held: Vec<Opening>,
}

/// Never locked while code may run, or the GIL be given away.
#[derive(Default)]
struct Progress {
    /// Members begun.
    next: usize,
    /// Made and not yet asked for, the first one last.
    ready: Vec<Py<PyAny>>,
}

/// Members made at once, at least and at most.
const FEWEST: usize = 8;
const MOST: usize = 1 << 16;

impl Members {
    pub(super) fn of(
        py: Python<'_>,
        shared: &Shared,
        member: Member,
        what: What,
        reverse: bool,
    ) -> PyResult<Self> {
        let (snapshot, held) = loop {
            let snapshot = shared.container.snapshot(member, what);
            if let Some(held) = open_all(py, shared, member, &snapshot)? {
                break (snapshot, held);
            }
        };
        Ok(Self {
            snapshot,
            what,
            nonce: *shared.nonce(),
            reverse,
            progress: Mutex::default(),
            _held: held,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.snapshot.words.len()
    }

    fn part(&self, index: usize) -> &[u8] {
        let ends = &self.snapshot.ends;
        let start = if index == 0 { 0 } else { ends[index - 1] };
        &self.snapshot.bytes[start..ends[index]]
    }

    /// Where the member that comes at this place of the iteration stands.
    fn place(&self, nth: usize) -> usize {
        if self.reverse {
            self.len() - 1 - nth
        } else {
            nth
        }
    }

    /// Whether making the member runs nobody's code.
    fn is_plain(&self, index: usize) -> bool {
        match self.what {
            What::Keys => keys::is_plain(self.part(index)),
            What::Values => values::is_plain(self.part(index)),
            What::Both => {
                keys::is_plain(self.part(2 * index)) && values::is_plain(self.part(2 * index + 1))
            }
        }
    }

    pub(super) fn item<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        match self.what {
            What::Keys => keys::decode(py, self.part(index)),
            What::Values => values::decode(py, self.part(index), &self.nonce),
            What::Both => Ok(self.pair(py, index)?.into_pyobject(py)?.into_any()),
        }
    }

    fn pair<'py>(
        &self,
        py: Python<'py>,
        index: usize,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let key = keys::decode(py, self.part(2 * index))?;
        let value = values::decode(py, self.part(2 * index + 1), &self.nonce)?;
        Ok((key, value))
    }

    /// Runs `make` on the members from the `nth` on, up to `most` of them, as far as nobody's code runs in that;
    /// otherwise on the `nth` alone. How many there were.
    fn run(
        &self,
        py: Python<'_>,
        nth: usize,
        most: usize,
        mut make: impl FnMut(usize) -> PyResult<()>,
    ) -> PyResult<usize> {
        if !self.is_plain(self.place(nth)) {
            make(self.place(nth))?;
            return Ok(1);
        }
        let _paused = raw::Paused::new(py);
        let end = self.len().min(nth + most);
        let mut places = (nth..end).map(|nth| self.place(nth));
        let plain = places.by_ref().take_while(|index| self.is_plain(*index));
        let mut count = 0;
        for index in plain {
            make(index)?;
            count += 1;
        }
        Ok(count)
    }

    /// Runs `make` on all that were not asked for yet.
    fn finish(&self, py: Python<'_>, mut make: impl FnMut(usize) -> PyResult<()>) -> PyResult<()> {
        let (mut nth, _dropped) = {
            let mut progress = self.progress();
            let ready = std::mem::take(&mut progress.ready);
            let next = std::mem::replace(&mut progress.next, self.len());
            (next - ready.len(), ready)
        };
        while nth < self.len() {
            nth += self.run(py, nth, MOST, &mut make)?;
        }
        Ok(())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handles to all that the members refer to; None when one of them is no longer there.
fn open_all(
    py: Python<'_>,
    shared: &Shared,
    member: Member,
    snapshot: &Snapshot,
) -> PyResult<Option<Vec<Opening>>> {
    let mut held = Vec::with_capacity(snapshot.named.len());
    for (index, named) in &snapshot.named {
        let place = Place {
            cell: *index as u64,
            word: snapshot.words[*index],
        };
        match shared.open_named(py, member, place, &[*named])? {
            Some(mut opened) => held.append(&mut opened),
            None => return Ok(None),
        }
    }
    Ok(Some(held))
}

#[pymethods]
impl Members {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut progress = self.progress();
        if let Some(item) = progress.ready.pop() {
            return Ok(Some(item.into_bound(py)));
        }
        let nth = progress.next;
        if nth >= self.len() {
            return Ok(None);
        }
        let index = self.place(nth);
        if !self.is_plain(index) {
            progress.next += 1;
            drop(progress);
            return self.item(py, index).map(Some);
        }
        let most = nth.clamp(FEWEST, MOST);
        let mut made = Vec::with_capacity(most.min(self.len() - nth));
        progress.next += self.run(py, nth, most, |index| {
            made.push(self.item(py, index)?.unbind());
            Ok(())
        })?;
        made.reverse();
        let first = made.pop();
        progress.ready = made;
        Ok(first.map(|item| item.into_bound(py)))
    }

    fn __length_hint__(&self) -> usize {
        let progress = self.progress();
        self.len() - progress.next + progress.ready.len()
    }

    /// All that were not asked for yet.
    #[pyo3(name = "_list")]
    pub(super) fn rest<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut items = Vec::with_capacity(self.len());
        self.finish(py, |index| {
            items.push(self.item(py, index)?);
            Ok(())
        })?;
        PyList::new(py, items)
    }

    /// The same of keys with their values.
    fn _dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        self.finish(py, |index| {
            let (key, value) = self.pair(py, index)?;
            dict.set_item(key, value)
        })?;
        Ok(dict)
    }

    /// The members' words, for who plans a change of all of them.
    fn _words(&self) -> Vec<u64> {
        self.snapshot.words.clone()
    }
}

/// The part that a number from Python means.
pub(super) fn what_of(number: u8) -> What {
    match number {
        0 => What::Keys,
        1 => What::Values,
        _ => What::Both,
    }
}
