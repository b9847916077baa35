//! Waiting with Python's manners: without the GIL, in slices, with signals looked at in between.

use crate::errors::HOOKS;
use procession_core::lock::{Waited, Waiting};
use procession_sys::clock::Deadline;
use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;

/// What a caller's timeout means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Do not wait at all.
    None,
    /// Wait until then.
    Until(Deadline),
}

impl Patience {
    /// Seconds, None for ever; zero and less do not wait.
    pub(crate) fn of(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(seconds) = timeout.filter(|timeout| !timeout.is_none()) else {
            return Ok(Self::Until(Deadline::NEVER));
        };
        let seconds: f64 = seconds.extract()?;
        if seconds.is_nan() {
            return Err(PyValueError::new_err("timeout must not be NaN"));
        }
        Ok(if seconds <= 0.0 {
            Self::None
        } else {
            Self::Until(Deadline::after_seconds(seconds))
        })
    }

    /// The deadline; now for who does not wait.
    pub(crate) fn deadline(self) -> Deadline {
        match self {
            Self::None => Deadline::after_ns(0),
            Self::Until(deadline) => deadline,
        }
    }
}

/// Runs the signal handlers. Ctrl-C ends a wait: the program is told what it waited for.
pub(crate) fn look_at_signals(
    py: Python<'_>,
    waiting: &Waiting,
    what: &str,
    lock: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    py.check_signals().inspect_err(|error| {
        if let (true, Some(hooks)) = (
            error.is_instance_of::<PyKeyboardInterrupt>(py),
            HOOKS.get(py),
        ) {
            // What cannot be told must not hide the interrupt.
            let _ = hooks.interrupted.call1(py, (what, waiting.ns(), lock));
        }
    })
}

/// Sleeps slice by slice until `slice` says None (true) or the deadline (false); `between` runs
/// attached after each slice, after the signal handlers.
pub(crate) fn until_decided(
    py: Python<'_>,
    waiting: &Waiting,
    what: &str,
    slice: impl Fn(&Waiting) -> Option<Waited> + Send + Sync,
    mut between: impl FnMut() -> PyResult<()>,
) -> PyResult<bool> {
    loop {
        match py.detach(|| slice(waiting)) {
            None | Some(Waited::Acquired(_)) => return Ok(true),
            Some(Waited::TimedOut) => return Ok(false),
            Some(Waited::Slice) => {
                look_at_signals(py, waiting, what, None)?;
                between()?;
            }
        }
    }
}
