//! Python's collector of cyclic garbage, told to wait.

use pyo3::ffi;
use pyo3::prelude::*;

/// While it lives there is no collection. Whoever makes many objects that nobody else has seen, and runs
/// nobody's code meanwhile, makes no garbage, and would have them all looked at again and again.
pub(crate) struct Paused<'py> {
    _py: Python<'py>,
    was_on: bool,
}

impl<'py> Paused<'py> {
    pub(crate) fn new(py: Python<'py>) -> Self {
        // SAFETY: attached.
        let was_on = unsafe { ffi::PyGC_Disable() } != 0;
        Self { _py: py, was_on }
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if self.was_on {
            // SAFETY: attached, as long as `_py` lives.
            unsafe { ffi::PyGC_Enable() };
        }
    }
}
