//! Fields of a typed family that open parameters carry: a trade's size and leverage, code, a destructive operation on a path.
//!
//! A custom action that carries them is judged by the rules of that family, whatever its fields are called, spelled or nested in: `"Leverage": 9`,
//! `{"order": {"LEVERAGE": "9x"}}` and `[{"leverage": [9]}]` are a leverage of 9. In the open parameters of a trade only other spellings of its
//! typed fields count (`"Leverage"` beside the `leverage` that was left out).
//!
//! How numbers count: sizes are added up, of leverages the highest counts, texts are read as the number they name (`"9"`, `"9x"`, `"90 %"`,
//! `"1e1"`), and one that names none cannot be judged, which denies. Of two readings of a text (`"0,9"`) the higher counts.
//!
//! How false alarms are avoided: a key that says nothing but `size` is a size when its value is a fraction, from 0 to 1; `{"size": 3}` is a
//! font's. Keys that are usual elsewhere (`quantity`, `amount`) are sizes in an action that also names an instrument, a side or a price of a
//! trade. There a size that is no fraction of capital cannot be judged: such a type is declared in the family `trade`, with a mapping.

use crate::case::Unjudgeable;
use crate::fields::{DESTRUCTIVE, Field};
use crate::folding::fold_text;
use crate::naming::Name;

/// A number that fields name, or why it cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Stated {
    /// No field names it.
    #[default]
    Nothing,
    /// The number.
    Number(f64),
    /// A field names no number, or another than the rest.
    Unreadable,
}

impl Stated {
    fn add(&mut self, value: Option<f64>, combine: impl Fn(f64, f64) -> f64) {
        *self = match (*self, value) {
            (Self::Unreadable, _) | (_, None) => Self::Unreadable,
            (Self::Nothing, Some(value)) => Self::Number(value),
            (Self::Number(before), Some(value)) => Self::Number(combine(before, value)),
        };
    }

    /// The number, where one is stated.
    ///
    /// # Errors
    /// `why`, where a field names no number.
    pub const fn read(self, why: &'static str) -> Result<Option<f64>, Unjudgeable> {
        match self {
            Self::Nothing => Ok(None),
            Self::Number(value) => Ok(Some(value)),
            Self::Unreadable => Err(Unjudgeable(why)),
        }
    }
}

/// What the open parameters of an action carry.
#[derive(Debug, Default)]
pub struct Carried {
    size: Stated,
    bare_size: Stated,
    quantity: Stated,
    /// A bare size or a quantity that is no fraction of capital.
    large: bool,
    is_trade: bool,
    instrument: bool,
    /// The leverage.
    pub leverage: Stated,
    /// The stop.
    pub stop_loss: Stated,
    /// The target.
    pub take_profit: Stated,
    /// The entry price.
    pub entry_price: Stated,
    /// The ratio of gain to loss.
    pub risk_reward: Stated,
    /// It sells; `None`: it says neither.
    pub sells: Option<bool>,
    /// Marked: material non-public information.
    pub material_nonpublic: bool,
    /// Marked: manipulative intent.
    pub manipulative_intent: bool,
    /// Marked: ahead of a client's order.
    pub ahead_of_client_order: bool,
    /// Code is in it.
    pub code: bool,
    destructive: bool,
    path: bool,
    /// What it says of data.
    pub data: CarriedData,
}

/// What the open parameters of a custom action say of data that it handles.
#[derive(Debug, Default)]
pub struct CarriedData {
    /// Personal data is in it.
    pub is_personal: bool,
    /// A user refused.
    pub is_refused: bool,
    /// It is of high sensitivity.
    pub is_delicate: bool,
    /// It goes somewhere else than `internal`.
    pub leaves: bool,
    encrypted: Protection,
    anonymized: Protection,
}

/// What is said of a protection of data. Of two statements the one that denies it counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Protection {
    #[default]
    Unsaid,
    On,
    Off,
}

impl Protection {
    fn note(&mut self, on: bool) {
        if on && *self == Self::Unsaid {
            *self = Self::On;
        } else if !on {
            *self = Self::Off;
        }
    }
}

impl CarriedData {
    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted == Protection::On
    }

    /// Whether it is anonymised.
    pub fn is_anonymized(&self) -> bool {
        self.anonymized == Protection::On
    }

    fn note_flag(&mut self, field: Field, on: bool) {
        match field {
            Field::PersonalData => self.is_personal |= on,
            Field::UserConsent => self.is_refused |= !on,
            Field::Encryption => self.encrypted.note(on),
            Field::Anonymized => self.anonymized.note(on),
            _ => {}
        }
    }

    fn note_text(&mut self, field: Field, text: &str, off: bool) {
        match field {
            Field::Sensitivity => {
                self.is_delicate |= Name::new(text).has_word(&["high", "critical", "secret"]);
            }
            Field::Destination => self.leaves |= !off && text != "internal",
            _ => self.note_flag(field, !off),
        }
    }
}

