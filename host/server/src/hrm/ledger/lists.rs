//! The operator's lists as the ledger reads them for facts: the entries of the configuration and those set over the API together.

use std::collections::{BTreeMap, HashMap, HashSet};

use ark_model::action::{Action, DataHandling};
use ark_model::facts::Consent;
use ark_model::ids::{Digest, Name};
use ark_store::{List, ListEntry};

use super::vetoes::VetoScope;

/// The entries of all lists, indexed for the facts.
#[derive(Debug, Default)]
pub struct OperatorLists {
    pub restricted: HashSet<String>,
    pub client_orders: HashSet<String>,
    pub validated_sources: HashSet<String>,
    consents: HashMap<String, bool>,
    vetoes: Vec<Veto>,
    configured: Vec<ListEntry>,
    attested: BTreeMap<(List, String), ListEntry>,
}

#[derive(Debug)]
struct Veto {
    agent: Option<Name>,
    scope: Option<VetoScope>,
    symbol: Option<String>,
    reason: String,
}

impl OperatorLists {
    /// Indexes the entries of the configuration and those set over the API.
    pub fn new(configured: Vec<ListEntry>, attested: Vec<(List, String, ListEntry)>) -> Self {
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

    /// Sets the entry under a key of a list, or removes it.
    pub fn set_attested(&mut self, list: List, key: &str, entry: Option<ListEntry>) {
        let address = (list, key.to_owned());
        let previous = match &entry {
            Some(entry) => self.attested.insert(address, entry.clone()),
            None => self.attested.remove(&address),
        };
        match (previous, entry) {
            (None, Some(entry)) => self.add_entry(entry),
            (None, None) => {}
            // The configuration may contain the removed entry too, so the indexes are made again from all entries.
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
                // A refusal prevails over a grant from another source.
                let consent = self.consents.entry(subject).or_insert(granted);
                *consent = *consent && granted;
            }
            ListEntry::Veto {
                agent,
                action_type,
                symbol,
                words: reason,
            } => {
                self.vetoes.push(Veto {
                    agent,
                    scope: action_type.as_deref().map(VetoScope::of),
                    symbol,
                    reason,
                });
            }
        }
    }

    /// Returns the consent of a data subject, who is looked up by name, or else by the digest of the name.
    pub fn find_consent(
        &self,
        data: &DataHandling,
        subject: Option<&str>,
        digest: Option<Digest>,
    ) -> Consent {
        if data.user_consent == Some(false) {
            return Consent::Refused;
        }
        let named = subject.and_then(|subject| self.consents.get(subject));
        let consent = named.or_else(|| {
            let digest = digest?;
            self.consents
                .iter()
                .find(|(subject, _)| Digest::hash_bytes(subject.as_bytes()) == digest)
                .map(|(_, granted)| granted)
        });
        match consent {
            Some(true) => Consent::Granted,
            Some(false) => Consent::Refused,
            None => Consent::Unknown,
        }
    }

    /// Returns the reason of the first veto that matches. A veto matches when every part it names matches.
    pub fn find_veto(&self, agent: &Name, action: &Action) -> Option<String> {
        let matches = |veto: &&Veto| {
            veto.agent.as_ref().is_none_or(|vetoed| vetoed == agent)
                && veto.scope.as_ref().is_none_or(|scope| scope.covers(action))
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
