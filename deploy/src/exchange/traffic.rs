//! The share of requests that one server gets: the weights of the backend's servers.

use std::collections::BTreeMap;

use crate::haproxy::{HaproxyClient, HaproxyError, MAX_WEIGHT, ServerStatus};

/// The weights by which a server gets a share of the requests, in percent, and the others the rest as they shared it before.
pub(crate) fn weigh_servers(
    before: &BTreeMap<String, u32>,
    server: &str,
    share: u32,
) -> BTreeMap<String, u32> {
    let others: u32 = before
        .iter()
        .filter(|(name, _)| *name != server)
        .map(|(_, weight)| *weight)
        .sum();
    // By how much of all requests each server gets, times 100.
    let shares: Vec<(&String, f64)> = before
        .iter()
        .map(|(name, weight)| {
            let wanted = if name == server {
                f64::from(share)
            } else {
                f64::from(100 - share) * f64::from(*weight) / f64::from(others.max(1))
            };
            (name, wanted)
        })
        .collect();
    let greatest = shares.iter().map(|(_, share)| *share).fold(1.0, f64::max);
    let scale = f64::from(MAX_WEIGHT) / greatest;
    let weigh = |share: f64| {
        // What gets something keeps something.
        let least = if share > 0.0 { 1.0 } else { 0.0 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 256"
        )]
        let weight = (share * scale).round().clamp(least, f64::from(MAX_WEIGHT)) as u32;
        weight
    };
    shares
        .into_iter()
        .map(|(name, share)| (name.clone(), weigh(share)))
        .collect()
}

/// The weights as an operator reads them.
pub(crate) fn list_weights(weights: &BTreeMap<String, u32>) -> String {
    let all = weights
        .iter()
        .map(|(name, weight)| format!("{name} {weight}"));
    all.collect::<Vec<_>>().join(", ")
}

/// Sets weights: those that grow first, so that nothing is without a server. Where one cannot be set, the others are, as long as one of them gets
/// requests.
///
/// # Errors
/// The first weight that could not be set.
pub(crate) fn set_weights(
    haproxy: &HaproxyClient,
    backend: &str,
    weights: &BTreeMap<String, u32>,
) -> Result<(), HaproxyError> {
    let now = haproxy.show_servers(backend)?;
    set_all(&now, weights, &mut |name, weight| {
        haproxy.set_weight(backend, name, weight)
    })
}

/// As [`set_weights`]. `now`: the servers that there are.
fn set_all<E>(
    now: &[ServerStatus],
    weights: &BTreeMap<String, u32>,
    set: &mut dyn FnMut(&str, u32) -> Result<(), E>,
) -> Result<(), E> {
    let grows = |name: &String, weight: &u32| {
        let server = now.iter().find(|server| server.name == *name);
        server.is_some_and(|server| server.weight < *weight)
    };
    let (mut problem, mut gets_requests) = (None, false);
    // Of those that shrink, those that keep something come first.
    for (is_growing, is_kept) in [(true, true), (false, true), (false, false)] {
        for (name, weight) in weights {
            if grows(name, weight) != is_growing || (*weight > 0) != is_kept {
                continue;
            }
            if !is_kept && problem.is_some() && !gets_requests {
                break;
            }
            match set(name, *weight) {
                Ok(()) => gets_requests |= *weight > 0,
                Err(error) => problem = problem.or(Some(error)),
            }
        }
    }
    problem.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use crate::fixtures::build_server;

    use super::*;

    fn collect_weights(of: &[(&str, u32)]) -> BTreeMap<String, u32> {
        of.iter()
            .map(|(name, weight)| ((*name).to_owned(), *weight))
            .collect()
    }

    #[test]
    fn a_server_that_is_gone_keeps_no_other_from_its_weight_unless_none_would_be_left() {
        let weights = collect_weights(&[("canary", 0), ("one", 100), ("two", 100)]);
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, u32)]);
        let cases: [Case<'_>; 4] = [
            (&[], &[("one", 100), ("two", 100), ("canary", 0)]),
            (&["one"], &[("two", 100), ("canary", 0)]),
            (&["one", "two"], &[]),
            (&["canary"], &[("one", 100), ("two", 100)]),
        ];
        for (gone, expected) in cases {
            let servers = [("canary", 256), ("one", 0), ("two", 0)];
            let there = servers.iter().filter(|(name, _)| !gone.contains(name));
            let now: Vec<_> = there
                .map(|(name, weight)| build_server(name, *weight))
                .collect();
            let mut done = Vec::new();
            let set = set_all(&now, &weights, &mut |name, weight| {
                if gone.contains(&name) {
                    return Err(name.to_owned());
                }
                done.push((name.to_owned(), weight));
                Ok(())
            });
            assert_eq!(set.err().as_deref(), gone.first().copied());
            let done: Vec<(&str, u32)> = done.iter().map(|(name, of)| (&**name, *of)).collect();
            assert_eq!(done, expected, "{gone:?}");
        }
    }

    #[test]
    fn a_server_gets_its_share_and_the_others_keep_their_proportion() {
        for before in [
            collect_weights(&[("canary", 0), ("one", 100)]),
            collect_weights(&[("canary", 0), ("one", 100), ("two", 50)]),
            collect_weights(&[("canary", 0), ("one", 256), ("two", 256), ("three", 1)]),
        ] {
            for share in [1, 10, 25, 50, 99] {
                let found = weigh_servers(&before, "canary", share);
                assert!(found.values().all(|weight| *weight <= MAX_WEIGHT));
                let sum: u32 = found.values().sum();
                let got = 100.0 * f64::from(found["canary"]) / f64::from(sum);
                assert!((got - f64::from(share)).abs() < 1.0, "{share}: {found:?}");
                assert!(found.values().all(|weight| *weight > 0), "{found:?}");
            }
        }
        let all = weigh_servers(
            &collect_weights(&[("canary", 0), ("one", 100)]),
            "canary",
            100,
        );
        assert_eq!(all, collect_weights(&[("canary", 256), ("one", 0)]));
    }
}
