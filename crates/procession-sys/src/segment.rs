//! Named segments of shared memory, and the tags that say whose they are.
//!
//! ```text
//! /dev/shm/psm_1a2b3c4d     the segment: any program may open it by its name
//! /dev/shm/procession-2f1   its tag, named by its inode: a symbolic link, whose text says
//!                           which family made the segment, who of it, and the segment's name
//! ```
//!
//! A tag is made, read and removed by one system call each, so it is never half there. It comes
//! before the name and goes after it: whoever is killed in between leaves a tag that means
//! nothing, or a segment that its tag finds. A name that somebody else has made anew has another
//! inode, and is not meant.
//!
//! [`remove_all`] removes what a family has left. [`sweep`] does so for the families that have
//! ended: those whose arena nobody has locked and no process maps any more. No pid is trusted for
//! that but as a short cut to life; who cannot be seen (another pid namespace, no free descriptor
//! to look with) counts as living.

mod folder;
mod traces;

use crate::error::SysResult;
use crate::file::FileIdentity;
use crate::{crash_point, process};
use folder::{Folder, check, tag_of};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use traces::Traces;

/// A family's name in tags: its nonce in hexadecimal.
pub type Name = [u8; 32];

/// A family, as tags name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    name: Name,
    arena: FileIdentity,
}

impl Family {
    /// The family of an arena.
    #[must_use]
    pub fn new(nonce: [u8; 16], arena: FileIdentity) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |at: usize| DIGITS[usize::from(nonce[at / 2] >> (4 * (1 - at % 2)) & 15)];
        Self {
            name: std::array::from_fn(digit),
            arena,
        }
    }

    /// As tags write it.
    #[must_use]
    pub fn name(&self) -> Name {
        self.name
    }
}

/// Makes the segment `name` of `length` bytes, which must not exist; with a family, its tag too.
///
/// The name appears when the segment has its length and its tag: who attaches at that moment
/// finds it whole. Where files cannot be made without a name it appears first.
pub fn create(name: &CStr, mode: u32, length: i64, family: Option<&Family>) -> SysResult<OwnedFd> {
    const MOST_AVOIDED: usize = 7;
    let folder = Folder::open()?;
    let mut avoided = Vec::new(); // open, so that their inodes' numbers do not come back
    let (file, inode) = loop {
        let Ok(file) = folder.open_new(c".", libc::O_TMPFILE, mode) else {
            return create_in_place(&folder, name, mode, length, family);
        };
        set_length(&file, length)?;
        let inode = inode(&file)?;
        match family.map_or(Ok(()), |family| folder.tag(family, inode, name)) {
            Ok(()) => break (file, inode),
            Err(error) if error.errno == libc::EPERM && avoided.len() < MOST_AVOIDED => {
                avoided.push(file);
            }
            Err(error) => return Err(error),
        }
    };
    drop(avoided);
    if family.is_some() {
        crash_point!("segment.tagged");
    }
    match folder.link(&file, name) {
        Ok(()) => {
            crash_point!("segment.named");
            Ok(file)
        }
        Err(error) => {
            untag(&folder, inode);
            if error.errno == libc::ENOENT {
                return create_in_place(&folder, name, mode, length, family); // no /proc
            }
            Err(error)
        }
    }
}

fn create_in_place(
    folder: &Folder,
    name: &CStr,
    mode: u32,
    length: i64,
    family: Option<&Family>,
) -> SysResult<OwnedFd> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let file = folder.open_new(name, flags, mode)?;
    let tagged = inode(&file).and_then(|inode| match family {
        Some(family) => folder.tag(family, inode, name),
        None => Ok(()),
    });
    let whole = tagged.and_then(|()| set_length(&file, length));
    if let Err(error) = whole {
        remove_name(folder, name)?;
        return Err(error);
    }
    Ok(file)
}

fn set_length(file: &OwnedFd, length: i64) -> SysResult<()> {
    // SAFETY: plain numbers; the descriptor is open.
    let rc = unsafe { libc::ftruncate(file.as_raw_fd(), length) };
    check(rc, "ftruncate")
}

fn inode(file: &OwnedFd) -> SysResult<u64> {
    Ok(crate::file::identity(file.as_raw_fd())?.inode)
}

fn untag(folder: &Folder, inode: u64) {
    if let Ok(place) = tag_of(inode) {
        let _ = folder.unlink(&place); // most have none
    }
}

