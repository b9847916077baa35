//! What processes have mapped.

use super::reading::{Path, each_line, number, pair};
use crate::error::SysResult;

/// A line of /proc/PID/maps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mapping {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// `st_dev` and `st_ino` of its file; 0 when it has none.
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// What is written to it is written to its file.
    pub(crate) is_shared: bool,
    label: Label,
}

/// What the line has for a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Label {
    #[default]
    None,
    Stack,
    /// `[vdso]` and the like.
    Kernels,
    Other,
}

impl Mapping {
    pub(crate) fn contains(&self, address: usize) -> bool {
        self.start <= address && address < self.end
    }

    /// Whether it is plain memory, of no file and not the heap.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.inode == 0 && self.label == Label::None
    }

    /// Whether it is the main thread's stack.
    pub(crate) fn is_stack(&self) -> bool {
        self.label == Label::Stack
    }

    /// Whether it is the kernel's: `[vdso]` and the like.
    pub(crate) fn is_kernels(&self) -> bool {
        self.label == Label::Kernels
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line
            .split(|byte| *byte == b' ')
            .filter(|field| !field.is_empty());
        let (range, permissions, _offset) = (fields.next()?, fields.next()?, fields.next()?);
        let (start, end) = pair(range, b'-')?;
        let (major, minor) = pair(fields.next()?, b':')?;
        let inode = number(fields.next()?)?;
        let name = fields.next().unwrap_or_default();
        Some(Self {
            start: start as usize,
            end: end as usize,
            device: libc::makedev(major as u32, minor as u32),
            inode,
            is_shared: permissions.get(3) == Some(&b's'),
            label: match name {
                b"" => Label::None,
                b"[stack]" => Label::Stack,
                _ if name.starts_with(b"[v") => Label::Kernels,
                _ => Label::Other,
            },
        })
    }
}

/// Calls `f` with each of our own mappings, which it may remove.
pub(crate) fn each_mapping(f: &mut impl FnMut(Mapping)) {
    let _ = each_line(&Path::new().then(b"/proc/self/maps"), &mut |line| {
        if let Some(mapping) = Mapping::parse(line) {
            f(mapping);
        }
    });
}

/// Whether process `pid` maps a file; an error when we cannot know. Who has gone or ended, and the
/// kernel's own, map nothing.
pub(crate) fn maps(pid: u32, device: u64, inode: u64) -> SysResult<bool> {
    let mut found = false;
    let looked = each_line(&Path::of(pid).then(b"/maps"), &mut |line| {
        found |= Mapping::parse(line)
            .is_some_and(|mapping| (mapping.device, mapping.inode) == (device, inode));
    });
    match looked {
        Err(error) if !matches!(error.errno, libc::ENOENT | libc::ESRCH) => Err(error),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_parsed() {
        let file = Mapping::parse(b"7f00-7f10 r-xp 00047000 fe:01 5440 /a b (deleted)").unwrap();
        assert_eq!((file.start, file.end, file.inode), (0x7f00, 0x7f10, 5440));
        assert_eq!(file.device, libc::makedev(0xfe, 1));
        assert!(!file.is_anonymous() && !file.is_stack() && !file.is_shared);
        let arena = Mapping::parse(b"7f00-7f10 rw-s 00000000 00:01 5440 /memfd:a (deleted)");
        assert!(arena.unwrap().is_shared);
        let plain = Mapping::parse(b"7f00-7f10 rw-p 00000000 00:00 0 ").unwrap();
        assert!(plain.is_anonymous() && plain.contains(0x7f0f) && !plain.contains(0x7f10));
        let heap = Mapping::parse(b"7f00-7f10 rw-p 00000000 00:00 0   [heap]").unwrap();
        assert!(!heap.is_anonymous());
        assert!(Mapping::parse(b"7f00-7f10 rw-p 0000").is_none());
    }

    #[test]
    fn our_own_are_read_to_the_end() {
        let mut whole = 0;
        let mut found = false;
        each_mapping(&mut |mapping| {
            whole += 1;
            found |= mapping.contains(&raw const whole as usize);
        });
        assert!(found && whole > 3);
    }

    #[test]
    fn who_has_gone_maps_nothing() {
        assert_eq!(maps(u32::MAX, 1, 1), Ok(false));
    }
}
