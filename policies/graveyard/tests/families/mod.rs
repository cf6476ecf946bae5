//! The table, and a case for each of its cells.

use ark_guest::policy::{Action, Criticality, Facts, FileVerb, Parameters};

use crate::cases::{
    but, close, code, custom, data, facts, file, message, sale, system, text, trade, with_open,
};

/// A family of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionFamily {
    Trade,
    ClosePosition,
    Data,
    File,
    Code,
    Message,
    System,
    Custom,
}

use ActionFamily::{ClosePosition, Code, Custom, Data, File, Message, System, Trade};

impl ActionFamily {
    pub const ALL: [Self; 8] = [
        Trade,
        ClosePosition,
        Data,
        File,
        Code,
        Message,
        System,
        Custom,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Trade => "trade",
            ClosePosition => "close_position",
            Data => "data",
            File => "file",
            Code => "code",
            Message => "message",
            System => "system",
            Custom => "custom",
        }
    }

    pub const fn of(parameters: &Parameters) -> Self {
        match parameters {
            Parameters::Trade(_) => Trade,
            Parameters::ClosePosition(_) => ClosePosition,
            Parameters::Data(_) => Data,
            Parameters::File(_) => File,
            Parameters::Code(_) => Code,
            Parameters::Message(_) => Message,
            Parameters::System(_) => System,
            Parameters::Custom(_) => Custom,
        }
    }
}

/// Families to which a rule applies, or does not, for one reason.
pub struct FamilyGroup {
    pub applies: bool,
    pub families: &'static [ActionFamily],
    pub why: &'static str,
}

/// A rule and all families.
pub struct Row {
    pub rule: u16,
    pub parts: &'static [FamilyGroup],
}

impl Row {
    pub fn applies_to(&self, family: ActionFamily) -> bool {
        self.parts
            .iter()
            .any(|part| part.applies && part.families.contains(&family))
    }
}

const fn row(rule: u16, parts: &'static [FamilyGroup]) -> Row {
    Row { rule, parts }
}

const fn applies(families: &'static [ActionFamily], why: &'static str) -> FamilyGroup {
    FamilyGroup {
        applies: true,
        families,
        why,
    }
}

const fn not(families: &'static [ActionFamily], why: &'static str) -> FamilyGroup {
    FamilyGroup {
        applies: false,
        families,
        why,
    }
}

const NOT_IN_THE_MARKET: &[ActionFamily] = &[Data, File, Code, Message, System];
const MARKED: &str = "as far as its parameters carry the mark; a trade in an instrument that they carry cannot be judged (rule 1)";
const CARRIES_A_TRADE: &str = "as far as its parameters carry a trade's fields";

