//! Whether a front denies more than chance explains: a significance test of its denials.
//!
//! Invariants: both counts are samples, so a short time before makes the test careful; the probability is the exact one of the distribution, also for few
//! decisions; the level is one-sided, in standard deviations of the normal distribution, and holds for each check.
//!
//! Must not know: tripwires, where counts come from.

use libm::lgamma;

use crate::canary::plan::Baseline;

/// The largest sample that is told from a larger one. A share is known to 0.01 % by it, and logarithms of the gamma function to a millionth.
const MAX_SAMPLE: f64 = 1e8;

/// Whether more is denied than chance explains, one-sided, at the level of that many standard deviations.
///
/// The share of denials before is not known, only a sample of it: after `denied` of `decisions` it is distributed as Beta(denied + 1, decisions - denied + 1),
/// if all shares were equally likely at first (Bayes, Laplace). The denials among `judged` further decisions then have the beta-binomial distribution, of
/// which the upper tail is taken. A share of 0 or 1 before is no certainty by that.
pub(super) fn find_more_denials(
    before: Baseline,
    (judged, denied): (u64, u64),
    sigmas: f64,
) -> Option<String> {
    let (was, is) = (
        Sample::of(before.decisions, before.denied),
        Sample::of(judged, denied),
    );
    if is.denied <= is.all * was.expect_share() || upper_tail(was, is) >= normal_tail(sigmas) {
        return None;
    }
    Some(format!(
        "{denied} of {judged} decisions denied, {} of {} before: more than {sigmas} sigma above",
        before.denied, before.decisions
    ))
}

/// Decisions, and how many of them were denied.
#[derive(Clone, Copy)]
struct Sample {
    all: f64,
    denied: f64,
}

impl Sample {
    /// A sample of at most [`MAX_SAMPLE`] decisions, with the share of all of them.
    fn of(all: u64, denied: u64) -> Self {
        let scale = (all as f64 / MAX_SAMPLE).max(1.0);
        Self {
            all: (all as f64 / scale).round(),
            denied: (denied.min(all) as f64 / scale).round(),
        }
    }

    /// The parameters of the distribution of the share that it was taken from: the denials and the others, each with one added.
    fn weigh(self) -> (f64, f64) {
        (self.denied + 1.0, self.all - self.denied + 1.0)
    }

    /// The mean of that distribution.
    fn expect_share(self) -> f64 {
        let (denied, others) = self.weigh();
        denied / (denied + others)
    }
}

/// The probability of at least as many denials as now, after what was seen before. Now there are more than expected.
fn upper_tail(before: Sample, now: Sample) -> f64 {
    let (denied, others) = before.weigh();
    let (all, mut found) = (now.all, now.denied);
    // The first term, C(n, k) B(k + a, n - k + b) / B(a, b), by its logarithm: it may be smaller than any number.
    let first = ln_choose(all, found) + ln_beta(found + denied, all - found + others)
        - ln_beta(denied, others);
    // The others as multiples of the first, each from the one before it.
    let (mut sum, mut part) = (1.0_f64, 1.0_f64);
    while found < all {
        let ratio = (all - found) / (found + 1.0) * (found + denied) / (all - found - 1.0 + others);
        part *= ratio;
        sum += part;
        found += 1.0;
        // Behind the most likely number the terms fall faster and faster: what is left adds nothing.
        if ratio < 1.0 && part <= sum * 1e-12 * (1.0 - ratio) {
            break;
        }
    }
    (first + sum.ln()).exp().min(1.0)
}

/// The logarithm of the beta function.
fn ln_beta(one: f64, other: f64) -> f64 {
    lgamma(one) + lgamma(other) - lgamma(one + other)
}

/// The logarithm of the number of ways to choose `some` of `all`.
fn ln_choose(all: f64, some: f64) -> f64 {
    lgamma(all + 1.0) - lgamma(some + 1.0) - lgamma(all - some + 1.0)
}