impl Carried {
    /// Notes what the name of a custom action says.
    pub fn note_kind(&mut self, kind: &Name) {
        self.destructive |= kind.has_word(&DESTRUCTIVE);
        self.is_trade |= kind.has_word(&["trade", "buy", "sell", "position", "short", "swap"]);
    }

    /// Notes a number under a key, at any depth below it.
    pub fn note_number(&mut self, field: Field, value: f64) {
        match field {
            Field::Size => {
                let fraction = (0.0..=1.0).contains(&value).then_some(value);
                self.size.add(fraction, |a, b| a + b);
            }
            Field::BareSize | Field::Quantity => {
                let into = if field == Field::BareSize {
                    &mut self.bare_size
                } else {
                    &mut self.quantity
                };
                if (0.0..=1.0).contains(&value) {
                    into.add(Some(value), |a, b| a + b);
                } else {
                    self.large = true;
                }
            }
            Field::Leverage => self.leverage.add(Some(value), f64::max),
            Field::StopLoss => self.stop_loss.add(Some(value), same_or_none),
            Field::TakeProfit => self.take_profit.add(Some(value), same_or_none),
            Field::EntryPrice => self.entry_price.add(Some(value), same_or_none),
            Field::RiskReward => self.risk_reward.add(Some(value), f64::min),
            Field::MaterialNonpublic => self.material_nonpublic |= value != 0.0,
            Field::ManipulativeIntent => self.manipulative_intent |= value != 0.0,
            Field::AheadOfClientOrder => self.ahead_of_client_order |= value != 0.0,
            _ => self.data.note_flag(field, value != 0.0),
        }
        self.is_trade |= makes_a_trade(field);
    }

    /// Notes a text under a key, at any depth below it. `off`: it says that there is nothing.
    pub fn note_text(&mut self, field: Field, text: &str, off: bool) {
        match field {
            Field::Code => self.code |= is_code(text),
            Field::Path => self.path |= !text.is_empty(),
            Field::Operation => self.destructive |= Name::new(text).has_word(&DESTRUCTIVE),
            Field::Side => {
                let side = Name::new(text);
                let sells = side.has_word(&["sell", "short", "ask", "offer"]);
                let buys = side.has_word(&["buy", "long", "bid"]);
                if sells || buys {
                    // Of two sides the sale counts: more rules look at it.
                    self.sells = Some(sells || self.sells == Some(true));
                    self.is_trade = true;
                }
            }
            Field::Instrument if off => {}
            Field::Instrument => (self.is_trade, self.instrument) = (true, true),
            Field::MaterialNonpublic | Field::ManipulativeIntent | Field::AheadOfClientOrder => {
                self.note_number(field, if off { 0.0 } else { 1.0 });
            }
            Field::PersonalData
            | Field::UserConsent
            | Field::Encryption
            | Field::Anonymized
            | Field::Sensitivity
            | Field::Destination => self.data.note_text(field, text, off),
            _ if off => {}
            _ => match read_number(text) {
                Some(number) => self.note_number(field, number),
                None => self.note_unreadable(field),
            },
        }
    }

    /// Notes a key that names a destructive operation: `{"delete": "/srv/x"}`.
    pub fn note_key(&mut self, key: &Name) {
        self.destructive |= DESTRUCTIVE.contains(&key.letters.as_str());
    }

    /// Notes a text that is a path by its look, whatever its key.
    pub const fn note_path(&mut self) {
        self.path = true;
    }

    /// Notes a value under a key that names no number.
    pub fn note_unreadable(&mut self, field: Field) {
        match field {
            Field::Size => self.size = Stated::Unreadable,
            Field::Leverage => self.leverage = Stated::Unreadable,
            Field::StopLoss => self.stop_loss = Stated::Unreadable,
            Field::TakeProfit => self.take_profit = Stated::Unreadable,
            Field::EntryPrice => self.entry_price = Stated::Unreadable,
            Field::RiskReward => self.risk_reward = Stated::Unreadable,
            // A size of clothes, or a trade's that nobody can read.
            Field::BareSize | Field::Quantity => self.large = true,
            _ => {}
        }
        self.is_trade |= makes_a_trade(field);
    }

    /// Notes a truth under a key. One that is no number says nothing where it is false, and nothing that can be read where it is true.
    pub fn note_truth(&mut self, field: Field, value: bool) {
        match field {
            Field::MaterialNonpublic | Field::ManipulativeIntent | Field::AheadOfClientOrder => {
                self.note_number(field, f64::from(u8::from(value)));
            }
            Field::Size | Field::Leverage if value => self.note_unreadable(field),
            _ => self.data.note_flag(field, value),
        }
    }

    /// The size of all that is carried, where there is one.
    ///
    /// # Errors
    /// A size is stated that is no fraction of capital.
    pub fn size(&self) -> Result<Option<f64>, Unjudgeable> {
        const WHY: &str = "the parameters carry a size that is no fraction of capital, from 0 to 1; declare the action type in the family \
                           `trade`, with a mapping of its fields";
        if self.large && self.is_trade {
            return Err(Unjudgeable(WHY));
        }
        let quantity = if self.is_trade {
            self.quantity
        } else {
            Stated::Nothing
        };
        let mut size = None;
        for stated in [self.size, self.bare_size, quantity] {
            if let Some(value) = stated.read(WHY)? {
                size = Some(size.unwrap_or(0.0) + value);
            }
        }
        Ok(size)
    }

