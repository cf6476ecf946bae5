//! The operator's lists as rules' facts need them: what is on a list, from the configuration and over the API together.

use std::collections::{BTreeMap, HashMap, HashSet};

use ark_model::action::{Action, DataHandling};
use ark_model::facts::Consent;
use ark_model::ids::{Digest, Name};
use ark_store::{List, ListEntry};

/// The lists.
#[derive(Debug, Default)]
pub(super) struct OperatorLists {
    pub(super) restricted: HashSet<String>,
    pub(super) client_orders: HashSet<String>,
    pub(super) validated_sources: HashSet<String>,
    consents: HashMap<String, bool>,
    vetoes: Vec<Veto>,
    configured: Vec<ListEntry>,
    attested: BTreeMap<(List, String), ListEntry>,
}

#[derive(Debug)]
struct Veto {
    agent: Option<Name>,
    action_type: Option<String>,
    symbol: Option<String>,
    reason: String,
}

impl OperatorLists {
    pub(super) fn new(
        configured: Vec<ListEntry>,
        attested: Vec<(List, String, ListEntry)>,
    ) -> Self {
        let attested = attested
            .into_iter()
            .map(|(list, key, entry)| ((list, key), entry))
            .collect();
        Self::from_entries(configured, attested)
    }

    fn from_entries(
        configured: Vec<ListEntry>,
        attested: BTreeMap<(List, String), ListEntry>,
    ) -> Self {
        let mut lists = Self::default();
        for entry in configured.iter().chain(attested.values()) {
            lists.add_entry(entry.clone());
        }
        lists.configured = configured;
        lists.attested = attested;
        lists
    }

    pub(super) fn replace_configured(&mut self, entries: Vec<ListEntry>) {
        *self = Self::from_entries(entries, std::mem::take(&mut self.attested));
    }

    pub(super) fn set_attested(&mut self, list: List, key: &str, entry: Option<ListEntry>) {
        let place = (list, key.to_owned());
        let before = match &entry {
            Some(entry) => self.attested.insert(place, entry.clone()),
            None => self.attested.remove(&place),
        };
        match (before, entry) {
            (None, Some(entry)) => self.add_entry(entry),
            (None, None) => {}
            // What it said may be said by another entry too: only all of them together tell.
            (Some(_), _) => {
                *self = Self::from_entries(
                    std::mem::take(&mut self.configured),
                    std::mem::take(&mut self.attested),
                );
            }
        }
    }

    fn add_entry(&mut self, entry: ListEntry) {
        match entry {
            ListEntry::Restricted(symbol) => {
                self.restricted.insert(symbol);
            }
            ListEntry::ClientOrder(symbol) => {
                self.client_orders.insert(symbol);
            }
            ListEntry::ValidatedSource(source) => {
                self.validated_sources.insert(source);
            }
            ListEntry::Consent { subject, granted } => {
                // Where two sources disagree, the refusal stands.
                let standing = self.consents.entry(subject).or_insert(granted);
                *standing = *standing && granted;
            }
            ListEntry::Veto {
                agent,
                action_type,
                symbol,
                words,
            } => {
                self.vetoes.push(Veto {
                    agent,
                    action_type,
                    symbol,
                    reason: words,
                });
            }
        }
    }

    /// The consent of the subject, who is known by name or by the name's digest.
    pub(super) fn find_consent(
        &self,
        data: &DataHandling,
        subject: Option<&str>,
        digest: Option<Digest>,
    ) -> Consent {
        if data.user_consent == Some(false) {
            return Consent::Refused;
        }
        let named = subject.and_then(|subject| self.consents.get(subject));
        let found = named.or_else(|| {
            let digest = digest?;
            self.consents
                .iter()
                .find(|(subject, _)| Digest::hash_bytes(subject.as_bytes()) == digest)
                .map(|(_, granted)| granted)
        });
        match found {
            Some(true) => Consent::Granted,
            Some(false) => Consent::Refused,
            None => Consent::Unknown,
        }
    }

    /// A veto matches when every part it names matches.
    pub(super) fn find_veto(&self, agent: &Name, action: &Action) -> Option<String> {
        let matches = |veto: &&Veto| {
            veto.agent.as_ref().is_none_or(|vetoed| vetoed == agent)
                && veto
                    .action_type
                    .as_ref()
                    .is_none_or(|vetoed| *vetoed == action.action_type)
                && veto
                    .symbol
                    .as_ref()
                    .is_none_or(|vetoed| Some(vetoed.as_str()) == action.symbol())
        };
        self.vetoes
            .iter()
            .find(matches)
            .map(|veto| veto.reason.clone())
    }
}
