//! Whether a front denies more than chance explains: a significance test of its denials.
//!
//! Invariant: the probability is the exact one of the binomial distribution, also for few decisions; the level is one-sided, in standard deviations of the
//! normal distribution.
//!
//! Must not know: tripwires, where counts come from.

use crate::canary::plan::Baseline;

/// Whether more is denied than chance explains: a binomial test with the share of before, one-sided, at the level of that many standard
/// deviations. An earlier share of 0 or 1 does not mean certainty: one denial and one approval are added to what was seen (Laplace).
pub(super) fn find_more_denials(
    before: Baseline,
    (judged, denied): (u64, u64),
    sigmas: f64,
) -> Option<String> {
    let share = (before.denied as f64 + 1.0) / (before.decisions as f64 + 2.0);
    let now = denied as f64 / judged.max(1) as f64;
    if now <= share || upper_tail(judged, denied, share) >= normal_tail(sigmas) {
        return None;
    }
    Some(format!(
        "{denied} of {judged} decisions denied, {} of {} before: more than {sigmas} sigma above",
        before.denied, before.decisions
    ))
}

/// The probability of at least `least` of `tries`, each with `share`.
fn upper_tail(tries: u64, least: u64, share: f64) -> f64 {
    // The logarithm of the first term, then each from the one before it.
    let (up, down) = (share.ln(), (1.0 - share).ln());
    let mut term = least as f64 * up + (tries - least.min(tries)) as f64 * down;
    for index in 0..least.min(tries) {
        term += ((tries - index) as f64).ln() - ((index + 1) as f64).ln();
    }
    let mut sum = 0.0;
    for found in least..=tries {
        let part = term.exp();
        sum += part;
        // The terms fall from here on: what is left adds nothing.
        if part < sum * 1e-12 && found as f64 > tries as f64 * share {
            break;
        }
        term += ((tries - found) as f64).ln() - ((found + 1) as f64).ln() + up - down;
    }
    sum.min(1.0)
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

    #[test]
    fn denials_are_tested_against_chance() {
        assert!((normal_tail(3.0) - 0.001_35).abs() < 1e-5);
        assert!((upper_tail(10, 0, 0.5) - 1.0).abs() < 1e-9);
        assert!((upper_tail(10, 9, 0.5) - 11.0 / 1024.0).abs() < 1e-9);
        let tests = |before: (u64, u64), now: (u64, u64)| {
            let baseline = Baseline {
                decisions: before.0,
                denied: before.1,
            };
            find_more_denials(baseline, now, 3.0).is_some()
        };
        assert!(!tests((1000, 100), (100, 15)) && tests((1000, 100), (100, 25)));
        // Nothing was denied before, or everything.
        assert!(!tests((100, 0), (100, 1)) && tests((1000, 0), (100, 5)));
        assert!(!tests((100, 100), (100, 100)) && !tests((0, 0), (30, 20)));
    }
}