    /// Whether the action is a trade by its fields or its name.
    pub const fn is_trade(&self) -> bool {
        self.is_trade
    }

    /// Whether it is a trade in an instrument: it names one, and a size or a side.
    pub fn trades_an_instrument(&self) -> bool {
        self.instrument && (self.sells.is_some() || !matches!(self.size(), Ok(None)))
    }

    /// Whether something is taken away for good at a path.
    pub const fn destroys(&self) -> bool {
        self.destructive && self.path
    }

    /// Whether nothing of a typed family is carried.
    pub fn is_nothing(&self) -> bool {
        matches!(self.size(), Ok(None))
            && self.leverage == Stated::Nothing
            && self.stop_loss == Stated::Nothing
            && self.take_profit == Stated::Nothing
            && !self.code
            && !self.destroys()
            && !self.data.is_personal
    }
}

/// Whether a field says that the action is a trade.
const fn makes_a_trade(field: Field) -> bool {
    matches!(
        field,
        Field::Size | Field::Leverage | Field::EntryPrice | Field::Instrument | Field::RiskReward
    )
}

/// Two values of one price: which one holds cannot be said, unless they are equal.
fn same_or_none(one: f64, other: f64) -> f64 {
    if one.to_bits() == other.to_bits() {
        one
    } else {
        f64::NAN
    }
}

/// Whether a text is code. A short code of capitals and digits (`EUR`, `E-42`) is a name of something else.
fn is_code(text: &str) -> bool {
    let text = text.trim();
    let is_label = text.len() <= 5
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
    !text.is_empty() && !is_label && !text.bytes().all(|b| b.is_ascii_digit())
}

/// The longest text that names a number, in bytes.
const LONGEST_NUMBER: usize = 64;

/// The number that a text names: digits, with a percent sign, an `x` of leverage, or the two sides of a ratio (`10:1`). `None`: it names none.
fn read_number(text: &str) -> Option<f64> {
    if text.len() > LONGEST_NUMBER {
        return None;
    }
    let mut folded = String::with_capacity(text.len());
    fold_text(text, |c| {
        if !c.is_whitespace() {
            folded.push(c.to_ascii_lowercase());
        }
    });
    if let Some((one, other)) = folded.split_once(':') {
        let (one, other) = (read_number(one)?, read_number(other)?);
        let ratio = (one / other).max(other / one);
        return ratio.is_finite().then_some(ratio);
    }
    let (digits, scale) = match folded
        .strip_suffix('%')
        .or_else(|| folded.strip_suffix("percent"))
        .or_else(|| folded.strip_suffix("pct"))
    {
        Some(digits) => (digits, 0.01),
        None => (folded.as_str(), 1.0),
    };
    let digits = digits
        .strip_suffix(['x', '×'])
        .or_else(|| digits.strip_prefix(['x', '×']))
        .unwrap_or(digits);
    // The comma of thousands, or of decimals.
    let readings = [
        digits.replace([',', '_', '\''], ""),
        digits.replace(',', "."),
    ];
    let highest = readings
        .iter()
        .filter(|digits| digits.bytes().any(|b| b.is_ascii_digit()))
        .filter_map(|digits| digits.parse::<f64>().ok())
        .max_by(f64::total_cmp)?;
    let number = highest * scale;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_the_number_it_names() {
        for (text, number) in [
            ("9", 9.0),
            (" 9 ", 9.0),
            ("9x", 9.0),
            ("x9", 9.0),
            ("9 X", 9.0),
            ("9×", 9.0),
            ("10:1", 10.0),
            ("1:10", 10.0),
            ("1e1", 10.0),
            ("90%", 0.9),
            ("90 percent", 0.9),
            ("0.9", 0.9),
            ("0,9", 9.0),
            ("1,000", 1000.0),
            ("1_000", 1000.0),
            ("９", 9.0),
            ("-3", -3.0),
            ("+4", 4.0),
        ] {
            let read = read_number(text).unwrap_or_else(|| panic!("{text} is no number"));
            assert!((read - number).abs() < 1e-9, "{text}: {read}");
        }
        for text in [
            "", "high", "x", "%", "inf", "nan", "1e999", "0x9", "nine", "٩", "1:0", "9:", ":",
        ] {
            assert_eq!(read_number(text), None, "{text}");
        }
    }

    #[test]
    fn a_label_is_no_code() {
        for label in ["", "  ", "EUR", "E-42", "404", "20250101"] {
            assert!(!is_code(label), "{label}");
        }
        for code in [
            "reboot", "rm -rf /", "print(1)", "SELECT 1", "SHUTDOWN", "ls",
        ] {
            assert!(is_code(code), "{code}");
        }
    }
}
