//! The C pickler, made once and used again.
//!
//! Making one costs several times what pickling a small object does. It is taken out while it is
//! used: a reducer that puts something itself gets another one.

use super::OUT_OF_BAND;
use crate::raw;
use pyo3::exceptions::{PyException, PyKeyError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyType};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Picklers that are kept: as many reducers that put are seldom at work at once.
const KEPT: usize = 4;

/// What pickling an object gave.
pub(super) struct Pickled<'py> {
    pub(super) chunks: Vec<Bound<'py, PyBytes>>,
    pub(super) buffers: Vec<raw::Lent>,
}

/// A pickler's bound methods, and where it writes to.
struct Kit {
    dump: Py<PyAny>,
    clear_memo: Py<PyAny>,
    sink: Py<Sink>,
}

static IDLE: Mutex<Vec<Kit>> = Mutex::new(Vec::new());

/// What a pickler writes, and the buffers that it would like to leave to us.
#[pyclass(frozen, module = "procession._native")]
#[derive(Debug, Default)]
pub(crate) struct Sink {
    chunks: Mutex<Vec<Py<PyBytes>>>,
    buffers: Mutex<Vec<raw::Lent>>,
}

/// Never held while Python runs.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Sink {
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let chunk = match data.cast_exact::<PyBytes>() {
            Ok(bytes) => bytes.clone(),
            // A bytearray may change before it is copied.
            Err(_) => PyBytes::new(data.py(), &data.extract::<Vec<u8>>()?),
        };
        locked(&self.chunks).push(chunk.unbind());
        Ok(())
    }

    /// The pickler's buffer callback: true is "write it into the pickle".
    fn __call__(&self, buffer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let lent = raw::Lent::of(&buffer.call_method0(intern!(buffer.py(), "raw"))?)?;
        if lent.len() < OUT_OF_BAND {
            return Ok(true);
        }
        locked(&self.buffers).push(lent);
        Ok(false)
    }
}

/// The reducers that count here: the standard library's pickler's, copyreg's, ours; ours of arrays, too, once
/// there are any. Looked up where they are registered, so that a registration counts from then on.
#[pyclass(frozen, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Reducers([Py<PyDict>; 3]);

#[pymethods]
impl Reducers {
    fn __getitem__<'py>(&self, class: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = class.py();
        for table in &self.0 {
            if let Some(reducer) = table.bind(py).get_item(class)? {
                return Ok(reducer);
            }
        }
        if class.cast::<PyType>()?.name()? == *"ndarray" {
            let arrays = py.import(intern!(py, "procession._wire.arrays"))?;
            let reducers = arrays.call_method0(intern!(py, "reducers"))?;
            if let Some(reducer) = reducers.cast_into::<PyDict>()?.get_item(class)? {
                return Ok(reducer);
            }
        }
        Err(PyKeyError::new_err(class.clone().unbind()))
    }
}

impl Kit {
    fn take(py: Python<'_>) -> PyResult<Self> {
        let idle = IDLE.try_lock().ok().and_then(|mut idle| idle.pop());
        idle.map_or_else(|| Self::make(py), Ok)
    }

    fn make(py: Python<'_>) -> PyResult<Self> {
        let sink = Py::new(py, Sink::default())?;
        let options = PyDict::new(py);
        options.set_item("protocol", 5)?;
        options.set_item("buffer_callback", &sink)?;
        let pickler = py
            .import("_pickle")?
            .getattr("Pickler")?
            .call((&sink,), Some(&options))?;
        let forking = py.import("multiprocessing.reduction")?;
        let tables = [
            forking
                .getattr("ForkingPickler")?
                .getattr("_extra_reducers")?,
            py.import("copyreg")?.getattr("dispatch_table")?,
            py.import("procession._wire.items")?.getattr("REDUCERS")?,
        ];
        let [forking, copyreg, ours] = tables.map(Bound::cast_into::<PyDict>);
        let reducers = Reducers([forking?.unbind(), copyreg?.unbind(), ours?.unbind()]);
        pickler.setattr("dispatch_table", Py::new(py, reducers)?)?;
        Ok(Self {
            dump: pickler.getattr("dump")?.unbind(),
            clear_memo: pickler.getattr("clear_memo")?.unbind(),
            sink,
        })
    }

    /// Makes it ready for the next. What the memo kept alive ends here, and may run anything.
    fn give_back(self, py: Python<'_>) -> PyResult<()> {
        self.clear_memo.call0(py)?;
        if let Ok(mut idle) = IDLE.try_lock() {
            if idle.len() < KEPT {
                idle.push(self);
            }
        }
        Ok(())
    }
}

/// The object's pickle. What pickle refuses goes to `procession._wire.items`.
pub(super) fn pickle<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Pickled<'py>> {
    static BY_VALUE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = obj.py();
    let kit = Kit::take(py)?;
    if let Err(refusal) = kit.dump.call1(py, (obj,)) {
        if !refusal.is_instance_of::<PyException>(py) {
            return Err(refusal);
        }
        let by_value = BY_VALUE.import(py, "procession._wire.items", "by_value")?;
        let bytes = by_value.call1((obj, refusal.into_value(py)))?;
        return Ok(Pickled {
            chunks: vec![bytes.cast_into()?],
            buffers: Vec::new(),
        });
    }
    let sink = kit.sink.get();
    let chunks = std::mem::take(&mut *locked(&sink.chunks));
    let buffers = std::mem::take(&mut *locked(&sink.buffers));
    kit.give_back(py)?;
    let chunks = chunks.into_iter().map(|chunk| chunk.into_bound(py));
    Ok(Pickled {
        chunks: chunks.collect(),
        buffers,
    })
}
