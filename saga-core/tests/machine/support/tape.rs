//! Choices, made in advance.

/// A tape of random numbers from which a plan, a world and a run's whole fate are read.
///
/// A blank tape reads as zeroes, and zero is always the harmless choice, so a failing case shrinks to the one in which as
/// little as possible goes wrong.
#[derive(Debug, Clone)]
pub struct Tape {
    values: Vec<u32>,
    at: usize,
}

impl Tape {
    pub fn new(values: Vec<u32>) -> Self {
        Self { values, at: 0 }
    }

    pub fn is_blank(&self) -> bool {
        self.at >= self.values.len()
    }

    pub fn next(&mut self) -> u32 {
        let value = self.values.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        value
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.next() as usize % n }
    }

    /// Whether something happens that happens in so many of a hundred cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.next() % 100 >= 100 - percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
