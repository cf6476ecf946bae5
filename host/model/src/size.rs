//! Sizes of trades and exposures, as whole units of 1e-9 of the capital.
//!
//! Sums of whole units are exact: what was added can be taken away again without a rest, and two sizes can be compared for equality.
//!
//! Must not know: orders, limits, storage.

use crate::ids::Fraction;

/// Units in the whole capital.
const UNITS_OF_CAPITAL: f64 = 1e9;
/// The largest size: what a column of an SQL database holds. It is nine thousand million times the capital.
const LARGEST: u64 = i64::MAX as u64;

/// A size in units of 1e-9 of the capital.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(u64);

impl Size {
    /// A size of 0.
    pub const ZERO: Self = Self(0);

    /// Makes a size of this many units. More than the largest size is the largest size.
    #[must_use]
    pub const fn from_units(units: u64) -> Self {
        Self(if units > LARGEST { LARGEST } else { units })
    }

    /// Returns the number of units.
    #[must_use]
    pub const fn units(self) -> u64 {
        self.0
    }

    /// Returns the size of a fraction of the capital. A part of a unit counts as a whole one, but for the thousandth of
    /// a unit that a rounding may add.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction is finite and not negative, and the cast saturates"
    )]
    pub fn from_fraction(fraction: Fraction) -> Self {
        // The product may exceed the exact value by one unit in the last place. That must not round up to another unit.
        Self::from_units((fraction.get() * UNITS_OF_CAPITAL - 1e-3).ceil().max(0.0) as u64)
    }

    /// Returns the size as a fraction of the capital. It is exact to the last unit for less than nine million times the capital.
    #[must_use]
    pub fn as_fraction(self) -> f64 {
        self.0 as f64 / UNITS_OF_CAPITAL
    }

    /// Returns whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Returns the sum, at most the largest size.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::from_units(self.0.saturating_add(other.0))
    }

    /// Returns the difference, or nothing when it would be negative.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::iter::Sum for Size {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::ZERO, Self::saturating_add)
    }
}

/// Writes the fraction of the capital: `0.05`.
impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_fraction().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_size(fraction: f64) -> Size {
        Size::from_fraction(Fraction::new(fraction).unwrap())
    }

    #[test]
    fn fractions_become_whole_units_and_sums_of_them_do_not_drift() {
        for (fraction, units) in [
            (0.0, 0),
            (0.03, 30_000_000),
            (0.07, 70_000_000),
            (0.1 + 0.2, 300_000_000),
            (1.0, 1_000_000_000),
            (1e-13, 0),
            (1e-11, 1),
            (f64::MAX, LARGEST),
        ] {
            assert_eq!(make_size(fraction).units(), units, "{fraction}");
        }
        let parts: Size = (0..10).map(|_| make_size(0.01)).sum();
        assert_eq!(parts, make_size(0.1));
        assert_eq!(parts.saturating_sub(make_size(0.1)), Size::ZERO);
        assert_eq!(make_size(0.01).saturating_sub(make_size(0.02)), Size::ZERO);
        assert_eq!(make_size(0.03).to_string(), "0.03");
    }
}
