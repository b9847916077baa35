//! The Python module `procession._native`: arguments, GIL, signals, errors and buffers.
//!
//! No algorithm lives here. All unsafe code of this crate is in [`raw`].
#![deny(unsafe_code)]

mod acquiring;
mod arena;
mod array;
mod barrier;
mod blocking;
mod buffers;
mod codec;
mod condition;
mod connection;
mod container;
mod desk;
mod end;
mod errors;
mod event;
mod gathering;
mod handle;
mod keepers;
mod locks;
mod message;
mod passage;
mod plain;
mod process;
mod promise;
mod queue;
mod raw;
mod receiving;
mod scalar;
mod segments;
mod sem;
mod semaphore;
mod transfer;
mod value;

use pyo3::prelude::*;
use pyo3::types::PyType;

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("CRASH_POINTS", procession_sys::crash::ENABLED)?;
    module.add_class::<sem::SemLock>()?;
    module.add_class::<locks::Lock>()?;
    module.add_class::<locks::RLock>()?;
    module.add_class::<value::Value>()?;
    module.add_class::<array::Array>()?;
    module.add_class::<semaphore::Semaphore>()?;
    module.add_class::<event::Event>()?;
    module.add_class::<condition::Condition>()?;
    module.add_class::<barrier::Barrier>()?;
    module.add_class::<connection::Connection>()?;
    module.add_class::<queue::Queue>()?;
    module.add_class::<raw::Memory>()?;
    module.add_class::<raw::Private>()?;
    module.add_class::<desk::Desk>()?;
    module.add_class::<desk::Hatch>()?;
    module.add_class::<queue::Delivery>()?;
    module.add_class::<raw::Block>()?;
    module.add_class::<passage::Passage>()?;
    module.add_class::<passage::Luggage>()?;
    for class in [
        "SemLock",
        "Lock",
        "RLock",
        "Value",
        "Array",
        "Semaphore",
        "Event",
        "Condition",
        "Queue",
    ] {
        raw::install_fast_methods(module.getattr(class)?.cast()?)?;
    }
    module.add_function(wrap_pyfunction!(fast_methods, module)?)?;
    module.add_function(wrap_pyfunction!(passage::embark, module)?)?;
    module.add_function(wrap_pyfunction!(gathering::gather_call, module)?)?;
    module.add_function(wrap_pyfunction!(gathering::take_along, module)?)?;
    module.add_function(wrap_pyfunction!(promise::change_state, module)?)?;
    container::add_to(module)?;
    process::add_functions(module)?;
    segments::add_functions(module)?;
    arena::add_functions(module)
}

/// A class decorator: gives a subclass hot methods of its own, as fast as its base's.
#[pyfunction]
fn fast_methods(class: Bound<'_, PyType>) -> PyResult<Bound<'_, PyType>> {
    raw::install_fast_methods(&class)?;
    Ok(class)
}
