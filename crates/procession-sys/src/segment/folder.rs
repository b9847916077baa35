//! /dev/shm and the tags in it.

use super::Family;
use crate::error::{SysError, SysResult};
use crate::file::FileIdentity;
use crate::{process, procfs};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const FOLDER: &CStr = c"/dev/shm";
const PREFIX: &str = "procession-";
const VERSION: &str = "1";

/// /dev/shm, open.
pub(super) struct Folder(pub(super) OwnedFd);

impl Folder {
    pub(super) fn open() -> SysResult<Self> {
        let flags = libc::O_DIRECTORY | libc::O_RDONLY | libc::O_CLOEXEC;
        // SAFETY: a NUL-terminated literal.
        let fd = unsafe { libc::open(FOLDER.as_ptr(), flags) };
        if fd < 0 {
            return Err(SysError::last("open(/dev/shm)"));
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn stat(&self, name: &CStr) -> SysResult<libc::stat> {
        // SAFETY: all zeros is a valid stat.
        let mut found: libc::stat = unsafe { std::mem::zeroed() };
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        let fd = self.0.as_raw_fd();
        // SAFETY: the name ends with NUL; `found` is writable memory of the right size.
        let rc = unsafe { libc::fstatat(fd, name.as_ptr(), &raw mut found, flags) };
        check(rc, "fstatat").map(|()| found)
    }

    pub(super) fn unlink(&self, name: &CStr) -> SysResult<()> {
        // SAFETY: the name ends with NUL.
        let rc = unsafe { libc::unlinkat(self.0.as_raw_fd(), name.as_ptr(), 0) };
        check(rc, "shm_unlink")
    }

    pub(super) fn open_new(&self, name: &CStr, flags: i32, mode: u32) -> SysResult<OwnedFd> {
        let flags = flags | libc::O_RDWR | libc::O_CLOEXEC;
        // SAFETY: the name ends with NUL; the rest are plain numbers.
        let fd = unsafe { libc::openat(self.0.as_raw_fd(), name.as_ptr(), flags, mode) };
        if fd < 0 {
            return Err(SysError::last("shm_open"));
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Gives an unnamed file a name that nobody has.
    pub(super) fn link(&self, file: &OwnedFd, name: &CStr) -> SysResult<()> {
        let path = text(format!("/proc/self/fd/{}", file.as_raw_fd()).into_bytes())?;
        let (fd, flags) = (self.0.as_raw_fd(), libc::AT_SYMLINK_FOLLOW);
        // SAFETY: both paths end with NUL.
        let rc = unsafe { libc::linkat(libc::AT_FDCWD, path.as_ptr(), fd, name.as_ptr(), flags) };
        check(rc, "linkat")
    }

    /// EPERM when somebody else's is in the way, whom the sticky folder protects.
    pub(super) fn tag(&self, family: &Family, inode: u64, name: &CStr) -> SysResult<()> {
        let me = process::pid();
        let started = procfs::status(me).map_or(0, |status| status.started);
        let mut words = format!(
            "{VERSION} {} {:x} {:x} {:x} {me:x} {started:x} ",
            String::from_utf8_lossy(&family.name),
            family.arena.device,
            family.arena.inode,
            process::pid_namespace(),
        )
        .into_bytes();
        words.extend_from_slice(name.to_bytes());
        let (words, place) = (text(words)?, tag_of(inode)?);
        let put = || {
            let fd = self.0.as_raw_fd();
            // SAFETY: both texts end with NUL.
            let rc = unsafe { libc::symlinkat(words.as_ptr(), fd, place.as_ptr()) };
            check(rc, "symlinkat")
        };
        match put() {
            // Of a segment that has gone, and whose inode's number has come back.
            Err(error) if error.errno == libc::EEXIST => {
                self.unlink(&place).map_err(|_| SysError {
                    errno: libc::EPERM,
                    ..error
                })?;
                put()
            }
            done => done,
        }
    }

    /// Calls `f` with each tag; an error when there may be more.
    pub(super) fn each_tag(&self, f: &mut impl FnMut(&Tag<'_>)) -> SysResult<()> {
        let mut all_read = Ok(());
        procfs::each_name(self.0.as_raw_fd(), &mut |place| {
            let digits = place.to_bytes().strip_prefix(PREFIX.as_bytes());
            let Some(inode) = digits.and_then(procfs::hexadecimal) else {
                return;
            };
            let mut buffer = [0_u8; Tag::LONGEST];
            let room = buffer.len() - 1; // the name, which is last, ends with NUL
            let (fd, into) = (self.0.as_raw_fd(), buffer.as_mut_ptr());
            // SAFETY: the name ends with NUL; the buffer is ours to write for `room` bytes.
            let got = unsafe { libc::readlinkat(fd, place.as_ptr(), into.cast(), room) };
            if got < 0 {
                let error = SysError::last("readlinkat");
                if !matches!(error.errno, libc::ENOENT | libc::EINVAL) {
                    all_read = Err(error); // it is there, and a link
                }
                return;
            }
            let Ok(owner) = self.stat(place).map(|found| found.st_uid) else {
                return;
            };
            if got > 0 {
                let words = &buffer[..=got as usize];
                if let Some(tag) = Tag::parse(place, inode, owner, words) {
                    f(&tag);
                }
            }
        })?;
        all_read
    }

    /// Whether the segment that a tag means still is what has its name.
    pub(super) fn is_there(&self, tag: &Tag<'_>) -> bool {
        self.stat(tag.name).is_ok_and(|found| {
            found.st_ino == tag.inode
                && found.st_uid == tag.owner
                && found.st_mode & libc::S_IFMT == libc::S_IFREG
        })
    }

    /// Removes the segment that a tag means, if it is there; then the tag.
    pub(super) fn remove(&self, tag: &Tag<'_>) -> bool {
        let removed = self.is_there(tag) && self.unlink(tag.name).is_ok();
        let _ = self.unlink(tag.place); // somebody else may have been quicker
        removed
    }
}

/// What a tag says.
pub(super) struct Tag<'a> {
    pub(super) place: &'a CStr,
    /// Of the segment.
    pub(super) inode: u64,
    /// Who made the tag: another user's segments are not for it to name.
    pub(super) owner: u32,
    pub(super) family: &'a [u8],
    pub(super) arena: FileIdentity,
    pub(super) namespace: u64,
    pub(super) pid: u32,
    pub(super) started: u64,
    pub(super) name: &'a CStr,
}

impl<'a> Tag<'a> {
    /// Six numbers, a nonce, and a name of at most 255 bytes.
    const LONGEST: usize = 512;

    pub(super) fn parse(place: &'a CStr, inode: u64, owner: u32, words: &'a [u8]) -> Option<Self> {
        let mut fields = words.splitn(8, |byte| *byte == b' ');
        if fields.next()? != VERSION.as_bytes() {
            return None;
        }
        let family = fields.next()?;
        let mut number = || fields.next().and_then(procfs::hexadecimal);
        let (device, arena) = (number()?, number()?);
        let (namespace, pid, started) = (number()?, number()?, number()?);
        let name = CStr::from_bytes_until_nul(fields.next()?).ok()?;
        let is_plain = !name.is_empty() && !name.to_bytes().contains(&b'/');
        is_plain.then_some(Self {
            place,
            inode,
            owner,
            family,
            arena: FileIdentity {
                device,
                inode: arena,
            },
            namespace,
            pid: pid as u32,
            started,
            name,
        })
    }
}

pub(super) fn check(rc: i32, call: &'static str) -> SysResult<()> {
    if rc == 0 {
        Ok(())
    } else {
        Err(SysError::last(call))
    }
}

fn text(bytes: Vec<u8>) -> SysResult<CString> {
    CString::new(bytes).map_err(|_| SysError {
        call: "shm_open",
        errno: libc::EINVAL,
    })
}

pub(super) fn tag_of(inode: u64) -> SysResult<CString> {
    text(format!("{PREFIX}{inode:x}").into_bytes())
}
