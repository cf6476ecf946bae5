//! The keys by which open parameters state what a typed family has fields for.

use crate::naming::Name;

/// What a key says its value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// A size as a fraction of capital, and nothing else.
    Size,
    /// Perhaps a size: `size`.
    BareSize,
    /// A size in an action that is a trade by its other fields: `quantity`.
    Quantity,
    /// Leverage.
    Leverage,
    /// The stop of a trade.
    StopLoss,
    /// The target of a trade.
    TakeProfit,
    /// The entry price of a trade.
    EntryPrice,
    /// The ratio of gain to loss of a trade.
    RiskReward,
    /// The direction of a trade.
    Side,
    /// Says that the action is a trade: the instrument.
    Instrument,
    /// A mark: material non-public information.
    MaterialNonpublic,
    /// A mark: manipulative intent.
    ManipulativeIntent,
    /// A mark: ahead of a client's order.
    AheadOfClientOrder,
    /// Code.
    Code,
    /// A path.
    Path,
    /// What is done.
    Operation,
    /// Says that personal data is in it.
    PersonalData,
    /// The consent of a user. Only a refusal counts.
    UserConsent,
    /// Says that the data is encrypted.
    Encryption,
    /// Says that the data is anonymised.
    Anonymized,
    /// How delicate the data is.
    Sensitivity,
    /// Where the data goes.
    Destination,
}

/// Keys by their letters. A key with `leverage` in it is one of leverage, unless it reduces it.
const KEYS: [(Field, &[&str]); 22] = [
    (
        Field::Size,
        &[
            "positionsizepct",
            "positionsize",
            "positionpct",
            "positionfraction",
            "sizepct",
            "sizepercent",
            "sizefraction",
            "ordersize",
            "tradesize",
            "capitalpct",
            "pctofcapital",
            "percentofcapital",
            "capitalfraction",
            "fractionofcapital",
        ],
    ),
    (Field::BareSize, &["size"]),
    (
        Field::Quantity,
        &[
            "quantity",
            "qty",
            "amount",
            "volume",
            "notional",
            "allocation",
            "exposure",
            "weight",
            "stake",
            "shares",
            "units",
            "lots",
            "contracts",
        ],
    ),
    (Field::Leverage, &["lev", "gearing"]),
    (Field::StopLoss, &["stoploss", "stopprice", "sl"]),
    (Field::TakeProfit, &["takeprofit", "targetprice", "tp"]),
    (Field::EntryPrice, &["entryprice", "limitprice"]),
    (
        Field::RiskReward,
        &["riskrewardratio", "riskreward", "rewardrisk"],
    ),
    (Field::Side, &["side", "orderside", "tradeside", "buysell"]),
    (
        Field::Instrument,
        &[
            "symbol",
            "ticker",
            "instrument",
            "tradingpair",
            "currencypair",
            "pair",
            "market",
            "isin",
        ],
    ),
    (
        Field::MaterialNonpublic,
        &[
            "materialnonpublic",
            "materialnonpublicinformation",
            "insiderinformation",
        ],
    ),
    (
        Field::ManipulativeIntent,
        &[
            "manipulativeintent",
            "manipulationintent",
            "marketmanipulation",
        ],
    ),
    (
        Field::AheadOfClientOrder,
        &[
            "aheadofclientorder",
            "aheadofclient",
            "frontrun",
            "frontrunning",
        ],
    ),
    (
        Field::Code,
        &[
            "code",
            "sourcecode",
            "script",
            "scriptbody",
            "command",
            "commands",
            "commandline",
            "cmd",
            "cmdline",
            "argv",
            "shell",
            "shellcommand",
            "bash",
            "sh",
            "powershell",
            "exec",
            "execute",
            "eval",
            "runcode",
            "python",
            "javascript",
            "lua",
            "sql",
            "program",
        ],
    ),
    (
        Field::Path,
        &[
            "path",
            "paths",
            "file",
            "files",
            "filename",
            "filepath",
            "dir",
            "directory",
            "folder",
            "uri",
            "url",
            "target",
            "location",
            "object",
            "key",
            "src",
            "dst",
        ],
    ),
    (
        Field::Operation,
        &[
            "operation",
            "op",
            "action",
            "method",
            "verb",
            "do",
            "mode",
            "intent",
            "act",
            "task",
        ],
    ),
    (
        Field::PersonalData,
        &["containspersonaldata", "personaldata", "containspii", "pii"],
    ),
    (
        Field::UserConsent,
        &["userconsent", "consent", "consentgiven"],
    ),
    (Field::Encryption, &["encryption", "encrypted"]),
    (Field::Anonymized, &["anonymized", "anonymised"]),
    (Field::Sensitivity, &["datasensitivity", "sensitivity"]),
    (
        Field::Destination,
        &["destination", "recipient", "sendto", "receiver"],
    ),
];

/// Words that say that something is taken away for good.
pub const DESTRUCTIVE: [&str; 17] = [
    "delete", "deletes", "deleting", "remove", "removing", "destroy", "erase", "wipe", "unlink",
    "rm", "rmdir", "rmtree", "shred", "truncate", "purge", "drop", "format",
];

impl Field {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Size,
        Self::BareSize,
        Self::Quantity,
        Self::Leverage,
        Self::StopLoss,
        Self::TakeProfit,
        Self::EntryPrice,
        Self::RiskReward,
        Self::Side,
        Self::Instrument,
        Self::MaterialNonpublic,
        Self::ManipulativeIntent,
        Self::AheadOfClientOrder,
        Self::Code,
        Self::Path,
        Self::Operation,
        Self::PersonalData,
        Self::UserConsent,
        Self::Encryption,
        Self::Anonymized,
        Self::Sensitivity,
        Self::Destination,
    ];

    /// Whether several statements of it can be judged as one: sizes, leverages and marks, not prices.
    pub const fn adds_up(self) -> bool {
        matches!(
            self,
            Self::Size
                | Self::Leverage
                | Self::MaterialNonpublic
                | Self::ManipulativeIntent
                | Self::AheadOfClientOrder
        )
    }

    /// The fields that a key says its value is.
    pub fn of(key: &Name) -> impl Iterator<Item = Self> {
        let letters = key.letters.as_str();
        let leverage = letters.contains("leverage") && !letters.contains("deleverage");
        KEYS.iter()
            .filter(move |(field, names)| {
                names.contains(&letters) || (*field == Self::Leverage && leverage)
            })
            .map(|(field, _)| *field)
    }
}
