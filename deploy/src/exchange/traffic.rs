//! The share of requests that one server gets: the weights of the backend's servers.

use std::collections::{BTreeMap, BTreeSet};

use crate::haproxy::{HaproxyClient, HaproxyError, MAX_WEIGHT, ServerStatus};

/// The servers beside this one that get no requests by their weight now: they are down, drained, in maintenance or `backup`.
pub(crate) fn list_left_out(servers: &[ServerStatus], server: &str) -> BTreeSet<String> {
    servers
        .iter()
        .filter(|one| one.name != server && (!one.is_up() || one.is_backup))
        .map(|one| one.name.clone())
        .collect()
}

/// The weights by which a server gets a share of the requests, in percent, and the others the rest as they shared it before. Those that are left out
/// keep their proportion, as far as there are weights for it, and their part of the rest is not counted: they do not get it.
pub(crate) fn weigh_servers(
    before: &BTreeMap<String, u32>,
    left_out: &BTreeSet<String>,
    server: &str,
    share: u32,
) -> BTreeMap<String, u32> {
    let sum = |counts: &dyn Fn(&String) -> bool| -> u32 {
        before
            .iter()
            .filter(|&(name, _)| name != server && counts(name))
            .map(|(_, weight)| *weight)
            .fold(0, u32::saturating_add)
    };
    let (others, all_left_out) = match sum(&|name| !left_out.contains(name)) {
        // None of them gets a request: the proportion is for when they are back.
        0 => (sum(&|_| true), true),
        counted => (counted, false),
    };
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
    // One that is left out and had a much greater weight would leave the others too few steps to tell their shares apart: it gets the greatest weight.
    let greatest = shares
        .iter()
        .filter(|(name, _)| all_left_out || name.as_str() == server || !left_out.contains(*name))
        .map(|(_, share)| *share)
        .fold(1.0, f64::max);
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

/// Whether one of these servers, beside this one, is up and gets requests by the weights of before.
pub(crate) fn has_way_back<'a>(
    before: &BTreeMap<String, u32>,
    server: &str,
    servers: impl IntoIterator<Item = &'a ServerStatus>,
) -> bool {
    servers.into_iter().any(|one| {
        let weight = before.get(&one.name).copied().unwrap_or(0);
        one.name != server && one.is_up() && weight > 0
    })
}

/// Whether one of these servers gets requests beside this one, by the weights that they have now. Those that are `backup` get none while this one has a
/// weight, whatever theirs is: its share would be all requests.
pub(crate) fn has_server_beside<'a>(
    server: &str,
    servers: impl IntoIterator<Item = &'a ServerStatus>,
) -> bool {
    servers
        .into_iter()
        .any(|one| one.name != server && one.is_up() && !one.is_backup && one.weight > 0)
}

/// The weights of before, but for a server that is the only one up: without its weight no request would have an answer. `None`: it is not.
pub(crate) fn keep_only_server(
    before: &BTreeMap<String, u32>,
    server: &str,
    now: &[ServerStatus],
) -> Option<BTreeMap<String, u32>> {
    let only = now
        .iter()
        .find(|one| one.name == server && one.is_up() && one.weight > 0)?;
    let planned = before.get(server).copied().unwrap_or(0);
    if planned > 0 || has_way_back(before, server, now) {
        return None;
    }
    let mut weights = before.clone();
    weights.insert(server.to_owned(), only.weight);
    Some(weights)
}

