//! Promotions: approved messages, publications and reports that name an instrument.
//!
//! What leaves the host (a publication, a report, a message that says it is external) promotes an instrument for every agent that sells it. A plain message
//! coordinates agents, so it counts for its sender alone.
//!
//! Invariants: of two times of one promotion the later one is kept; a promotion is kept until its sender needs the room, and only one that is past
//! [`PROMOTION_RETENTION`] gives way, so no step of the clock loses one by itself.
//!
//! Must not know: how long the window of the rule is.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ark_model::action::{Action, Message, Parameters};
use ark_model::ids::{Millis, Name};
use ark_model::instrument::{InstrumentAliases, InstrumentKey};
use ark_store::{LedgerChange, Promotion};
use serde_json::Value;

use super::bases::{find_base_keys, is_ticker, knows_base};

/// How long a promotion is needed for the fact `promotion-age`. It must exceed every age that the Graveyard compares it with.
const PROMOTION_RETENTION: Duration = Duration::from_hours(25);
/// How many instruments one message may name. A message that names more is denied.
const INSTRUMENTS_OF_MESSAGE: usize = 128;
/// How many promotions of one agent are kept. What would need more room is denied.
const PROMOTIONS_OF_AGENT: usize = 512;
/// The longest word that is taken for the symbol of an instrument, in bytes.
const LONGEST_WORD: usize = 64;
/// The longest part of a pair, in characters.
const LONGEST_PART: usize = 12;

/// The promotions that are kept.
#[derive(Debug, Default)]
pub struct Promotions {
    by_key: HashMap<InstrumentKey, HashMap<(Name, bool), Promotion>>,
    counts: HashMap<Name, usize>,
}

impl Promotions {
    /// Makes the promotions from the rows of the store. Rows of one instrument in several spellings are one promotion, of the latest time.
    pub fn from_rows(rows: Vec<Promotion>, aliases: &InstrumentAliases) -> Self {
        let mut promotions = Self::default();
        for row in rows {
            let key = aliases.find_key(&row.symbol);
            promotions.insert_promotion(key, row);
        }
        promotions
    }

    /// Returns the seconds since the last promotion that counts for an agent that sells: of the instrument under this symbol, whose key is `key`, or
    /// of its base.
    pub fn age(
        &self,
        seller: &Name,
        symbol: &str,
        key: &InstrumentKey,
        aliases: &InstrumentAliases,
        now: Millis,
    ) -> Option<f64> {
        // To find the bases costs more than everything else that is asked about an instrument.
        if self.by_key.is_empty() {
            return None;
        }
        find_base_keys(symbol, key, aliases)
            .iter()
            .chain([key])
            .filter_map(|key| self.by_key.get(key))
            .flat_map(HashMap::values)
            .filter(|promotion| promotion.account_wide || promotion.agent == *seller)
            .map(|promotion| promotion.at)
            .max()
            .map(|at| now.seconds_since(at))
    }

    /// Returns why an approved message could not be recorded as a promotion of all instruments that it names. `None`: it can.
    pub fn refuse_message(
        &self,
        agent: &Name,
        named: &NamedInstruments,
        now: Millis,
    ) -> Option<String> {
        if named.overflows {
            return Some(format!(
                "it names more than {INSTRUMENTS_OF_MESSAGE} instruments; split it into several messages"
            ));
        }
        let kept = self.counts.get(agent).copied().unwrap_or(0);
        if kept + named.symbols.len() <= PROMOTIONS_OF_AGENT {
            return None;
        }
        let fresh = self
            .by_key
            .values()
            .flatten()
            .filter(|((sender, _), promotion)| sender == agent && !is_past(promotion, now))
            .count();
        (fresh + named.symbols.len() > PROMOTIONS_OF_AGENT).then(|| {
            format!(
                "{agent} has named {fresh} instruments in the last 25 h, and at most {PROMOTIONS_OF_AGENT} are kept; name fewer instruments"
            )
        })
    }

