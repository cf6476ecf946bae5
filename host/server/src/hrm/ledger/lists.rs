//! The operator's lists as the ledger reads them for facts: the entries of the configuration and those set over the API together.
//!
//! Invariant: symbols are compared by the key of their instrument. An entry that names an instrument is addressed by every spelling of its
//! symbol; entries in several spellings (from before their key was compared, or that an alias has made one) are all in force.

use std::collections::{BTreeMap, HashMap, HashSet};

use ark_model::action::{Action, DataHandling};
use ark_model::check::check_symbol;
use ark_model::facts::Consent;
use ark_model::ids::{Digest, Name};
use ark_model::instrument::{InstrumentAliases, InstrumentKey};
use ark_store::{List, ListEntry};

use super::vetoes::VetoScope;

/// The entries of all lists, indexed for the facts.
#[derive(Debug, Default)]
pub struct OperatorLists {
    aliases: InstrumentAliases,
    restricted: HashSet<InstrumentKey>,
    client_orders: HashSet<InstrumentKey>,
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
    instrument: Option<InstrumentKey>,
    reason: String,
}

impl OperatorLists {
    /// Indexes the entries of the configuration and those set over the API.
    pub fn new(
        configured: Vec<ListEntry>,
        attested: Vec<(List, String, ListEntry)>,
        aliases: InstrumentAliases,
    ) -> Self {
        let attested = attested
            .into_iter()
            .map(|(list, key, entry)| ((list, key), entry))
            .collect();
        let lists = Self::from_entries(configured, attested, aliases);
        lists.warn_of_idle_entries();
        lists
    }

    /// Names the entries that can match nothing, which earlier versions took, in the log.
    fn warn_of_idle_entries(&self) {
        for (list, key) in self.attested.keys() {
            if list.names_instruments() && check_symbol("key", key).is_err() {
                let list = list.as_str();
                tracing::warn!(
                    list,
                    key,
                    "an entry of a list names no instrument; take it off"
                );
            }
        }
    }

