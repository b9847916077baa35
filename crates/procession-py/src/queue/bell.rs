//! A queue's descriptor: readable while there are items.
//!
//! ```text
//! armed   the queue names us: whoever puts next sends a byte to the socket    the queue was empty
//! rung    a byte lies in the socket: it is readable                           nothing is armed
//! ```
//!
//! The socket is a datagram socket of this process and this queue, with an abstract name that
//! producers can tell: no descriptor is passed, and it ends with its process. A get that leaves the
//! queue empty reads the byte and arms again. Readable without an item it is when another
//! process was quicker; a producer killed between its put and its ring is made up for by the
//! next one, which finds the bell armed still, or by whoever sweeps after its death. A producer
//! that has no descriptor left to ring by makes up for it at its next call on the queue.

use super::Queue;
use procession_core::bells::Ringing;
use procession_shm::OwnerId;
use procession_shm::member::Member;
use procession_sys::doorbell;
use pyo3::prelude::*;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{MutexGuard, PoisonError};

/// The receiving end.
#[derive(Debug)]
pub(super) struct Bell {
    socket: UnixDatagram,
    of: OwnerId,
}

impl Queue {
    pub(super) fn ring(&self, bells: &[Ringing]) {
        if !self.core().ring(self.handle.arena, bells) {
            self.attention.fetch_or(super::UNRUNG, Relaxed);
        }
    }

    /// Rings those whom an earlier call had no descriptor left to ring.
    #[inline]
    pub(super) fn make_up_for_rings(&self) {
        if self.attention.load(Relaxed) & super::UNRUNG != 0 {
            self.ring_missed();
        }
    }

    #[cold]
    fn ring_missed(&self) {
        // Before: another thread's ring may fail meanwhile.
        self.attention.fetch_and(!super::UNRUNG, Relaxed);
        if !self.core().ring_missed(self.handle.arena) {
            self.attention.fetch_or(super::UNRUNG, Relaxed);
        }
    }

    pub(super) fn lock_bell(&self) -> MutexGuard<'_, Option<Bell>> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The descriptor, made when it is first asked for; a forked child makes one of its own.
    pub(super) fn descriptor(&self, py: Python<'_>) -> PyResult<i32> {
        let member = self.handle.member(py)?;
        let mut bell = self.lock_bell();
        if let Some(bell) = bell.as_ref().filter(|bell| bell.of == member.local.owner) {
            return Ok(bell.socket.as_raw_fd());
        }
        let of = member.local.owner;
        let socket = doorbell::hang(&self.core().bell_name(member.arena, of))?;
        let number = socket.as_raw_fd();
        let bell = bell.insert(Bell { socket, of });
        self.attention.fetch_or(super::BELL, Relaxed);
        self.arm(member, bell);
        Ok(number)
    }

    /// After a get, or the attempt: if nothing is left, the descriptor is not readable any more.
    #[inline]
    pub(super) fn muffle_bell(&self, member: Member) {
        if self.attention.load(Relaxed) & super::BELL != 0 && !self.core().has_item() {
            self.silence(member);
        }
    }

    #[cold]
    fn silence(&self, member: Member) {
        let bell = self.lock_bell();
        let Some(bell) = bell.as_ref().filter(|bell| bell.of == member.local.owner) else {
            return;
        };
        let mut byte = [0];
        let mut was_rung = false;
        while bell.socket.recv(&mut byte).is_ok() {
            was_rung = true;
        }
        if was_rung {
            self.arm(member, bell);
        }
    }

    /// Has the next producer ring; rings at once if there is something already.
    fn arm(&self, member: Member, bell: &Bell) {
        let is_armed = self.core().arm_bell(member);
        if !is_armed || self.core().has_item() {
            doorbell::ring_own(&bell.socket);
        }
    }
}