fn remove_name(folder: &Folder, name: &CStr) -> SysResult<()> {
    let inode = folder.stat(name)?.st_ino;
    folder.unlink(name)?;
    crash_point!("segment.unnamed");
    untag(folder, inode);
    Ok(())
}

/// Removes the segment `name`, and its tag, whoever made them.
pub fn unlink(name: &CStr) -> SysResult<()> {
    remove_name(&Folder::open()?, name)
}

/// Tags an existing segment: from now on it goes with the family.
pub fn track(name: &CStr, family: &Family) -> SysResult<()> {
    let folder = Folder::open()?;
    let inode = folder.stat(name)?.st_ino;
    folder.tag(family, inode, name)
}

/// Takes a segment's tag away: from now on it stays until it is unlinked.
pub fn untrack(name: &CStr) -> SysResult<()> {
    let folder = Folder::open()?;
    untag(&folder, folder.stat(name)?.st_ino);
    Ok(())
}

/// Removes every segment that a family has tagged and not unlinked, and says how many. Nobody of
/// the family makes any more. Uses system calls and the stack alone.
pub fn remove_all(family: &Name) -> usize {
    let mut removed = 0;
    if let Ok(folder) = Folder::open() {
        let _ = folder.each_tag(&mut |tag| {
            if tag.family == family {
                removed += usize::from(folder.remove(tag));
            }
        });
    }
    removed
}

/// Removes the tags that this process has made for segments that somebody has unlinked who knows
/// no tags. The caller makes none meanwhile: a new tag is there before its segment's name.
pub fn prune(family: &Name) {
    if let Ok(folder) = Folder::open() {
        let me = process::pid();
        let _ = folder.each_tag(&mut |tag| {
            if tag.family == family && tag.pid == me && !folder.is_there(tag) {
                let _ = folder.unlink(tag.place);
            }
        });
    }
}

/// Removes what the families of this user that have ended left, and says how many segments.
pub fn sweep() -> usize {
    let Ok(folder) = Folder::open() else {
        return 0;
    };
    // SAFETY: no preconditions, cannot fail.
    let me = unsafe { libc::geteuid() };
    let mut families: BTreeMap<Name, Traces> = BTreeMap::new();
    let looked = folder.each_tag(&mut |tag| {
        let Ok(name) = Name::try_from(tag.family) else {
            return;
        };
        if tag.owner == me {
            families.entry(name).or_default().note(tag);
        }
    });
    if looked.is_err() {
        return 0;
    }
    let ended = families.iter().filter(|(_, traces)| !traces.may_live());
    ended.map(|(name, _)| remove_all(name)).sum()
}

#[cfg(test)]
mod tests {
    use super::folder::Tag;
    use super::*;
    use crate::procfs;
    use std::ffi::CString;
    use std::fs::File;
    use std::os::fd::AsFd;

    const ARENA: FileIdentity = FileIdentity {
        device: 0xfe_01,
        inode: 77,
    };

    fn family(first: u8) -> Family {
        let mut nonce = crate::file::random_nonce().unwrap();
        nonce[0] = first;
        Family::new(nonce, ARENA)
    }

    fn name(of: &str) -> CString {
        CString::new(format!("psm_test_{of}_{}", process::pid())).unwrap()
    }

    fn exists(name: &CStr) -> bool {
        Folder::open().unwrap().stat(name).is_ok()
    }

    #[test]
    fn a_nonce_is_written_as_others_write_it() {
        let nonce = std::array::from_fn(|at| at as u8 * 17);
        let name = Family::new(nonce, ARENA).name();
        assert_eq!(&name, b"00112233445566778899aabbccddeeff");
    }

    #[test]
    fn a_segment_has_its_length_and_goes_with_its_tag() {
        let (family, name) = (family(1), name("whole"));
        let file = create(&name, 0o600, 5000, Some(&family)).unwrap();
        assert_eq!(crate::file::length(file.as_fd()).unwrap(), 5000);
        let tag = tag_of(inode(&file).unwrap()).unwrap();
        assert!(exists(&name) && exists(&tag));
        let again = create(&name, 0o600, 1, Some(&family)).unwrap_err();
        assert_eq!(again.errno, libc::EEXIST);
        unlink(&name).unwrap();
        assert!(!exists(&name) && !exists(&tag));
        assert_eq!(unlink(&name).unwrap_err().errno, libc::ENOENT);
        assert_eq!(remove_all(&family.name()), 0);
    }

