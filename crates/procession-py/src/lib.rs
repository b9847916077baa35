//! The Python module `procession._native`: arguments, GIL, signals, errors and buffers.
//!
//! No algorithm lives here. All unsafe code of this crate is in [`raw`].
#![deny(unsafe_code)]

mod arena;
mod errors;
mod handle;
mod raw;
mod scalar;
mod sem;
mod value;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("CRASH_POINTS", procession_sys::crash::ENABLED)?;
    module.add_class::<sem::SemLock>()?;
    module.add_class::<sem::Lock>()?;
    module.add_class::<sem::RLock>()?;
    module.add_class::<value::Value>()?;
    module.add_class::<raw::Memory>()?;
    raw::install_fast_methods(module.py())?;
    arena::add_functions(module)
}
