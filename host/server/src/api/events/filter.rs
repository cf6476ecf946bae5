//! Which events a client follows.

use ark_model::ids::Name;

/// Names of the kinds, in `kinds=`.
pub(in crate::api) const KINDS: [&str; 9] = [
    "decision",
    "failure",
    "execution",
    "control",
    "operator",
    "approval",
    "amendment",
    "deployment",
    "alert",
];

/// The events that a client follows. Equal filters select equal events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::api) struct EventFilter {
    /// A bit for each of [`KINDS`].
    kinds: u16,
    agent: Option<Name>,
}

impl EventFilter {
    /// Selects events of these kinds (`None`: of all) about this agent (`None`: about any or none).
    pub(in crate::api) fn new(kinds: Option<&[&str]>, agent: Option<Name>) -> Self {
        let kinds = kinds.map_or(u16::MAX, |kinds| {
            kinds.iter().fold(0, |mask, kind| mask | kind_bit(kind))
        });
        Self { kinds, agent }
    }

    pub(in crate::api) fn includes(&self, kind: &str, agent: Option<&Name>) -> bool {
        self.kinds & kind_bit(kind) != 0
            && self
                .agent
                .as_ref()
                .is_none_or(|wanted| agent == Some(wanted))
    }
}

/// The bit of a kind; 0 for an unknown kind.
fn kind_bit(kind: &str) -> u16 {
    let index = KINDS.iter().position(|known| *known == kind);
    index.map_or(0, |index| 1 << index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_selects_kinds_and_an_agent() {
        let joey: Name = "joey".parse().unwrap();
        let kyle: Name = "kyle".parse().unwrap();
        let all = EventFilter::new(None, None);
        let some = EventFilter::new(Some(&["alert", "decision"]), Some(joey.clone()));
        for kind in KINDS {
            assert!(all.includes(kind, None) && all.includes(kind, Some(&joey)));
            let selected = kind == "alert" || kind == "decision";
            assert_eq!(some.includes(kind, Some(&joey)), selected, "{kind}");
            assert!(!some.includes(kind, Some(&kyle)) && !some.includes(kind, None));
        }
        assert_eq!(
            some,
            EventFilter::new(Some(&["decision", "alert", "alert"]), Some(joey))
        );
    }
}
