//! Sets of steps, as bits.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub, SubAssign};

/// The most steps that a saga under check can have.
pub const MAX_STEPS: usize = 4;

/// A set of steps of a small saga.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Steps(u8);

impl Steps {
    /// No step.
    pub const NONE: Self = Self(0);

    /// The first `count` steps.
    #[must_use]
    pub const fn first(count: usize) -> Self {
        Self(((1u16 << count) - 1) as u8)
    }

    /// One step.
    #[must_use]
    pub const fn one(step: usize) -> Self {
        Self(1 << step)
    }

    /// The steps whose bits are set.
    #[must_use]
    pub const fn of_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// One bit for each step.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether the step is one of them.
    #[must_use]
    pub const fn has(self, step: usize) -> bool {
        self.0 & (1 << step) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many they are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether all of them are in `others`.
    #[must_use]
    pub const fn within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// Whether one of them is in `others`.
    #[must_use]
    pub const fn meets(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Puts a step in, or takes it out.
    pub const fn set(&mut self, step: usize, is_in: bool) {
        if is_in { self.0 |= 1 << step } else { self.0 &= !(1 << step) }
    }

    /// The steps, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..8).filter(move |step| self.has(*step))
    }

    /// Every subset, the empty one first.
    pub fn subsets(self) -> impl Iterator<Item = Self> {
        (0..=self.0).map(Self).filter(move |some| some.within(self))
    }
}

impl BitOr for Steps {
    type Output = Self;

    fn bitor(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

impl BitAnd for Steps {
    type Output = Self;

    fn bitand(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }
}

impl Sub for Steps {
    type Output = Self;

    fn sub(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

impl BitOrAssign for Steps {
    fn bitor_assign(&mut self, others: Self) {
        self.0 |= others.0;
    }
}

impl SubAssign for Steps {
    fn sub_assign(&mut self, others: Self) {
        self.0 &= !others.0;
    }
}

impl FromIterator<usize> for Steps {
    fn from_iter<I: IntoIterator<Item = usize>>(steps: I) -> Self {
        steps.into_iter().fold(Self::NONE, |all, step| all | Self::one(step))
    }
}

/// The name of a step: its letter.
#[must_use]
pub fn name(step: usize) -> char {
    char::from(b'a' + step as u8)
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { "," }, name(step))?;
        }
        Ok(())
    }
}