/// The table.
pub const COVERAGE: [Row; 26] = [
    row(
        1,
        &[
            applies(
                &[Trade, ClosePosition],
                "closing a position is a trade in the market too",
            ),
            applies(&[Custom], MARKED),
            not(NOT_IN_THE_MARKET, "nothing is traded"),
        ],
    ),
    row(
        2,
        &[
            applies(
                &[Trade],
                "a trade on the other side in the window is a round trip",
            ),
            applies(
                &[ClosePosition],
                "a warning only: a close reduces what is held, and nobody may be trapped in a position",
            ),
            applies(&[Custom], MARKED),
            not(NOT_IN_THE_MARKET, "nothing is traded"),
        ],
    ),
    row(
        3,
        &[
            applies(
                &[Trade],
                "a sale profits from the promotion; buying does not",
            ),
            applies(&[ClosePosition], "closing a position may be a sale"),
            not(NOT_IN_THE_MARKET, "nothing is sold"),
            not(
                &[Custom],
                "a sale that its parameters carry cannot be judged (rule 1), which denies; an action type that sells is declared in the family `trade`",
            ),
        ],
    ),
    row(
        4,
        &[
            applies(
                &[Trade, ClosePosition],
                "closing a position is a trade in the market too",
            ),
            applies(&[Custom], MARKED),
            not(NOT_IN_THE_MARKET, "nothing is traded"),
        ],
    ),
    row(
        5,
        &[
            applies(&[Trade], "a trade adds exposure, on either side"),
            applies(&[Custom], CARRIES_A_TRADE),
            not(&[ClosePosition], "a close only reduces exposure"),
            not(NOT_IN_THE_MARKET, "no capital is committed"),
        ],
    ),
    row(
        6,
        &[
            applies(&[Trade], "a trade opens risk"),
            applies(&[Custom], CARRIES_A_TRADE),
            not(
                &[ClosePosition],
                "a close reduces risk, on a bad day above all",
            ),
            not(NOT_IN_THE_MARKET, "no capital is committed"),
        ],
    ),
    row(
        7,
        &[
            applies(&[Trade], "a trade states its leverage, or has 1"),
            applies(&[Custom], CARRIES_A_TRADE),
            not(&[ClosePosition], "a close has no leverage"),
            not(NOT_IN_THE_MARKET, "no capital is committed"),
        ],
    ),
    row(
        8,
        &[
            applies(
                &[Trade],
                "a trade opens a position that must end at a bounded loss",
            ),
            applies(&[Custom], CARRIES_A_TRADE),
            not(&[ClosePosition], "a close opens nothing"),
            not(NOT_IN_THE_MARKET, "nothing is opened"),
        ],
    ),
    row(
        9,
        &[
            applies(&[Trade], "a trade risks a loss for a gain"),
            applies(&[Custom], CARRIES_A_TRADE),
            not(&[ClosePosition], "a close risks nothing more"),
            not(NOT_IN_THE_MARKET, "nothing is risked in the market"),
        ],
    ),
    row(
        10,
        &[
            applies(&[Trade], "a trade opens a position"),
            applies(&[Custom], CARRIES_A_TRADE),
            not(&[ClosePosition], "a close opens nothing"),
            not(NOT_IN_THE_MARKET, "nothing is opened"),
        ],
    ),
    row(
        11,
        &[
            applies(&[Trade], "a large or levered trade"),
            applies(&[File], "deleting, removing and destroying"),
            applies(&[Code], "code can do anything"),
            not(&[ClosePosition], "a close reduces risk and must not wait"),
            not(&[Data, Message], "nothing is destroyed, run or risked"),
            not(&[System], "an attempt on a guard is denied by its own rule"),
            applies(
                &[Custom],
                "as far as its parameters carry such a trade, code, or a destructive operation on a path",
            ),
        ],
    ),
    row(
        12,
        &[applies(
            &ActionFamily::ALL,
            "nothing may happen that is not recorded",
        )],
    ),
    row(
        13,
        &[applies(
            &ActionFamily::ALL,
            "any action can name an attempt on a user override",
        )],
    ),
    row(
        14,
        &[applies(
            &ActionFamily::ALL,
            "a halt stops everything but reading a file and halting",
        )],
    ),
    row(
        15,
        &[
            applies(&[Data], "only these parameters say where data goes"),
            applies(
                &[Custom],
                "as far as its parameters say that personal data is in it",
            ),
            not(
                &[Trade, ClosePosition, File, Code, System],
                "the action is not about data of a person",
            ),
            not(
                &[Message],
                "a message with personal data is denied by rule 17, wherever it goes",
            ),
        ],
    ),
    row(
        16,
        &[
            applies(&[Data], "only these parameters name a subject"),
            applies(
                &[Custom],
                "as far as its parameters say that personal data is in it",
            ),
            not(
                &[Trade, ClosePosition, File, Code, System],
                "the action names no subject",
            ),
            not(
                &[Message],
                "a message with personal data is denied by rule 17, whatever was agreed",
            ),
        ],
    ),
    row(
        17,
        &[
            applies(&[Message], "what is said cannot be unsaid"),
            not(&[Data], "data of a person is judged by rules 15 and 16"),
            not(
                &[Trade, ClosePosition, File, Code, System, Custom],
                "nothing is said to anybody",
            ),
        ],
    ),
    row(
        18,
        &[applies(
            &ActionFamily::ALL,
            "the host looks for credentials in every action",
        )],
    ),
    row(
        19,
        &[applies(
            &ActionFamily::ALL,
            "any action can name an attempt on the rules",
        )],
    ),
    row(
        20,
        &[applies(&ActionFamily::ALL, "nothing is done unwatched")],
    ),
    row(
        21,
        &[applies(
            &ActionFamily::ALL,
            "any action can name its sources",
        )],
    ),
    row(
        22,
        &[applies(
            &ActionFamily::ALL,
            "any action can repeat without end",
        )],
    ),
    row(
        23,
        &[applies(&ActionFamily::ALL, "a veto can name any action")],
    ),
    row(
        24,
        &[applies(&ActionFamily::ALL, "every action has a reason")],
    ),
    row(
        25,
        &[applies(
            &ActionFamily::ALL,
            "any action can be irreversible",
        )],
    ),
    row(
        26,
        &[applies(&ActionFamily::ALL, "any action can be critical")],
    ),
];