    #[test]
    fn a_tag_that_cannot_be_removed_is_avoided() {
        let (family, name) = (family(4), name("avoiding"));
        let folder = Folder::open().unwrap();
        let probe = folder.open_new(c".", libc::O_TMPFILE, 0o600).unwrap();
        // As another user's link under the sticky bit: not to be unlinked, by root neither.
        let next = inode(&probe).unwrap() + 4; // a folder takes a number, too
        let places = [next, next + 1, next + 2].map(|at| tag_of(at).unwrap());
        for place in &places {
            // SAFETY: the name ends with NUL.
            unsafe { libc::mkdirat(folder.0.as_raw_fd(), place.as_ptr(), 0o700) };
        }
        let made = create(&name, 0o600, 10, Some(&family));
        for place in &places {
            // SAFETY: as above.
            unsafe { libc::unlinkat(folder.0.as_raw_fd(), place.as_ptr(), libc::AT_REMOVEDIR) };
        }
        made.unwrap();
        assert_eq!(remove_all(&family.name()), 1);
        assert!(!exists(&name));
    }

    #[test]
    fn a_family_loses_what_is_its_own_and_still_has_its_name() {
        let (ours, theirs) = (family(2), family(3));
        let names = ["ours", "others", "untracked", "anew"].map(name);
        for (name, family) in names
            .iter()
            .zip([Some(&ours), Some(&theirs), None, Some(&ours)])
        {
            create(name, 0o600, 10, family).unwrap();
        }
        let folder = Folder::open().unwrap();
        folder.unlink(&names[3]).unwrap(); // as programs do that know no tags
        create(&names[3], 0o600, 10, None).unwrap();
        assert_eq!(remove_all(&ours.name()), 1);
        assert_eq!(
            names.each_ref().map(|name| exists(name)),
            [false, true, true, true]
        );
        assert_eq!(remove_all(&theirs.name()), 1);
        for name in &names[2..] {
            unlink(name).unwrap();
        }
    }

    #[test]
    fn tags_that_are_none_are_left_alone() {
        let place = tag_of(0xffff_ffff_0000).unwrap();
        for words in [
            c"",
            c"1 short",
            c"2 a 1 1 1 1 1 name",
            c"1 a 1 1 1 1 1 ../name",
            c"1 a x 1 1 1 1 n",
        ] {
            let bytes = words.to_bytes_with_nul();
            assert!(Tag::parse(&place, 1, 0, bytes).is_none(), "{words:?}");
        }
        let tag = Tag::parse(&place, 1, 0, b"1 a 2 3 4 5 6 a name\0").unwrap();
        assert_eq!(
            (tag.arena.device, tag.arena.inode, tag.namespace),
            (2, 3, 4)
        );
        assert_eq!((tag.pid, tag.started, tag.name), (5, 6, c"a name"));
    }

    #[test]
    fn a_file_is_known_to_be_mapped() {
        let file = File::open("/proc/self/exe").unwrap();
        let of = crate::file::identity(file.as_raw_fd()).unwrap();
        assert_eq!(procfs::maps(process::pid(), of.device, of.inode), Ok(true));
        assert_eq!(procfs::maps(process::pid(), of.device, u64::MAX), Ok(false));
    }

    fn traces(arena: FileIdentity, namespaces: &[u64]) -> Traces {
        let mut found = Traces::default();
        for namespace in namespaces {
            let words = format!(
                "1 a {:x} {:x} {namespace:x} ffffffff 1 name\0",
                arena.device, arena.inode
            );
            let place = tag_of(1).unwrap();
            found.note(&Tag::parse(&place, 1, 0, words.as_bytes()).unwrap());
        }
        found
    }

    #[test]
    fn any_other_namespace_counts_as_life() {
        let ours = process::pid_namespace();
        assert!(!traces(ARENA, &[ours, ours]).may_live());
        for namespaces in [[ours + 1, ours], [ours, ours + 1], [0, ours]] {
            assert!(traces(ARENA, &namespaces).may_live(), "{namespaces:?}");
        }
    }

    #[test]
    fn who_has_a_lock_lives_whatever_he_shows_of_his_memory() {
        let file = crate::file::create_unnamed().unwrap(); // which nobody maps
        let arena = crate::file::identity(file.as_raw_fd()).unwrap();
        let family = traces(arena, &[process::pid_namespace()]);
        assert!(!family.may_live());
        assert!(crate::ofd::try_lock(file.as_fd(), 7).unwrap());
        assert!(family.may_live());
        crate::ofd::unlock(file.as_fd(), 7).unwrap();
        assert!(!family.may_live());
    }
}