/// Sets weights one after the other, in an order that leaves nothing without a server and gives a canary no greater share on the way than it has before or
/// after. Where one cannot be set, the others are, as long as one of them gets requests.
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
    let find = |name: &str| now.iter().find(|server| server.name == *name);
    let gets = |server: &ServerStatus| server.is_up() && server.weight > 0;
    let is_kept = |name: &str| weights.get(name).is_some_and(|weight| *weight > 0);
    let mut gets_requests = now
        .iter()
        .any(|server| gets(server) && is_kept(&server.name));
    let mut order: Vec<(SettingTurn, &str, u32)> = weights
        .iter()
        .map(|(name, weight)| {
            let grows = find(name).is_some_and(|server| server.weight < *weight);
            let turn = match (grows, *weight) {
                (true, weight) if find(name).is_some_and(gets) => {
                    SettingTurn::Grow(MAX_WEIGHT.saturating_sub(weight))
                }
                (true, _) => SettingTurn::Begin,
                (false, 0) if gets_requests => SettingTurn::End,
                (false, 0) => SettingTurn::EndLast,
                (false, weight) => SettingTurn::Shrink(weight),
            };
            (turn, name.as_str(), *weight)
        })
        .collect();
    order.sort();
    let mut problem = None;
    for (_, name, weight) in order {
        if weight == 0 && problem.is_some() && !gets_requests {
            break;
        }
        match set(name, weight) {
            Ok(()) => gets_requests |= weight > 0,
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    problem.map_or(Ok(()), Err)
}

/// When the weight of a server is set, the first at first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SettingTurn {
    /// It has requests and gets more: the one with the greatest weight first.
    Grow(u32),
    /// It has none and gets some.
    Begin,
    /// It loses all, beside others that have requests and keep some.
    End,
    /// It loses some: the one with the smallest weight first.
    Shrink(u32),
    /// It loses all, and until now nobody else had any.
    EndLast,
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
    fn a_canary_has_no_greater_share_on_the_way_than_before_or_after() {
        // The weights of a canary and of two others before and after: a first share and the next ones, the way back, a canary without the others.
        for (before, after) in [
            ([0, 100, 100], [28, 256, 256]),
            ([28, 256, 256], [57, 256, 256]),
            ([28, 256, 256], [85, 128, 128]),
            ([28, 256, 256], [0, 100, 100]),
            ([28, 256, 128], [0, 100, 50]),
            ([11, 100, 50], [28, 256, 128]),
            ([28, 256, 128], [11, 100, 50]),
            ([256, 64, 64], [0, 10, 10]),
            ([256, 64, 64], [0, 256, 256]),
            ([256, 0, 0], [0, 100, 100]),
            ([0, 256, 0], [256, 0, 0]),
        ] {
            let names = ["canary", "one", "two"];
            let of = |weights: [u32; 3]| -> BTreeMap<String, u32> {
                collect_weights(&[0, 1, 2].map(|at| (names[at], weights[at])))
            };
            let share = |weights: &BTreeMap<String, u32>, name: &str| {
                f64::from(weights[name]) / f64::from(weights.values().sum::<u32>())
            };
            let (before, after) = (of(before), of(after));
            let mut now = before.clone();
            let servers: Vec<_> = before
                .iter()
                .map(|(name, weight)| build_server(name, *weight))
                .collect();
            let set = set_all(&servers, &after, &mut |name, weight| {
                now.insert(name.to_owned(), weight);
                assert!(now.values().any(|weight| *weight > 0), "{now:?}");
                let most = share(&before, "canary").max(share(&after, "canary"));
                assert!(
                    share(&now, "canary") < most + 0.001,
                    "{before:?} -> {now:?} -> {after:?}"
                );
                Ok::<(), ()>(())
            });
            assert_eq!((set, now), (Ok(()), after));
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
                let found = weigh_servers(&before, &BTreeSet::new(), "canary", share);
                assert!(found.values().all(|weight| *weight <= MAX_WEIGHT));
                let sum: u32 = found.values().sum();
                let got = 100.0 * f64::from(found["canary"]) / f64::from(sum);
                assert!((got - f64::from(share)).abs() < 1.0, "{share}: {found:?}");
                assert!(found.values().all(|weight| *weight > 0), "{found:?}");
            }
        }
        let all = weigh_servers(
            &collect_weights(&[("canary", 0), ("one", 100)]),
            &BTreeSet::new(),
            "canary",
            100,
        );
        assert_eq!(all, collect_weights(&[("canary", 256), ("one", 0)]));
    }

    #[test]
    fn a_server_that_is_down_takes_no_precision_from_the_share() {
        for weight in [1, 30, 100, 256] {
            for share in [10, 25, 50] {
                let before = collect_weights(&[("canary", 0), ("one", 1), ("two", weight)]);
                let left_out = BTreeSet::from(["two".to_owned()]);
                let found = weigh_servers(&before, &left_out, "canary", share);
                let got =
                    100.0 * f64::from(found["canary"]) / f64::from(found["canary"] + found["one"]);
                assert!((got - f64::from(share)).abs() < 1.0, "{weight}: {found:?}");
                assert!(found["two"] >= found["one"], "{found:?}");
            }
        }
    }

    #[test]
    fn a_share_is_one_of_the_servers_that_get_requests() {
        let mut before = vec![("canary".to_owned(), 0)];
        before.extend((0..10).map(|number| (format!("stable-{number}"), 100)));
        let before: BTreeMap<String, u32> = before.into_iter().collect();
        type Change = fn(&mut ServerStatus);
        let changes: [Change; 4] = [
            |one| one.status = "DOWN".to_owned(),
            |one| one.status = "MAINT".to_owned(),
            |one| one.status = "DRAIN".to_owned(),
            |one| one.is_backup = true,
        ];
        for change in changes {
            for up in [1, 3, 10] {
                for share in [10, 25, 50] {
                    let servers: Vec<ServerStatus> = before
                        .keys()
                        .enumerate()
                        .map(|(index, name)| {
                            let mut server = build_server(name, before[name]);
                            // The first one is the canary.
                            if index > up {
                                change(&mut server);
                            }
                            server
                        })
                        .collect();
                    let left_out = list_left_out(&servers, "canary");
                    assert_eq!(left_out.len(), 10 - up);
                    let found = weigh_servers(&before, &left_out, "canary", share);
                    let got: u32 = found
                        .iter()
                        .filter(|(name, _)| !left_out.contains(*name))
                        .map(|(_, weight)| *weight)
                        .sum();
                    let got = 100.0 * f64::from(found["canary"]) / f64::from(got);
                    assert!((got - f64::from(share)).abs() < 1.0, "{up}: {found:?}");
                    // Those that are back get what the others get.
                    let weights: BTreeSet<u32> = found
                        .iter()
                        .filter(|(name, _)| *name != "canary")
                        .map(|(_, weight)| *weight)
                        .collect();
                    assert_eq!(weights.len(), 1, "{found:?}");
                }
            }
        }
        // None of the others is up: each keeps something.
        let all: BTreeSet<String> = before
            .keys()
            .filter(|name| *name != "canary")
            .cloned()
            .collect();
        let found = weigh_servers(&before, &all, "canary", 50);
        assert_eq!(
            found,
            weigh_servers(&before, &BTreeSet::new(), "canary", 50)
        );
    }

    #[test]
    fn a_backup_server_is_a_way_back_and_takes_no_part_of_the_requests_beside_another() {
        let before = collect_weights(&[("canary", 0), ("one", 100)]);
        type Change = fn(&mut ServerStatus);
        let cases: [(Change, [bool; 2]); 5] = [
            (|_| {}, [true, true]),
            (|one| one.is_backup = true, [false, true]),
            (|one| one.status = "DRAIN".to_owned(), [false, false]),
            // Somebody has given it another weight.
            (|one| one.weight = 0, [false, true]),
            (|one| one.name = "canary".to_owned(), [false, false]),
        ];
        for (number, (change, expected)) in cases.into_iter().enumerate() {
            let mut other = build_server("one", 100);
            change(&mut other);
            let servers = [build_server("canary", 28), other];
            let found = [
                has_server_beside("canary", &servers),
                has_way_back(&before, "canary", &servers),
            ];
            assert_eq!(found, expected, "{number}");
        }
    }

    #[test]
    fn weights_beyond_all_bounds_are_weights() {
        let before = collect_weights(&[("canary", 0), ("one", u32::MAX), ("two", u32::MAX)]);
        let found = weigh_servers(&before, &BTreeSet::new(), "canary", 50);
        assert!(found.values().all(|weight| *weight <= MAX_WEIGHT));
    }

    #[test]
    fn the_only_server_that_is_up_keeps_its_requests() {
        let before = collect_weights(&[("canary", 0), ("one", 100), ("two", 0)]);
        // Which are up, and whether the canary must keep its weight.
        for (up, keeps) in [
            (&["canary", "one", "two"][..], false),
            (&["canary", "one"], false),
            // A server that had no requests before takes none after.
            (&["canary", "two"], true),
            (&["canary"], true),
            (&["one"], false),
            // Nobody has requests, whatever the weights.
            (&[], false),
        ] {
            let servers: Vec<ServerStatus> = [("canary", 28), ("one", 256), ("two", 0)]
                .iter()
                .map(|(name, weight)| {
                    let mut server = build_server(name, *weight);
                    if !up.contains(name) {
                        server.status = "DOWN".to_owned();
                    }
                    server
                })
                .collect();
            let found = keep_only_server(&before, "canary", &servers);
            let expected =
                keeps.then(|| collect_weights(&[("canary", 28), ("one", 100), ("two", 0)]));
            assert_eq!(found, expected, "{up:?}");
        }
    }
}
