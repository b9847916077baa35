//! A message comes in: its header, and its bytes, which are put where they stay.

use crate::buffers::not_writable;
use crate::connection::Connection;
use crate::message::{HEADER, LONG_HEADER, Length};
use crate::raw::{Blank, target_of};
use crate::transfer::Transfer;
use procession_sys::clock::Deadline;
use procession_sys::process;
use procession_sys::region::Target;
use procession_sys::stream::{self, Event, Moved};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Where a message goes.
pub(crate) enum Place<'a> {
    /// Into new bytes.
    Bytes,
    /// Into this buffer, from that byte on, if it fits.
    Buffer(&'a PyBuffer<u8>, usize),
}

/// Where it is.
pub(crate) enum Received<'py> {
    /// In these bytes.
    Bytes(Bound<'py, PyBytes>),
    /// In the buffer; so many bytes.
    Buffer(usize),
    /// Where it was: it is longer than the receiver wants, or no message at all.
    TooLong,
}

/// Receives a message of at most `most` bytes; `TimeoutError` after `until`.
pub(crate) fn receive<'py>(
    py: Python<'py>,
    connection: &Connection,
    most: usize,
    place: &Place<'_>,
    until: Deadline,
) -> PyResult<Received<'py>> {
    let transfer = Transfer::begin(py, connection, Event::Readable, until)?;
    let (fd, medium, turn) = (transfer.fd, transfer.medium, transfer.turn);
    let mut header = [0_u8; HEADER];
    let count = transfer.first(|| {
        turn.begin();
        let moved = stream::try_read(fd, medium, &Target::from(&mut header[..]));
        if !matches!(moved, Ok(Moved::Bytes(1..))) {
            turn.begin_later();
        }
        moved
    })?;
    if count == 0 {
        return Err(transfer.ended());
    }
    transfer.enter();
    transfer.fill(Target::from(&mut header[count..]))?;
    let received = receive_body(py, &transfer, header, most, place)?;
    if matches!(received, Received::TooLong) {
        // It stays where it is: nobody else will find the beginning of a message there.
        turn.tear(process::pid());
    }
    transfer.complete();
    Ok(received)
}

/// What follows the first four bytes.
fn receive_body<'py>(
    py: Python<'py>,
    transfer: &Transfer<'_, '_>,
    header: [u8; HEADER],
    most: usize,
    place: &Place<'_>,
) -> PyResult<Received<'py>> {
    let mut length = Length::of(header);
    if length == Length::Long {
        let mut long = [0_u8; LONG_HEADER - HEADER];
        transfer.fill(Target::from(&mut long[..]))?;
        length = Length::of_long(long);
    }
    let Length::Of(len) = length else {
        return Ok(Received::TooLong);
    };
    if len > most {
        return Ok(Received::TooLong);
    }
    match place {
        Place::Buffer(buffer, offset) if len <= buffer.len_bytes() - offset => {
            let room = target_of(buffer).ok_or_else(not_writable)?;
            transfer.fill(room.skip(*offset).first(len))?;
            Ok(Received::Buffer(len))
        }
        _ => {
            let mut blank = Blank::new(py, len)?;
            transfer.fill(blank.target())?;
            Ok(Received::Bytes(blank.filled()))
        }
    }
}
