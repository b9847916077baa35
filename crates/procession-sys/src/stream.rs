//! Bytes into and out of pipes and sockets. Only [`wait`] sleeps; all else does what can be done
//! at once, so that nobody is stuck in the kernel with half a message.

use crate::clock::Deadline;
use crate::error::{SysError, SysResult};
use crate::region::{Source, Target};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a descriptor is, as far as reading and writing go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Medium {
    /// A pipe or FIFO.
    Pipe = 0,
    /// A stream socket within this machine.
    Local = 1,
    /// Any other socket.
    Socket = 2,
    /// A terminal, a file, something closed.
    Other = 3,
}

impl Medium {
    /// What `fd` is now.
    #[must_use]
    pub fn of(fd: RawFd) -> Self {
        match crate::file::mode(fd).unwrap_or(0) & libc::S_IFMT {
            libc::S_IFIFO => Self::Pipe,
            libc::S_IFSOCK if domain(fd) == libc::AF_UNIX => Self::Local,
            libc::S_IFSOCK => Self::Socket,
            _ => Self::Other,
        }
    }

    /// Reads back what was kept as a number.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Pipe,
            1 => Self::Local,
            2 => Self::Socket,
            _ => Self::Other,
        }
    }

    /// So many bytes are written whole or not at all: `PIPE_BUF`, or what fits into one buffer of
    /// a local socket's smallest queue.
    #[must_use]
    pub fn atomic(self) -> usize {
        match self {
            Self::Pipe => libc::PIPE_BUF,
            Self::Local => 2048,
            Self::Socket | Self::Other => 0,
        }
    }

    fn is_socket(self) -> bool {
        matches!(self, Self::Local | Self::Socket)
    }
}

fn domain(fd: RawFd) -> i32 {
    let mut domain = 0_i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: both places are live and as large as said; a bad descriptor is refused.
    let asked = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut domain).cast(),
            &raw mut length,
        )
    };
    if asked == 0 { domain } else { -1 }
}

/// What an attempt brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Moved {
    /// So many bytes; a read of none is the end of the stream.
    Bytes(usize),
    /// Nothing now: [`wait`] and come again.
    Blocked,
}

fn moved(count: isize, call: &'static str) -> SysResult<Moved> {
    if let Ok(count) = usize::try_from(count) {
        return Ok(Moved::Bytes(count));
    }
    let error = SysError::last(call);
    match error.errno {
        libc::EAGAIN | libc::EINTR => Ok(Moved::Blocked),
        _ => Err(error),
    }
}

/// Whether reads and writes of pipes can be told not to wait (Linux 6.4; older systems are asked
/// first whether they would).
static HAS_NOWAIT: AtomicBool = AtomicBool::new(true);

/// Reads what is there, up to the room in `target`.
pub fn try_read(fd: RawFd, medium: Medium, target: &Target<'_>) -> SysResult<Moved> {
    if medium.is_socket() {
        // SAFETY: `target` is room for that many bytes.
        let count = unsafe { libc::recv(fd, target.at.cast(), target.len, libc::MSG_DONTWAIT) };
        return moved(count, "recv");
    }
    let part = libc::iovec {
        iov_base: target.at.cast(),
        iov_len: target.len,
    };
    if medium == Medium::Pipe && HAS_NOWAIT.load(Relaxed) {
        const NO_OFFSET: i64 = -1;
        // SAFETY: one live iovec, room for that many bytes.
        let count = unsafe {
            libc::syscall(
                libc::SYS_preadv2,
                fd,
                &raw const part,
                1,
                NO_OFFSET,
                0,
                libc::RWF_NOWAIT,
            )
        };
        if !is_unknown(count as isize) {
            return moved(count as isize, "read");
        }
        HAS_NOWAIT.store(false, Relaxed);
    }
    if wait(fd, Event::Readable, Deadline::after_ns(0)) != Ready::Yes {
        return Ok(Moved::Blocked);
    }
    // SAFETY: `target` is room for that many bytes.
    let count = unsafe { libc::read(fd, target.at.cast(), target.len) };
    moved(count, "read")
}

fn is_unknown(count: isize) -> bool {
    count < 0
        && matches!(
            SysError::last("").errno,
            libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL
        )
}

