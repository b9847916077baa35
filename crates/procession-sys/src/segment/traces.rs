//! Whether a family lives that has left tags.

use super::folder::Tag;
use crate::file::FileIdentity;
use crate::{process, procfs};

/// What tags tell of a family.
#[derive(Default)]
pub(super) struct Traces {
    arena: Option<FileIdentity>,
    /// Somebody made a tag in a pid namespace that is not ours, or not known.
    is_elsewhere: bool,
    makers: Vec<(u32, u64)>,
}

impl Traces {
    pub(super) fn note(&mut self, tag: &Tag<'_>) {
        let is_here = tag.namespace != 0 && tag.namespace == process::pid_namespace();
        self.is_elsewhere |= !is_here || self.arena.is_some_and(|arena| arena != tag.arena);
        self.arena = Some(tag.arena);
        self.makers.push((tag.pid, tag.started));
    }

    /// Unless we know that it does not.
    pub(super) fn may_live(&self) -> bool {
        let Some(arena) = self.arena.filter(|_| !self.is_elsewhere) else {
            return true;
        };
        let lives = |(pid, started): &(u32, u64)| {
            procfs::status(*pid).is_some_and(|found| !found.has_ended && found.started == *started)
        };
        // Twice: what comes while something else goes may be missed in a list of the kernel's.
        self.makers.iter().any(lives) || is_used(arena) || is_used(arena)
    }
}

/// Whether anybody may use an arena: who has joined has locked a byte of it, who was forked and
/// has not yet joined maps it.
fn is_used(arena: FileIdentity) -> bool {
    if procfs::is_locked(arena.inode).unwrap_or(true) {
        return true;
    }
    let mut found = false;
    let looked = procfs::each_process(&mut |pid| {
        found = found || maps(pid, arena);
    });
    found || looked.is_err()
}

/// Whether a process maps an arena, or we could not look. Many hide their mappings (other users',
/// `ssh-agent`): of these the locks tell enough.
fn maps(pid: u32, arena: FileIdentity) -> bool {
    match procfs::maps(pid, arena.device, arena.inode) {
        Ok(found) => found,
        Err(error) => !matches!(error.errno, libc::EACCES | libc::EPERM),
    }
}