    /// Records an approved message. Returns what must be committed with it.
    pub fn record_message(
        &mut self,
        agent: &Name,
        named: NamedInstruments,
        now: Millis,
    ) -> Vec<LedgerChange> {
        let mut changes = Vec::new();
        let kept = self.counts.get(agent).copied().unwrap_or(0);
        if kept + named.symbols.len() > PROMOTIONS_OF_AGENT {
            changes.extend(self.forget_past(agent, now));
        }
        for (symbol, key) in named.symbols {
            let promotion = Promotion {
                agent: agent.clone(),
                symbol,
                account_wide: named.account_wide,
                at: now,
            };
            changes.push(LedgerChange::Promotion(
                self.insert_promotion(key, promotion),
            ));
        }
        changes
    }

    /// Inserts a promotion, and returns it as it is kept.
    fn insert_promotion(&mut self, key: InstrumentKey, mut promotion: Promotion) -> Promotion {
        let address = (promotion.agent.clone(), promotion.account_wide);
        let of_key = self.by_key.entry(key).or_default();
        if let Some(known) = of_key.get(&address) {
            // A row for each instrument: the first spelling stays.
            promotion.symbol.clone_from(&known.symbol);
            promotion.at = promotion.at.max(known.at);
        } else {
            *self.counts.entry(promotion.agent.clone()).or_default() += 1;
        }
        of_key.insert(address, promotion.clone());
        promotion
    }

    /// Removes an agent's promotions that are past every window.
    fn forget_past(&mut self, agent: &Name, now: Millis) -> Vec<LedgerChange> {
        let mut forgotten = Vec::new();
        self.by_key.retain(|_, of_key| {
            of_key.retain(|(sender, account_wide), promotion| {
                let stays = sender != agent || !is_past(promotion, now);
                if !stays {
                    forgotten.push(LedgerChange::PromotionForgotten {
                        agent: agent.clone(),
                        symbol: promotion.symbol.clone(),
                        account_wide: *account_wide,
                    });
                }
                stays
            });
            !of_key.is_empty()
        });
        if let Some(count) = self.counts.get_mut(agent) {
            *count = count.saturating_sub(forgotten.len());
        }
        forgotten
    }
}

fn is_past(promotion: &Promotion, now: Millis) -> bool {
    now.seconds_since(promotion.at) >= PROMOTION_RETENTION.as_secs_f64()
}

/// The instruments that a message names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NamedInstruments {
    /// Each instrument once: as the message spells it first, and its key.
    symbols: Vec<(String, InstrumentKey)>,
    /// Whether the message counts for every agent that sells.
    account_wide: bool,
    /// Whether it names more than can be kept.
    overflows: bool,
}

impl NamedInstruments {
    /// Finds the instruments that an action promotes. `None`: an action that promotes nothing, whatever it names.
    ///
    /// They are the message's symbol; and in its text, payload and other parameters every word that is a pair (`AAA-BBB`, `AAA/BBB`) or a cashtag (`$ABC`),
    /// that names an instrument for which `is_known` holds, or that is written as a ticker (`BTC`) and is the base of such an instrument. A base promotes
    /// every pair with that base: see [`Promotions::age`].
    pub fn find(
        action: &Action,
        aliases: &InstrumentAliases,
        is_known: impl Fn(&InstrumentKey) -> bool,
    ) -> Option<Self> {
        let Parameters::Message(message) = &action.parameters else {
            return None;
        };
        let is_external = action.external == Some(true);
        let account_wide = match action.action_type.as_str() {
            "log" if !is_external => return None,
            "message" => is_external,
            // A publication or a report; a type that an operator declared as a message may leave the host too.
            _ => true,
        };
        let mut named = Self {
            account_wide,
            ..Self::default()
        };
        let mut seen = HashSet::new();
        if let Some(symbol) = &message.symbol {
            named.add(symbol, aliases.find_key(symbol), &mut seen);
        }
        for_each_text(message, |text| {
            for word in split_words(text) {
                // `BTC/USD` names one pair, and not every pair with that base; `VENUE:BTC` names the base.
                let is_one_pair = is_pair(&word) && !word.contains(':');
                for candidate in list_candidates(&word) {
                    if named.overflows {
                        return;
                    }
                    let (symbol, looks_like_symbol) = match candidate.strip_prefix('$') {
                        Some(tag) if tag.starts_with(char::is_alphabetic) => (tag, true),
                        _ => (candidate, is_pair(candidate)),
                    };
                    let key = aliases.find_key(symbol);
                    let is_base = || {
                        !is_one_pair && is_ticker(symbol) && knows_base(symbol, aliases, &is_known)
                    };
                    if looks_like_symbol || is_known(&key) || is_base() {
                        named.add(symbol, key, &mut seen);
                    }
                }
            }
        });
        Some(named)
    }

