//! Named segments: what `procession.shared_memory` asks of the core.

use crate::arena::current_member;
use procession_shm::Arena;
use procession_sys::segment::{self, Family};
use procession_sys::{SysError, SysResult};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::ffi::CString;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// How many segments this process, or the ones that it was forked from, has tagged.
static TAGGED: AtomicU32 = AtomicU32::new(0);
/// So often tags are looked through whose segments somebody has unlinked who knows no tags.
const BETWEEN_LOOKS: u32 = 256;

fn refused(error: SysError, name: Option<&str>) -> PyErr {
    let text = std::io::Error::from_raw_os_error(error.errno).to_string();
    let text = text
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned();
    match name {
        Some(name) => PyOSError::new_err((error.errno, text, name.to_owned())),
        None => PyOSError::new_err((error.errno, text)),
    }
}

/// Our family, which has a warden from now on, if one can be started: by the next segment, or at
/// our end. What is left without one the next arena of this user removes.
fn family(py: Python<'_>) -> PyResult<Family> {
    let arena = current_member(py)?.arena;
    let _ = arena.ensure_warden();
    let family = arena.family();
    if TAGGED.fetch_add(1, Relaxed) % BETWEEN_LOOKS == BETWEEN_LOOKS - 1 {
        segment::prune(&family.name());
    }
    Ok(family)
}

/// A new segment's descriptor. `name` is what `shm_open` would be given, with or without its
/// slash; what is none is the caller's to refuse.
#[pyfunction]
fn create_segment(
    py: Python<'_>,
    name: &str,
    mode: u32,
    length: i64,
    track: bool,
) -> PyResult<i32> {
    let path = CString::new(name.trim_start_matches('/'))?;
    let family = if track { Some(family(py)?) } else { None };
    segment::create(&path, mode, length, family.as_ref())
        .map(IntoRawFd::into_raw_fd)
        .map_err(|error| refused(error, (error.call != "ftruncate").then_some(name)))
}

fn with_name(name: &str, f: impl FnOnce(&CString) -> SysResult<()>) -> PyResult<()> {
    let path = CString::new(name.trim_start_matches('/'))?;
    f(&path).map_err(|error| refused(error, Some(name)))
}

#[pyfunction]
fn unlink_segment(name: &str) -> PyResult<()> {
    with_name(name, |path| segment::unlink(path))
}

#[pyfunction]
fn track_segment(py: Python<'_>, name: &str) -> PyResult<()> {
    let family = family(py)?;
    with_name(name, |path| segment::track(path, &family))
}

#[pyfunction]
fn untrack_segment(name: &str) -> PyResult<()> {
    with_name(name, |path| segment::untrack(path))
}

/// A process that has named segments does not leave before there is a warden again.
#[pyfunction]
pub(crate) fn renew_warden() {
    if let Some(arena) = Arena::current().filter(|_| TAGGED.load(Relaxed) > 0) {
        let _ = arena.ensure_warden(); // else the next arena of this user will see to it
    }
}

/// Adds all of these to the module.
pub(crate) fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(create_segment, module)?)?;
    module.add_function(wrap_pyfunction!(unlink_segment, module)?)?;
    module.add_function(wrap_pyfunction!(track_segment, module)?)?;
    module.add_function(wrap_pyfunction!(untrack_segment, module)?)?;
    module.add_function(wrap_pyfunction!(renew_warden, module)?)
}
