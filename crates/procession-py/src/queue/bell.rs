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
//! next one, which finds the bell armed still.

use super::Queue;
use procession_shm::OwnerId;
use procession_shm::member::Member;
use pyo3::prelude::*;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{MutexGuard, PoisonError};

/// The receiving end.
#[derive(Debug)]
pub(super) struct Bell {
    socket: UnixDatagram,
    of: OwnerId,
}

impl Queue {
    /// Where the bell of `owner` for this queue is.
    fn bell_address(&self, owner: OwnerId) -> std::io::Result<SocketAddr> {
        let nonce = u128::from_le_bytes(*self.handle.arena.nonce());
        let (owner, serial) = (owner.bits(), self.handle.object.serial);
        SocketAddr::from_abstract_name(format!("procession.{nonce:032x}.{owner:x}.{serial:x}"))
    }

    /// Rings bells. Whose process has ended, or has been rung, hears nothing; nor does who has
    /// moved to another network namespace.
    #[cold]
    pub(super) fn ring(&self, bells: &[OwnerId]) {
        let Some(socket) = UnixDatagram::unbound().ok().filter(|_| !bells.is_empty()) else {
            return;
        };
        let _ = socket.set_nonblocking(true);
        for owner in bells {
            if let Ok(address) = self.bell_address(*owner) {
                let _ = socket.send_to_addr(&[0], &address);
            }
        }
        self.core().have_rung(bells);
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
        let address = self.bell_address(member.local.owner)?;
        let socket = UnixDatagram::bind_addr(&address)?;
        socket.set_nonblocking(true)?;
        let number = socket.as_raw_fd();
        let of = member.local.owner;
        *bell = Some(Bell { socket, of });
        self.attention.fetch_or(super::BELL, Relaxed);
        drop(bell);
        self.arm(member);
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
            self.arm(member);
        }
    }

    /// Has the next producer ring; rings at once if there is something already.
    fn arm(&self, member: Member) {
        let is_armed = self.core().arm_bell(member);
        if !is_armed || self.core().has_item() {
            self.ring(&[member.local.owner]);
        }
    }
}