/// Writes what there is room for, of these parts one after the other.
pub fn try_write(fd: RawFd, medium: Medium, parts: &[Source<'_>; 3]) -> SysResult<Moved> {
    let mut vectors = parts.map(|part| libc::iovec {
        iov_base: part.at.cast_mut().cast(),
        iov_len: part.len,
    });
    if medium.is_socket() {
        // SAFETY: a msghdr is plain bits, for which zero is valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = vectors.as_mut_ptr();
        message.msg_iovlen = vectors.len() as _;
        // SAFETY: live vectors of bytes that stay allocated; the kernel only reads them.
        let count = unsafe {
            libc::sendmsg(
                fd,
                &raw const message,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        return moved(count, "send");
    }
    if medium == Medium::Pipe && HAS_NOWAIT.load(Relaxed) {
        const NO_OFFSET: i64 = -1;
        // SAFETY: live vectors of bytes that stay allocated; the kernel only reads them.
        let count = unsafe {
            libc::syscall(
                libc::SYS_pwritev2,
                fd,
                vectors.as_ptr(),
                vectors.len(),
                NO_OFFSET,
                0,
                libc::RWF_NOWAIT,
            )
        };
        if !is_unknown(count as isize) {
            return moved(count as isize, "write");
        }
        HAS_NOWAIT.store(false, Relaxed);
    }
    if wait(fd, Event::Writable, Deadline::after_ns(0)) != Ready::Yes {
        return Ok(Moved::Blocked);
    }
    // What is said to be writable takes `PIPE_BUF` bytes without blocking, but not more.
    let mut room = libc::PIPE_BUF;
    for vector in &mut vectors {
        vector.iov_len = vector.iov_len.min(room);
        room -= vector.iov_len;
    }
    // SAFETY: live vectors of bytes that stay allocated; the kernel only reads them.
    let count = unsafe { libc::writev(fd, vectors.as_ptr(), vectors.len() as i32) };
    moved(count, "write")
}

/// What to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Bytes, or the end.
    Readable,
    /// Room, or nobody who reads.
    Writable,
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ready {
    /// It has happened, or an attempt will tell why it cannot.
    Yes,
    /// The deadline came.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// Sleeps until `event`, at most until `until`.
#[must_use]
pub fn wait(fd: RawFd, event: Event, until: Deadline) -> Ready {
    let mut asked = libc::pollfd {
        fd,
        events: match event {
            Event::Readable => libc::POLLIN,
            Event::Writable => libc::POLLOUT,
        },
        revents: 0,
    };
    let left = until.left();
    let timeout = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: one live pollfd; the timeout is null or live; no signal mask.
    let found = unsafe { libc::ppoll(&raw mut asked, 1, timeout, std::ptr::null()) };
    match found {
        0 => Ready::TimedOut,
        1.. => Ready::Yes,
        _ => Ready::Interrupted,
    }
}

/// Whether the program has made this descriptor non-blocking.
#[must_use]
pub fn is_nonblocking(fd: RawFd) -> bool {
    // SAFETY: plain numbers; a bad descriptor is refused.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags >= 0 && flags & libc::O_NONBLOCK != 0
}

/// What a pipe holds when nobody has said otherwise.
pub const PIPE_ROOM: usize = 64 << 10;

/// What [`widen`] makes of it. Every page counts against what all pipes of a user may hold together
/// (64 MiB, unless the administrator says otherwise), so this is not the most that is allowed.
const WIDE_PIPE: i32 = 256 << 10;

/// Gives a pipe room for more than the default. One of another size stays as it is: somebody chose that;
/// and so does any when the system refuses.
pub fn widen(fd: RawFd) {
    // SAFETY: plain numbers; what is no pipe is refused.
    let room = unsafe { libc::fcntl(fd, libc::F_GETPIPE_SZ) };
    if room == PIPE_ROOM as i32 {
        // SAFETY: as above; what is in the pipe stays in it.
        unsafe { libc::fcntl(fd, libc::F_SETPIPE_SZ, WIDE_PIPE) };
    }
}

/// Nothing more can be sent, or received, by anybody who has this socket. Other descriptors refuse.
pub fn shut_down(fd: RawFd, event: Event) {
    let how = match event {
        Event::Readable => libc::SHUT_RD,
        Event::Writable => libc::SHUT_WR,
    };
    // SAFETY: plain numbers; what is no connected socket is refused, and that is all right.
    unsafe { libc::shutdown(fd, how) };
}

/// A pipe: the end to read from and the end to write to.
pub fn pipe() -> SysResult<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(SysError::last("pipe2"));
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    let reading = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: as above.
    let writing = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Ok((reading, writing))
}

/// Two connected sockets.
pub fn socket_pair() -> SysResult<(OwnedFd, OwnedFd)> {
    match UnixStream::pair() {
        Ok((one, other)) => Ok((one.into(), other.into())),
        Err(error) => Err(SysError {
            call: "socketpair",
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }),
    }
}

/// Closes a descriptor that the caller owns by number.
pub fn close(fd: RawFd) -> SysResult<()> {
    // SAFETY: the caller gives up the number; a closed one is refused.
    if unsafe { libc::close(fd) } == 0 {
        Ok(())
    } else {
        Err(SysError::last("close"))
    }
}
