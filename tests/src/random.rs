//! Choices of a test that a seed repeats.

use std::time::{SystemTime, UNIX_EPOCH};

/// A generator of numbers (xorshift64*): the same seed gives the same numbers. Not for secrets.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Returns the generator of a seed.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        // A state of zero would stay zero.
        Self(seed | 1)
    }

    /// Returns a generator whose seed is the clock's last digits: for moments that no run is to repeat.
    ///
    /// # Panics
    /// The clock stands before 1970.
    #[must_use]
    pub fn from_clock() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock");
        Self::from_seed(u64::from(now.subsec_nanos()).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Returns the next number below a bound.
    ///
    /// # Panics
    /// The bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    /// Returns one of these, each as likely as the others.
    ///
    /// # Panics
    /// There is none.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        let index = self.below(among.len() as u64);
        &among[usize::try_from(index).expect("an index")]
    }
}
