//! What an object that is being pickled refers to in an arena, for whoever will keep it alive.
//!
//! ```text
//! a queue's item, a container's value      gather(pickle it)  <-- take_along(obj)  from each reducer of ours
//! ```
//!
//! By thread: a reducer that puts something into another queue begins a gathering of its own, and the
//! outer one goes on after it. Where nobody gathers, a handle travels alone and is pinned.

use crate::handle::Travelling;
use procession_core::blob::Named;
use procession_shm::arena::Nonce;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;

/// The objects by their offset and serial, each kept alive by a handle.
pub(crate) type Gathered = HashMap<Named, Py<PyAny>>;

struct Gathering {
    nonce: Nonce,
    most: usize,
    found: Gathered,
}

thread_local! {
    static NOW: RefCell<Option<Gathering>> = const { RefCell::new(None) };
}

/// The outer gathering, which goes on when this is dropped.
struct Outer(Option<Gathering>);

fn replace(by: Option<Gathering>) -> Option<Gathering> {
    // A thread that is ending gathers nothing.
    NOW.try_with(|now| now.replace(by)).ok().flatten()
}

impl Drop for Outer {
    fn drop(&mut self) {
        drop(replace(self.0.take()));
    }
}

/// Runs `f`; the objects of that arena that this thread pickles meanwhile, `most` at most, are
/// gathered and not pinned.
pub(crate) fn gather<R>(nonce: &Nonce, most: usize, f: impl FnOnce() -> R) -> (R, Gathered) {
    let mine = Gathering {
        nonce: *nonce,
        most,
        found: Gathered::new(),
    };
    let outer = Outer(replace(Some(mine)));
    let result = f();
    let found = replace(None).map_or_else(Gathered::new, |mine| mine.found);
    drop(outer);
    (result, found)
}

/// Whether whoever gathers in this thread will keep the object alive.
#[pyfunction]
pub(crate) fn take_along(obj: &Bound<'_, PyAny>, handle: Travelling) -> bool {
    let (nonce, offset, serial) = handle;
    let taken = NOW.try_with(|now| {
        let mut now = now.borrow_mut();
        let mine = now.as_mut().filter(|mine| mine.nonce == nonce)?;
        if mine.found.len() >= mine.most {
            return None;
        }
        Some(mine.found.insert((offset, serial), obj.clone().unbind()))
    });
    // What it replaces is dropped here, when nothing is borrowed.
    taken.is_ok_and(|replaced| replaced.is_some())
}

/// `call(argument)`, and the objects of that arena that were pickled meanwhile.
#[pyfunction]
#[pyo3(name = "gather")]
pub(crate) fn gather_call(
    call: &Bound<'_, PyAny>,
    argument: &Bound<'_, PyAny>,
    nonce: Nonce,
    most: usize,
) -> PyResult<(Py<PyAny>, Vec<Py<PyAny>>)> {
    let (result, found) = gather(&nonce, most, || call.call1((argument,)));
    Ok((result?.unbind(), found.into_values().collect()))
}
