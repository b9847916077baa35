//! Waiting with Python's manners: without the GIL, in slices, with signals looked at in between.

use crate::errors::hooks;
use crate::handle::Handle;
use procession_core::lock::{Waited, Waiting};
use procession_core::spin::{Backoff, Ground, WITH_GIL_NS};
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
        Self::of_seconds(Some(seconds.extract()?))
    }

    /// The same of a number.
    pub(crate) fn of_seconds(seconds: Option<f64>) -> PyResult<Self> {
        let Some(seconds) = seconds else {
            return Ok(Self::Until(Deadline::NEVER));
        };
        if seconds.is_nan() {
            return Err(PyValueError::new_err("timeout must not be NaN"));
        }
        Ok(if seconds <= 0.0 {
            Self::None
        } else {
            Self::Until(Deadline::after_seconds(seconds))
        })
    }

    /// Whether to wait at all.
    pub(crate) fn is_any(self) -> bool {
        matches!(self, Self::Until(_))
    }

    /// The deadline; now for who does not wait.
    pub(crate) fn deadline(self) -> Deadline {
        match self {
            Self::None => Deadline::after_ns(0),
            Self::Until(deadline) => deadline,
        }
    }
}

/// A wait in progress.
pub(crate) struct Blocking<'a, 'py> {
    py: Python<'py>,
    handle: &'a Handle,
    backoff: &'a Backoff,
    /// What the program is told that it waits for, if Ctrl-C ends the wait.
    what: &'static str,
    lock: Option<&'a Bound<'py, PyAny>>,
    pub(crate) waiting: Waiting,
}

impl<'a, 'py> Blocking<'a, 'py> {
    /// Begins to wait for what `handle` stands for.
    pub(crate) fn new(
        py: Python<'py>,
        handle: &'a Handle,
        until: Deadline,
        what: &'static str,
    ) -> Self {
        Self {
            py,
            handle,
            backoff: &handle.backoff,
            what,
            lock: None,
            waiting: Waiting::until(until),
        }
    }

    /// Waits for a lock, whose holder the program is told of.
    pub(crate) fn for_lock(mut self, lock: &'a Bound<'py, PyAny>) -> Self {
        self.lock = Some(lock);
        self
    }

    /// Learns from these waits instead of all for the object.
    pub(crate) fn spinning(mut self, backoff: &'a Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Tries for a while without sleeping.
    pub(crate) fn spin(&self, attempt: impl Fn() -> bool + Sync) -> bool {
        let (ground, backoff) = (Ground::look(), self.backoff);
        // With the GIL nobody gives way: it would be given to whoever wants the GIL.
        ground.spin(WITH_GIL_NS, &attempt) || self.py.detach(|| backoff.spin(ground, &attempt))
    }

    /// Sleeps without the GIL.
    pub(crate) fn sleep<T: Send>(&self, slice: impl FnOnce(&Waiting) -> T + Send) -> T {
        let waiting = &self.waiting;
        self.py.detach(|| slice(waiting))
    }

    /// Sleeps slice by slice until `slice` says None (true) or the deadline (false); `between`
    /// runs attached after each slice, after the signal handlers.
    pub(crate) fn park(
        &self,
        slice: impl Fn(&Waiting) -> Option<Waited> + Send + Sync,
        mut between: impl FnMut() -> PyResult<()>,
    ) -> PyResult<bool> {
        loop {
            match self.sleep(&slice) {
                None | Some(Waited::Acquired(_)) => return Ok(true),
                Some(Waited::TimedOut) => return Ok(false),
                Some(Waited::Slice) => {
                    self.after_slice()?;
                    between()?;
                }
            }
        }
    }

    /// Runs the signal handlers. Ctrl-C ends a wait: the program is told what it waited for.
    /// Who waits has the time to give back what the arena has had no use for.
    pub(crate) fn after_slice(&self) -> PyResult<()> {
        let py = self.py;
        if let Some(member) = self.handle.known_member() {
            member.give_back_if_idle();
        }
        py.check_signals().inspect_err(|error| {
            if error.is_instance_of::<PyKeyboardInterrupt>(py)
                && let Some(hooks) = hooks(py)
            {
                // What cannot be told must not hide the interrupt.
                let told = (self.what, self.waiting.ns(), self.lock);
                let _ = hooks.interrupted.call1(py, told);
            }
        })
    }
}
