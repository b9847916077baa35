//! What is got: bytes and blocks, and the object that they become.

use super::letter::{BODY_IN_BLOCK, ENCLOSES};
use super::references::{self, REFERS};
use crate::codec::{Format, decode, decode_block};
use crate::raw::Block;
use procession_core::payload::ClaimedBlock;
use procession_shm::member::Member;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};

/// The list of what came with a message: kept until all of it has been opened, or has failed to be.
struct Enclosed {
    list: ClaimedBlock,
    member: Member,
}

impl Drop for Enclosed {
    fn drop(&mut self) {
        // A process that was forked meanwhile has not received it: it stays its parent's.
        let now = self.member.arena.known_member();
        if now.is_some_and(|now| now.local.owner == self.member.local.owner) {
            self.list.free(self.member);
        }
    }
}

/// The object that a message is.
pub(super) fn open<'py>(
    py: Python<'py>,
    member: Member,
    flags: u32,
    bytes: &[u8],
    mut blocks: Vec<ClaimedBlock>,
) -> PyResult<Bound<'py, PyAny>> {
    let _enclosed = (flags & ENCLOSES != 0)
        .then(|| blocks.pop())
        .flatten()
        .map(|list| Enclosed { list, member });
    if blocks.is_empty() {
        return match Format::of(flags) {
            Format::Native => decode(py, bytes),
            Format::Pickle => unpickle(py, PyBytes::new(py, bytes).as_any(), Vec::new()),
        };
    }
    // In Python's hands at once: whatever happens now, what nobody refers to is freed.
    let mut blocks = Block::of_all(py, member, blocks)?;
    let records = if flags & REFERS == 0 {
        None
    } else {
        blocks.pop()
    };
    let data = if flags & BODY_IN_BLOCK == 0 {
        PyBytes::new(py, bytes).into_any()
    } else {
        blocks.remove(0).into_any()
    };
    match Format::of(flags) {
        Format::Native => {
            let body = data.cast::<Block>();
            let body = body.map_err(|_| PyValueError::new_err("a native message with buffers"))?;
            decode_block(py, &body.get().bytes())
        }
        Format::Pickle => {
            let buffers = match records {
                Some(records) => references::open(py, member, &records, blocks)?,
                None => blocks.into_iter().map(Bound::into_any).collect(),
            };
            unpickle(py, &data, buffers)
        }
    }
}

fn unpickle<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyAny>,
    buffers: Vec<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let loads = LOADS.import(py, "_pickle", "loads")?;
    if buffers.is_empty() {
        return loads.call1((data,));
    }
    let options = PyDict::new(py);
    options.set_item(intern!(py, "buffers"), buffers)?;
    loads.call((data,), Some(&options))
}
