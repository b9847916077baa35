//! Doorbells: datagram sockets with abstract names, which others ring by name.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A doorbell of that name: readable once it was rung.
pub fn hang(name: &str) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Rings one of our own, by itself: that takes no other descriptor.
pub fn ring_own(bell: &UnixDatagram) {
    if let Ok(address) = bell.local_addr() {
        // Full: it has been rung already.
        let _ = bell.send_to_addr(&[0], &address);
    }
}

/// Rings those that there are; false when this process has no descriptor left to do it with.
#[must_use]
pub fn ring(names: impl Iterator<Item = String>) -> bool {
    // Made for each ring: one that is kept could have been closed by the program, and its number
    // be somebody else's by now.
    let Ok(socket) = UnixDatagram::unbound() else {
        return false;
    };
    let _ = socket.set_nonblocking(true);
    for name in names {
        if let Ok(address) = SocketAddr::from_abstract_name(name) {
            // Full: it has been rung already. Refused: its process has ended.
            let _ = socket.send_to_addr(&[0], &address);
        }
    }
    true
}