    fn add(&mut self, symbol: &str, key: InstrumentKey, seen: &mut HashSet<InstrumentKey>) {
        if key.as_str().is_empty() || seen.contains(&key) {
            return;
        }
        if self.symbols.len() >= INSTRUMENTS_OF_MESSAGE {
            self.overflows = true;
            return;
        }
        seen.insert(key.clone());
        self.symbols.push((symbol.to_owned(), key));
    }
}

/// Hands every text of a message to `visit`: its text, and the strings and member names of its payload and other parameters.
fn for_each_text(message: &Message, mut visit: impl FnMut(&str)) {
    if let Some(text) = &message.text {
        visit(text);
    }
    let documents = message
        .payload_json
        .as_deref()
        .into_iter()
        .chain([message.extra_json.as_str()]);
    for document in documents {
        match serde_json::from_str(document) {
            Ok(value) => {
                let mut left: Vec<&Value> = vec![&value];
                while let Some(value) = left.pop() {
                    match value {
                        Value::String(text) => visit(text),
                        Value::Array(items) => left.extend(items),
                        Value::Object(members) => {
                            members.keys().for_each(|name| visit(name));
                            left.extend(members.values());
                        }
                        _ => {}
                    }
                }
            }
            // What is no JSON document is a text like any other.
            Err(_) => visit(document),
        }
    }
}

/// Splits a text into the words that may be symbols: runs of what symbols consist of, without characters that nobody sees, and without what ends a
/// sentence.
fn split_words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| {
        c.is_whitespace()
            || c.is_control()
            || (c.is_ascii_punctuation() && !"-_/:.$&=@^".contains(c))
            || "\u{2018}\u{2019}\u{201c}\u{201d}\u{ab}\u{bb}\u{3001}\u{3002}\u{ff0c}".contains(c)
    })
    .filter_map(|word| {
        if word.len() > 4 * LONGEST_WORD {
            return None;
        }
        let seen: String = word.chars().filter(|c| !is_unseen(*c)).collect();
        let word = seen.trim_matches(['-', '_', '/', ':', '.', '&', '=']);
        (word.chars().nth(1).is_some() && word.len() <= LONGEST_WORD).then(|| word.to_owned())
    })
}

/// Returns a word and what stands in it between signs that also join words: `see:BTC-USD` and `https://venue.example/BTC-USD` name `BTC-USD`.
fn list_candidates(word: &str) -> impl Iterator<Item = &str> {
    [':', '/', '=', '&']
        .into_iter()
        .filter(|sign| word.contains(*sign))
        .flat_map(|sign| word.split(sign))
        .filter(|part| part.chars().nth(1).is_some())
        .chain([word])
}

