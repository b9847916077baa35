//! Who owns a word: a process, told apart from every other that had its slot.

use std::fmt;

/// A process in an arena: slot and generation, as they stand in words.
///
/// ```text
/// 29..12  generation of the slot, modulo 2^18
/// 11..0   slot + 1      0 = nobody, 4095 = no process: left held by a clean exit, or by a
///                       death that the sweeper has seen
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OwnerId(u32);

impl OwnerId {
    /// The bits of a word that name its owner.
    pub const MASK: u32 = (1 << 30) - 1;
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Held on purpose by a process that has exited cleanly: never dead, never alive.
    pub const DETACHED: Self = Self(0xFFF);
    /// A dead holder whose slot has been swept: dead for ever, whoever has the slot now.
    pub const DECEASED: Self = Self(1 << 12 | 0xFFF);

    /// The owner in `slot` at `generation`.
    #[must_use]
    pub fn new(slot: usize, generation: u32) -> Self {
        Self(((generation & Self::GENERATIONS) << 12) | (slot as u32 + 1))
    }

    const GENERATIONS: u32 = (1 << 18) - 1;

    /// The owner that `word` names, whatever its other bits say.
    #[must_use]
    #[inline]
    pub const fn of_word(word: u32) -> Self {
        Self(word & Self::MASK)
    }

    /// The bits, as they go into a word.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether this names nobody.
    #[must_use]
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The slot; None for nobody, DETACHED and DECEASED.
    #[must_use]
    pub fn slot(self) -> Option<usize> {
        let slot = (self.0 & 0xFFF) as usize;
        (slot != 0 && slot != 0xFFF).then(|| slot - 1)
    }

    /// Whether this owner had its slot at `generation`.
    #[must_use]
    pub fn is_generation(self, generation: u32) -> bool {
        self.0 >> 12 == generation & Self::GENERATIONS
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot() {
            Some(slot) => write!(f, "owner {slot}.{}", self.0 >> 12),
            None if self.is_none() => f.write_str("nobody"),
            None if *self == Self::DECEASED => f.write_str("deceased"),
            None => f.write_str("detached"),
        }
    }
}

/// Tells the dead from the living. Algorithms ask, they do not guess; tests answer as they like.
pub trait Liveness {
    /// True only when no instruction of that process can run any more.
    fn is_dead(&self, owner: OwnerId) -> bool;

    /// The pid that `owner` has or had; 0 when unknown.
    fn pid_of(&self, owner: OwnerId) -> u32 {
        let _ = owner;
        0
    }

    /// Asked by who has waited long for an internal lock: also whether the process recorded
    /// for `owner` has gone while a stray child keeps its slot looking alive.
    fn is_dead_after_long_wait(&self, owner: OwnerId) -> bool {
        self.is_dead(owner)
    }
}
