//! The share of requests that one server gets: the weights of the backend's servers.

use std::collections::BTreeMap;

use crate::haproxy::{HaproxyClient, HaproxyError, MAX_WEIGHT};

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

/// Sets weights: those that grow first, so that nothing is without a server.
pub(crate) fn set_weights(
    haproxy: &HaproxyClient,
    backend: &str,
    weights: &BTreeMap<String, u32>,
) -> Result<(), HaproxyError> {
    let now = haproxy.show_servers(backend)?;
    let grows = |name: &String, weight: &u32| {
        let server = now.iter().find(|server| server.name == *name);
        server.is_some_and(|server| server.weight < *weight)
    };
    for is_growing in [true, false] {
        for (name, weight) in weights {
            if grows(name, weight) == is_growing {
                haproxy.set_weight(backend, name, *weight)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect_weights(of: &[(&str, u32)]) -> BTreeMap<String, u32> {
        of.iter()
            .map(|(name, weight)| ((*name).to_owned(), *weight))
            .collect()
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
