//! One end of a connection, as all who have it share it.

use crate::handle::{Handle, Travelling};
use procession_core::ObjectKind;
use procession_core::turn::Turn;
use procession_shm::OwnerId;
use procession_shm::layout::ConnectionLine;
use procession_sys::stream::Event;
use pyo3::prelude::*;
use std::sync::atomic::AtomicU64;

/// What all who have this end of the connection share.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) handle: Handle,
    line: &'static ConnectionLine,
    /// Which of the two ends.
    pub(crate) side: usize,
    /// The threads of this process that have the turns, for those that come again.
    sender: AtomicU64,
    receiver: AtomicU64,
}

impl End {
    /// That of a new connection, which is not the other end of any.
    pub(crate) fn create(py: Python<'_>) -> PyResult<Self> {
        let (handle, line) = Handle::with_body(py, ObjectKind::Connection, None, |_| ())?;
        Ok(Self::of(handle, line, 0))
    }

    /// That of a handle that travelled.
    pub(crate) fn open(py: Python<'_>, handle: Travelling, side: usize) -> PyResult<Self> {
        let kind = ObjectKind::Connection;
        let (handle, line) = Handle::with_body(py, kind, Some(handle), |_| ())?;
        Ok(Self::of(handle, line, side & 1))
    }

    /// The other end of the same connection.
    pub(crate) fn opposite(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self::of(
            self.handle.duplicate(py)?,
            self.line,
            1 - self.side,
        ))
    }

    /// The same end once more.
    pub(crate) fn duplicate(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self::of(self.handle.duplicate(py)?, self.line, self.side))
    }

    fn of(handle: Handle, line: &'static ConnectionLine, side: usize) -> Self {
        Self {
            handle,
            line,
            side,
            sender: AtomicU64::new(0),
            receiver: AtomicU64::new(0),
        }
    }

    /// Who we are.
    #[inline]
    pub(crate) fn owner(&self, py: Python<'_>) -> PyResult<OwnerId> {
        match self.handle.me() {
            Some(me) => Ok(me),
            None => Ok(self.handle.member(py)?.local.owner),
        }
    }

    /// The turn to send or to receive here.
    pub(crate) fn turn(&self, event: Event) -> Turn<'static> {
        let end = &self.line.ends[self.side];
        Turn::new(match event {
            Event::Readable => &end.receiving,
            Event::Writable => &end.sending,
        })
    }

    /// The turn at the other end of the same direction.
    pub(crate) fn other_turn(&self, event: Event) -> Turn<'static> {
        let end = &self.line.ends[1 - self.side];
        Turn::new(match event {
            Event::Readable => &end.sending,
            Event::Writable => &end.receiving,
        })
    }

    /// The thread of this process that has the turn, or had it.
    pub(crate) fn thread(&self, event: Event) -> &AtomicU64 {
        match event {
            Event::Readable => &self.receiver,
            Event::Writable => &self.sender,
        }
    }

    /// Whether no whole message will come any more.
    pub(crate) fn is_torn(&self) -> bool {
        self.turn(Event::Readable).is_known_torn()
            || self.other_turn(Event::Readable).is_torn(self.handle.arena)
    }
}
