//! Processes as the kernel sees them, and the orphan guard.

use procession_shm::Arena;
use procession_sys::foresight;
use procession_sys::guard::{self, Parent};
use procession_sys::limits::ControlGroups;
use procession_sys::{SysError, procfs};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

fn to_python(error: SysError) -> PyErr {
    PyOSError::new_err((error.errno, error.to_string()))
}

/// Whom process `parent` of our family has started.
fn kin(parent: u32, f: &mut dyn FnMut(u32)) {
    let Some(started) = procession_sys::process::started_at(parent) else {
        return;
    };
    for arena in Arena::all() {
        arena.each_started_by(parent, started, &mut |pid| f(pid));
    }
}

#[pyfunction]
#[pyo3(signature = (parent, sentinel, zygote = None))]
fn die_with_parent(parent: u32, sentinel: Option<i32>, zygote: Option<u32>) -> PyResult<()> {
    let has_ended = |fd| procession_sys::file::borrow(fd, guard::has_ended);
    let is_there = || !sentinel.is_some_and(has_ended);
    guard::know_kin(kin);
    let parent = Parent {
        pid: parent,
        zygote,
    };
    guard::guard(parent, is_there).map_err(to_python)
}

#[pyfunction]
fn ignore_guard_signal() -> PyResult<()> {
    guard::know_kin(kin);
    guard::install().map_err(to_python)
}

#[pyfunction]
fn share_foresight() -> PyResult<()> {
    foresight::share().map_err(to_python)
}

#[pyfunction]
fn note_foresight() {
    // Without it children copy page by page, as this one has.
    foresight::note().ok();
}

#[pyfunction]
fn tell_orphan(pid: u32, parent: u32) {
    guard::tell_orphan(pid, parent);
}

#[pyfunction]
fn children_of(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    procfs::each_child(pid, &mut |child| found.push(child));
    kin(pid, &mut |child| {
        if !found.contains(&child) {
            found.push(child);
        }
    });
    found
}

#[pyfunction]
fn process_status(pid: u32) -> Option<(u32, u64, bool)> {
    let status = procfs::status(pid)?;
    Some((status.parent, status.started, status.has_ended))
}

#[pyfunction]
fn is_resource_tracker(pid: u32) -> bool {
    procfs::is_resource_tracker(pid)
}

#[pyfunction]
fn cpu_quota() -> Option<u64> {
    ControlGroups::of_this_process().processors()
}

/// Adds all of these to the module.
pub(crate) fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("GUARD_SIGNAL", guard::SIGNAL)?;
    module.add_function(wrap_pyfunction!(die_with_parent, module)?)?;
    module.add_function(wrap_pyfunction!(ignore_guard_signal, module)?)?;
    module.add_function(wrap_pyfunction!(share_foresight, module)?)?;
    module.add_function(wrap_pyfunction!(note_foresight, module)?)?;
    module.add_function(wrap_pyfunction!(tell_orphan, module)?)?;
    module.add_function(wrap_pyfunction!(children_of, module)?)?;
    module.add_function(wrap_pyfunction!(process_status, module)?)?;
    module.add_function(wrap_pyfunction!(is_resource_tracker, module)?)?;
    module.add_function(wrap_pyfunction!(cpu_quota, module)?)
}
