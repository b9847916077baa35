//! Waiting with Python's manners: without the GIL, in slices, with signals looked at in between.

use procession_core::lock::{Waited, Waiting};
use procession_sys::clock::Deadline;
use pyo3::exceptions::PyValueError;
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

/// Sleeps slice by slice until `slice` says None (true) or the deadline (false); `between` runs
/// attached after each slice, after the signal handlers.
pub(crate) fn until_decided(
    py: Python<'_>,
    waiting: &Waiting,
    slice: impl Fn(&Waiting) -> Option<Waited> + Send + Sync,
    mut between: impl FnMut() -> PyResult<()>,
) -> PyResult<bool> {
    loop {
        match py.detach(|| slice(waiting)) {
            None | Some(Waited::Acquired(_)) => return Ok(true),
            Some(Waited::TimedOut) => return Ok(false),
            Some(Waited::Slice) => {
                py.check_signals()?;
                between()?;
            }
        }
    }
}