/// Actions of a family that carry nothing beyond it.
pub fn quiet_actions(family: ActionFamily) -> Vec<Action> {
    match family {
        Trade => vec![trade(|_| {}), sale(|_| {})],
        ClosePosition => vec![close()],
        Data => vec![data(|_| {}), data(|d| d.destination = Some("x".to_owned()))],
        File => vec![file(FileVerb::Read, "a"), file(FileVerb::Write, "a")],
        Code => vec![code("print(1)")],
        Message => ["message", "publish", "report", "log"].map(message).into(),
        System => vec![system("clear_halt", ark_guest::policy::Change::ClearHalt)],
        Custom => vec![
            custom("rebalance", "{}"),
            custom("paint", r#"{"colour":7}"#),
        ],
    }
}

/// Every fact that speaks against an action.
pub fn adverse_facts() -> Facts {
    facts(|f| {
        (f.halt_active, f.audit_writable, f.pin_holds) = (true, false, false);
        f.watchdog_beating = false;
        (f.symbol_restricted, f.client_order_pending) = (true, true);
        (f.opposite_trade_age, f.promotion_age) = (Some(0.0), Some(0.0));
        (f.symbol_exposure, f.daily_loss, f.open_positions) = (1.0, 1.0, 99);
        (f.personal_data, f.credentials) = (text(&["email"]), text(&["jwt"]));
        (f.causal_depth, f.identical_actions) = (99, 99);
        (f.unvalidated_sources, f.veto) = (text(&["rumour"]), Some("no".to_owned()));
    })
}

/// A case of a family in which a rule fires.
///
/// # Panics
/// There is none: the table says that the rule applies, and nothing shows it.
pub fn firing_case(rule: u16, family: ActionFamily) -> (Action, Facts) {
    let plain = || {
        quiet_actions(family)
            .pop()
            .expect("every family has an action")
    };
    let named = |key: &str| with_open(plain(), &format!("{{\"{key}\":true}}"));
    let under = |change: fn(&mut Facts)| facts(change);
    let neutral = Facts::default;
    match (rule, family) {
        (1, Custom) => (custom("x", r#"{"material_nonpublic":true}"#), neutral()),
        (2, Custom) => (custom("x", r#"{"manipulative_intent":true}"#), neutral()),
        (4, Custom) => (custom("x", r#"{"ahead_of_client_order":true}"#), neutral()),
        (5, Custom) => (custom("x", r#"{"size":0.9}"#), neutral()),
        (6, Custom) => (
            custom("x", r#"{"size":0.01}"#),
            under(|f| f.daily_loss = 0.05),
        ),
        (7, Custom) => (custom("x", r#"{"Leverage":9}"#), neutral()),
        (8, Custom) => (custom("x", r#"{"size":0.01}"#), neutral()),
        (9, Custom) => (
            custom(
                "x",
                r#"{"size":0.01,"stop_loss":95,"entry_price":100,"take_profit":101}"#,
            ),
            neutral(),
        ),
        (10, Custom) => (
            custom("x", r#"{"size":0.01}"#),
            under(|f| f.open_positions = 5),
        ),
        (11, Custom) => (custom("x", r#"{"code":"print(1)"}"#), neutral()),
        (1, _) => (plain(), under(|f| f.symbol_restricted = true)),
        (2, _) => (plain(), under(|f| f.opposite_trade_age = Some(1.0))),
        (3, _) => (plain(), under(|f| f.promotion_age = Some(1.0))),
        (4, _) => (plain(), under(|f| f.client_order_pending = true)),
        (5, Trade) => (plain(), under(|f| f.symbol_exposure = 0.06)),
        (6, Trade) => (plain(), under(|f| f.daily_loss = 0.05)),
        (7, Trade) => (trade(|t| t.leverage = 2.5), neutral()),
        (8, Trade) => (trade(|t| t.stop_loss = None), neutral()),
        (9, Trade) => (trade(|t| t.take_profit = Some(101.0)), neutral()),
        (10, Trade) => (plain(), under(|f| f.open_positions = 5)),
        (11, Trade) => (trade(|t| t.position_size_pct = 0.09), neutral()),
        (11, File) => (file(FileVerb::Delete, "a"), neutral()),
        (11, Code) => (plain(), neutral()),
        (12, _) => (named("skip_audit"), neutral()),
        (13, _) => (named("ignore_user_override"), neutral()),
        (14, _) => (plain(), under(|f| f.halt_active = true)),
        (15, Custom) => (
            custom("x", r#"{"personal_data":true,"destination":"ad-network"}"#),
            neutral(),
        ),
        (16, Custom) => (custom("x", r#"{"userConsent":false}"#), neutral()),
        (15, Data) => (plain(), under(|f| f.personal_data = text(&["email"]))),
        (16, Data) => (data(|d| d.contains_personal_data = true), neutral()),
        (17, Message) => (plain(), under(|f| f.personal_data = text(&["email"]))),
        (18, _) => (plain(), under(|f| f.credentials = text(&["jwt"]))),
        (19, _) => (named("patch_graveyard"), neutral()),
        (20, _) => (named("stop_watchdog"), neutral()),
        (21, _) => (
            plain(),
            under(|f| f.unvalidated_sources = text(&["rumour"])),
        ),
        (22, _) => (plain(), under(|f| f.identical_actions = 10)),
        (23, _) => (plain(), under(|f| f.veto = Some("no".to_owned()))),
        (24, _) => (but(plain(), |a| a.reasoning = None), neutral()),
        (25, _) => (but(plain(), |a| a.reversible = false), neutral()),
        (26, _) => (
            but(plain(), |a| a.criticality = Criticality::Critical),
            neutral(),
        ),
        (rule, family) => panic!("no case makes rule {rule} fire for {}", family.name()),
    }
}