    fn from_entries(
        configured: Vec<ListEntry>,
        attested: BTreeMap<(List, String), ListEntry>,
        aliases: InstrumentAliases,
    ) -> Self {
        let mut lists = Self {
            aliases,
            ..Self::default()
        };
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
                    self.aliases.clone(),
                );
            }
        }
    }

    /// Returns the keys under which the list has an entry for what `key` addresses: `key` itself, and where the list names instruments every
    /// other spelling of the same one.
    pub fn find_entry_keys(&self, list: List, key: &str) -> Vec<String> {
        self.attested
            .keys()
            .filter(|(other, _)| *other == list)
            .map(|(_, other)| other)
            .filter(|other| is_same_entry(&self.aliases, list, other, key))
            .cloned()
            .collect()
    }

    /// Whether nobody may trade an instrument.
    pub fn is_restricted(&self, instrument: &InstrumentKey) -> bool {
        self.restricted.contains(instrument)
    }

    /// Whether a client's order is pending in an instrument.
    pub fn has_client_order(&self, instrument: &InstrumentKey) -> bool {
        self.client_orders.contains(instrument)
    }

    fn add_entry(&mut self, entry: ListEntry) {
        match entry {
            ListEntry::Restricted(symbol) => {
                self.restricted.insert(self.aliases.find_key(&symbol));
            }
            ListEntry::ClientOrder(symbol) => {
                self.client_orders.insert(self.aliases.find_key(&symbol));
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
                    instrument: symbol.map(|symbol| self.aliases.find_key(&symbol)),
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

    /// Returns the reason of the first veto that matches. A veto matches when every part it names matches. `instrument` is the one that the action
    /// concerns.
    pub fn find_veto(
        &self,
        agent: &Name,
        action: &Action,
        instrument: Option<&InstrumentKey>,
    ) -> Option<String> {
        let matches = |veto: &&Veto| {
            veto.agent.as_ref().is_none_or(|vetoed| vetoed == agent)
                && veto.scope.as_ref().is_none_or(|scope| scope.covers(action))
                && veto
                    .instrument
                    .as_ref()
                    .is_none_or(|vetoed| Some(vetoed) == instrument)
        };
        self.vetoes
            .iter()
            .find(matches)
            .map(|veto| veto.reason.clone())
    }
}

/// Whether two keys of a list address one entry: the same text, or where the list names instruments two spellings of one symbol.
pub fn is_same_entry(aliases: &InstrumentAliases, list: List, one: &str, other: &str) -> bool {
    let is_symbol = |key: &str| check_symbol("key", key).is_ok();
    one == other
        || (list.names_instruments()
            // What is no symbol names no instrument. It is addressed by its own text, so that it can be taken off.
            && is_symbol(one)
            && is_symbol(other)
            && aliases.find_key(one) == aliases.find_key(other))
}

#[cfg(test)]
mod tests {
    use ark_model::form::{parse_action, parse_json};

    use super::*;

    fn make_aliases() -> InstrumentAliases {
        InstrumentAliases::new([("XBT", "BTC")]).expect("aliases")
    }

    fn make_action(action_type: &str, symbol: &str) -> Action {
        let parameters = serde_json::json!({"symbol": symbol});
        let request =
            serde_json::json!({"agent": "a", "action_type": action_type, "parameters": parameters});
        let document = parse_json(request.to_string().as_bytes()).expect("JSON");
        parse_action(document).expect("an action").action
    }

    fn make_attested(list: List, key: &str) -> (List, String, ListEntry) {
        let entry = match list {
            List::ClientOrders => ListEntry::ClientOrder(key.to_owned()),
            _ => ListEntry::Restricted(key.to_owned()),
        };
        (list, key.to_owned(), entry)
    }

    #[test]
    fn entries_count_for_every_spelling() {
        let lists = OperatorLists::new(
            vec![ListEntry::Restricted("res-usd".to_owned())],
            vec![
                make_attested(List::Restricted, "acme"),
                make_attested(List::ClientOrders, "xbt/eur"),
            ],
            make_aliases(),
        );
        let key = |symbol: &str| make_aliases().find_key(symbol);
        for symbol in ["RES-USD", "RES/USD", "RES_USD", "resusd", "ACME", "Acme"] {
            assert!(lists.is_restricted(&key(symbol)), "{symbol}");
        }
        for symbol in ["RES-USDT", "ACM", "BTC-EUR"] {
            assert!(!lists.is_restricted(&key(symbol)), "{symbol}");
        }
        assert!(lists.has_client_order(&key("BTC-EUR")));
    }

    #[test]
    fn a_veto_holds_for_every_spelling_of_its_symbol() {
        let veto = ListEntry::Veto {
            agent: None,
            action_type: None,
            symbol: Some("xbt-usd".to_owned()),
            words: "no bitcoin".to_owned(),
        };
        let lists = OperatorLists::new(vec![veto], Vec::new(), make_aliases());
        let agent: Name = "a".parse().expect("a name");
        for (action_type, symbol, vetoed) in [
            ("close_position", "BTC/USD", true),
            ("message", "btcusd", true),
            ("close_position", "ETH/USD", false),
        ] {
            let key = make_aliases().find_key(symbol);
            let found = lists.find_veto(&agent, &make_action(action_type, symbol), Some(&key));
            assert_eq!(found.is_some(), vetoed, "{action_type} {symbol}");
        }
    }

    #[test]
    fn spellings_of_one_entry_are_found_and_all_in_force_until_the_last_is_off() {
        let keys = ["RES-USD", "RES/USD", "--", "//"];
        let rows = keys
            .map(|key| make_attested(List::Restricted, key))
            .to_vec();
        let mut lists = OperatorLists::new(Vec::new(), rows, make_aliases());
        assert_eq!(
            lists.find_entry_keys(List::Restricted, "res_usd"),
            ["RES-USD", "RES/USD"]
        );
        // What names no instrument is addressed by its own text alone.
        assert_eq!(lists.find_entry_keys(List::Restricted, "--"), ["--"]);
        assert!(
            lists
                .find_entry_keys(List::ClientOrders, "RES-USD")
                .is_empty()
        );
        let key = make_aliases().find_key("RES-USD");
        lists.set_attested(List::Restricted, "RES-USD", None);
        assert!(lists.is_restricted(&key));
        lists.set_attested(List::Restricted, "RES/USD", None);
        assert!(!lists.is_restricted(&key));
        // Subjects and sources are addressed by their own text.
        assert!(!is_same_entry(&make_aliases(), List::Consents, "a-b", "ab"));
    }
}
