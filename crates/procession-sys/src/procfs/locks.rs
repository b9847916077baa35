//! Which files are locked.

use super::reading::{Path, each_line, number};
use crate::error::SysResult;

/// Whether anybody on this machine has locked a part of a file with this inode, or waits for it:
/// in other pid namespaces too, and whoever hides his mappings. The file system does not matter:
/// some tell `stat` of another device than this list.
pub(crate) fn is_locked(inode: u64) -> SysResult<bool> {
    let mut found = false;
    each_line(&Path::new().then(b"/proc/locks"), &mut |line| {
        found |= locked_inode(line) == Some(inode);
    })?;
    Ok(found)
}

/// The inode of a line of /proc/locks: `1: OFDLCK ADVISORY  WRITE -1 00:01:405889 30 30`.
fn locked_inode(line: &[u8]) -> Option<u64> {
    line.split(|byte| *byte == b' ').find_map(|field| {
        let mut parts = field.splitn(3, |byte| *byte == b':').skip(2);
        number(parts.next()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn locks_are_seen() {
        let held = b"1: OFDLCK ADVISORY  WRITE -1 00:01:405889 30 30";
        assert_eq!(locked_inode(held), Some(405_889));
        let awaited = b"3: -> POSIX  ADVISORY  READ  4711 fe:01:77 0 EOF";
        assert_eq!(locked_inode(awaited), Some(77));
        assert_eq!(
            locked_inode(b"1: OFDLCK ADVISORY  WRITE -1 <none>:0 0"),
            None
        );
        let file = crate::file::create_unnamed().unwrap();
        let inode = crate::file::identity(file.as_raw_fd()).unwrap().inode;
        assert_eq!(is_locked(inode), Ok(false));
        assert!(crate::ofd::try_lock(file.as_fd(), 5).unwrap());
        assert_eq!(is_locked(inode), Ok(true));
    }
}