/// The probability that a normal variable is more than that many standard deviations above its mean.
fn normal_tail(sigmas: f64) -> f64 {
    // Abramowitz and Stegun 26.2.17, for 0 and more: the error is below 7.5e-8.
    let sigmas = sigmas.max(0.0);
    let t = 1.0 / 0.231_641_9_f64.mul_add(sigmas, 1.0);
    let factors = [
        1.330_274_429,
        -1.821_255_978,
        1.781_477_937,
        -0.356_563_782,
        0.319_381_530,
    ];
    let sum = factors.iter().fold(0.0, |sum, factor| (sum + factor) * t);
    (-0.5 * sigmas * sigmas).exp() / std::f64::consts::TAU.sqrt() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_more(before: (u64, u64), now: (u64, u64)) -> bool {
        let baseline = Baseline {
            decisions: before.0,
            denied: before.1,
        };
        find_more_denials(baseline, now, 3.0).is_some()
    }

    #[test]
    fn the_tail_is_that_of_the_distribution() {
        assert!((normal_tail(3.0) - 0.001_35).abs() < 1e-5);
        let tail = |(decisions, denied), tries, least| {
            upper_tail(Sample::of(decisions, denied), Sample::of(tries, least))
        };
        // Where nothing was seen, each number is as likely as any other.
        assert!((tail((0, 0), 10, 9) - 2.0 / 11.0).abs() < 1e-9);
        // Beta(2, 1): the share is distributed as the larger of two; 10 of 10 are 2/12.
        assert!((tail((1, 1), 10, 10) - 2.0 / 12.0).abs() < 1e-9);
        // Where much was seen, it is the binomial distribution.
        let binomial = 11.0 / 1024.0;
        assert!((tail((100_000_000, 50_000_000), 10, 9) - binomial).abs() < 1e-6);
    }

    #[test]
    fn denials_are_tested_against_chance() {
        for (before, now, more) in [
            ((1_000, 100), (100, 15), false),
            ((1_000, 100), (100, 25), true),
            // Nothing was denied before, or everything.
            ((100, 0), (100, 1), false),
            ((1_000, 0), (100, 5), true),
            ((100, 100), (100, 100), false),
            ((0, 0), (30, 20), false),
            // A short time before says little, however much came after it.
            ((30, 3), (2_000, 400), false),
            ((30, 3), (2_000, 1_200), true),
            ((3_600, 360), (36_000, 3_900), false),
            ((3_600, 360), (36_000, 4_600), true),
            // More than there are numbers of, and none.
            ((30, 0), (0, 0), false),
            ((30, 0), (10, 20), true),
            ((1_000_000_000, 0), (1_000_000_000, 1_000_000_000), true),
            (
                (1_000_000_000, 500_000_000),
                (1_000_000_000, 500_000_100),
                false,
            ),
        ] {
            assert_eq!(is_more(before, now), more, "{before:?} {now:?}");
        }
    }

    /// The next number of a sequence that looks random (xorshift), from 0 to 1.
    fn draw(state: &mut u64) -> f64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn a_version_that_denies_as_before_is_seldom_accused() {
        let mut state = 0x2545_f491_4f6c_dd1d;
        for (share, before, now) in [
            (0.1, 30, 2_000),
            (0.1, 300, 3_000),
            (0.1, 1_000, 1_000),
            (0.5, 100, 2_000),
            (0.01, 1_000, 3_000),
        ] {
            let trials = 1_000;
            let mut accused = 0;
            for _ in 0..trials {
                let mut count =
                    |tries: u64| (0..tries).filter(|_| draw(&mut state) < share).count() as u64;
                let (was, is) = (count(before), count(now));
                accused += u32::from(is_more((before, was), (now, is)));
            }
            // 1.35 are expected of 1,000; more than 7 come in fewer than one of 4,000 such series.
            assert!(
                accused <= 7,
                "{share} {before} {now}: {accused} of {trials}"
            );
        }
    }
}
