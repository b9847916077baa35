//! The kernel's words made safe to say.
//!
//! Everything that procession asks of Linux passes through here: futexes, memory files, the
//! liveness lock, clocks and limits. Each module wraps one facility, owns its unsafe calls with
//! their proofs, and knows nothing of what the arena looks like.

pub mod clock;
pub mod cpu;
pub mod crash;
pub mod doorbell;
pub mod error;
pub mod file;
pub mod foresight;
pub mod futex;
pub mod guard;
pub mod hermit;
pub mod limits;
pub mod map;
pub mod ofd;
pub mod prim;
pub mod process;
pub mod procfs;
pub mod region;
pub mod segment;
pub mod stream;

pub use error::{SysError, SysResult};