/// Whether a character leaves no mark on a screen.
const fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a word is two or three short parts of letters and digits with a separator between them, one of them with a letter.
fn is_pair(word: &str) -> bool {
    let mut parts = 0;
    for part in word.split(['-', '/', '_', ':', '\u{ff0f}', '\u{ff0d}']) {
        parts += 1;
        let length = part.chars().count();
        if parts > 3
            || !(1..=LONGEST_PART).contains(&length)
            || !part.chars().all(char::is_alphanumeric)
        {
            return false;
        }
    }
    parts > 1 && word.contains(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::form::{parse_action, parse_json};
    use serde_json::json;

    fn make_message(action_type: &str, external: Option<bool>, parameters: &Value) -> Action {
        let mut request = json!({"agent": "a", "action_type": action_type, "parameters": parameters, "reasoning": "r"});
        if let Some(external) = external {
            request["external"] = json!(external);
        }
        parse_action(parse_json(request.to_string().as_bytes()).unwrap())
            .unwrap()
            .action
    }

    fn list_named(action: &Action) -> Vec<String> {
        let aliases = InstrumentAliases::default();
        let known = aliases.find_key("DOGE");
        let Some(named) = NamedInstruments::find(action, &aliases, |key| *key == known) else {
            return Vec::new();
        };
        let mut keys: Vec<String> = named
            .symbols
            .iter()
            .map(|(_, key)| key.to_string())
            .collect();
        keys.sort();
        keys
    }

    #[test]
    fn instruments_are_found_wherever_a_message_names_them() {
        for (parameters, expected) in [
            (
                json!({"text": "hello", "symbol": "BTC-USD"}),
                &["BTCUSD"][..],
            ),
            (json!({"text": "Buy BTC-USD!"}), &["BTCUSD"]),
            (json!({"text": "(eth/usd), now."}), &["ETHUSD"]),
            (
                json!({"text": "$XYZ to the moon; doge too"}),
                &["DOGE", "XYZ"],
            ),
            (
                json!({"text": "d\u{200b}oge, B\u{2060}TC-\u{200d}USD"}),
                &["BTCUSD", "DOGE"],
            ),
            (
                json!({"text": "\u{ff22}\u{ff34}\u{ff23}\u{ff0f}USD"}),
                &["BTCUSD"],
            ),
            (
                json!({"text": "see:BTC-USD https://venue.example/SOL-USD"}),
                &["BTCUSD", "SEEBTCUSD", "SOLUSD"],
            ),
            (
                json!({"text": "the dogs of 2026-11-26 and 10:30 cost $5.00"}),
                &[],
            ),
            (
                json!({"topic": "t", "payload": {"picks": ["BTC-USD", {"DOGE": 1}], "note": "\nSOL-USD"}}),
                &["BTCUSD", "DOGE", "SOLUSD"],
            ),
            (json!({"text": "t", "extra": "BTC_USD"}), &["BTCUSD"]),
        ] {
            let action = make_message("message", None, &parameters);
            assert_eq!(list_named(&action), expected, "{parameters}");
        }
    }

    /// The keys that a text names to a host that knows `ONE-USD`, `btc/usdt` and `NEARUSD`.
    fn named_in(text: &str) -> Vec<String> {
        let aliases = InstrumentAliases::default();
        let known = ["ONE-USD", "btc/usdt", "NEARUSD"].map(|symbol| aliases.find_key(symbol));
        let action = make_message("publish", None, &json!({"text": text}));
        let named = NamedInstruments::find(&action, &aliases, |key| known.contains(key));
        let named = named.expect("a publication promotes");
        let keys = named.symbols.iter().map(|(_, key)| key.to_string());
        keys.collect()
    }

    #[test]
    fn a_bare_base_promotes_the_pairs_that_are_known_and_words_promote_nothing() {
        for (text, expected) in [
            ("Buy BTC now", &["BTC"][..]),
            ("BUY BTC NOW!", &["BTC"]),
            ("B\u{200b}TC's going up (BTC)", &["BTC"]),
            (
                "see VENUE:BTC, or read:BTC",
                &["BTC", "VENUEBTC", "READBTC"],
            ),
            ("https://venue.example/BTC", &["BTC"]),
            ("NEAR and ONE are cheap", &["NEAR", "ONE"]),
            // A pair is one instrument.
            ("BTC/USD", &["BTCUSD"]),
            ("BTC-EUR", &["BTCEUR"]),
            // Nobody here trades these.
            ("ETH and GAS and USD", &[]),
            // Words.
            ("one is near, btc or not", &[]),
            ("One of us; Near the end", &[]),
            ("NEARLY ALONE", &[]),
        ] {
            assert_eq!(named_in(text), expected, "{text}");
        }
    }

    #[test]
    fn a_sale_of_any_pair_follows_a_promotion_of_its_base() {
        let aliases = InstrumentAliases::default();
        let ann: Name = "ann".parse().unwrap();
        let mut promotions = Promotions::default();
        let named = NamedInstruments {
            symbols: vec![("BTC".to_owned(), aliases.find_key("BTC"))],
            account_wide: true,
            overflows: false,
        };
        promotions.record_message(&ann, named, Millis(1_000));
        for (symbol, is_promoted) in [
            ("BTC-USD", true),
            ("btcusdt", true),
            ("BTC/EUR", true),
            ("BTC", true),
            ("BTC-XAU", true),
            ("WBTC-USD", false),
            ("ETH-BTC", false),
            ("BTCB-USD", false),
        ] {
            let key = aliases.find_key(symbol);
            let age = promotions.age(&ann, symbol, &key, &aliases, Millis(3_000));
            assert_eq!(age.is_some(), is_promoted, "{symbol}");
        }
    }

    #[test]
    fn publications_count_for_every_agent() {
        let parameters = json!({"text": "BTC-USD"});
        let aliases = InstrumentAliases::default();
        for (action_type, external, expected) in [
            ("message", None, Some(false)),
            ("message", Some(false), Some(false)),
            ("message", Some(true), Some(true)),
            ("publish", None, Some(true)),
            ("publish", Some(false), Some(true)),
            ("report", None, Some(true)),
            ("log", None, None),
            ("log", Some(true), Some(true)),
        ] {
            let action = make_message(action_type, external, &parameters);
            let found = NamedInstruments::find(&action, &aliases, |_| false);
            assert_eq!(
                found.map(|named| named.account_wide),
                expected,
                "{action_type} {external:?}"
            );
        }
    }

    #[test]
    fn promotions_are_looked_up_by_instrument_and_by_who_they_count_for() {
        let aliases = InstrumentAliases::default();
        let (ann, ben): (Name, Name) = ("ann".parse().unwrap(), "ben".parse().unwrap());
        let key = || aliases.find_key("btc/usd");
        let age = |promotions: &Promotions, agent: &Name, now| {
            promotions.age(agent, "btc/usd", &key(), &aliases, Millis(now))
        };
        let row = |agent: &Name, account_wide, at| Promotion {
            agent: agent.clone(),
            symbol: "BTC-USD".to_owned(),
            account_wide,
            at: Millis(at),
        };
        let mut promotions = Promotions::from_rows(vec![row(&ann, false, 1_000)], &aliases);
        assert_eq!(age(&promotions, &ann, 3_000), Some(2.0));
        assert_eq!(age(&promotions, &ben, 3_000), None);
        let wide = NamedInstruments {
            symbols: vec![("BTCUSD".to_owned(), key())],
            account_wide: true,
            overflows: false,
        };
        promotions.record_message(&ann, wide, Millis(2_000));
        assert_eq!(age(&promotions, &ben, 3_000), Some(1.0));
        // Two spellings in the store are one promotion, and the later time counts.
        let mut spelled = row(&ann, false, 2_500);
        spelled.symbol = "BTC_USD".to_owned();
        for rows in [
            vec![row(&ann, false, 1_000), spelled.clone()],
            vec![spelled.clone(), row(&ann, false, 1_000)],
        ] {
            let promotions = Promotions::from_rows(rows, &aliases);
            assert_eq!(age(&promotions, &ann, 3_000), Some(0.5));
        }
    }

    #[test]
    fn the_room_of_an_agent_is_bounded_and_what_is_past_gives_way() {
        let aliases = InstrumentAliases::default();
        let (ann, ben): (Name, Name) = ("ann".parse().unwrap(), "ben".parse().unwrap());
        let fill = |from: usize, count: usize| NamedInstruments {
            symbols: (from..from + count)
                .map(|number| {
                    (
                        format!("X{number}-USD"),
                        aliases.find_key(&format!("X{number}-USD")),
                    )
                })
                .collect(),
            account_wide: true,
            overflows: false,
        };
        let mut promotions = Promotions::default();
        let start = Millis(1_000_000);
        promotions.record_message(&ann, fill(0, PROMOTIONS_OF_AGENT), start);
        assert!(
            promotions
                .refuse_message(&ann, &fill(9_000, 1), start)
                .unwrap()
                .contains("512")
        );
        assert_eq!(
            promotions.refuse_message(&ben, &fill(9_000, 1), start),
            None
        );
        let later = start.saturating_add(PROMOTION_RETENTION);
        assert_eq!(
            promotions.refuse_message(&ann, &fill(9_000, 1), later),
            None
        );
        let changes = promotions.record_message(&ann, fill(9_000, 1), later);
        assert_eq!(changes.len(), PROMOTIONS_OF_AGENT + 1);
        assert_eq!(promotions.counts[&ann], 1);
        let words: Vec<String> = (0..200).map(|number| format!("X{number}-USD")).collect();
        let many = NamedInstruments::find(
            &make_message("publish", None, &json!({"text": words.join(" ")})),
            &aliases,
            |_| false,
        )
        .unwrap();
        assert!(
            promotions
                .refuse_message(&ben, &many, start)
                .unwrap()
                .contains("128")
        );
    }
}
