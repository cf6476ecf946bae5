//! Symbols of instruments: which texts are symbols ([`check_symbol`]), and the key that all spellings of one instrument share
//! ([`InstrumentKey`]).
//!
//! Venues and agents write one instrument in many ways: `BTC-USD`, `BTC/USD`, `btc_usd`, `BTCUSD`, `XBT-USD`. Whatever adds up or compares
//! instruments (exposure, time windows, lists, vetoes, reports) does so by the key; the symbol as it was given is kept beside it for showing
//! and for executors.
//!
//! Host and guests use this crate, so that both mean the same by a symbol.
//!
//! Invariant: two symbols with the same key are one instrument for every rule. A key that is too wide makes rules stricter (more exposure is
//! added up, more vetoes match), never weaker.
//!
//! Must not know: rules, lists, storage, the component model.

mod aliases;
mod characters;
mod key;
mod spellings;
mod symbol;

pub use aliases::{AliasError, InstrumentAliases, MAX_ALIASES};
pub use key::{InstrumentKey, unify_separators};
pub use spellings::MAX_SPELLINGS;
pub use symbol::{MAX_SYMBOL_BYTES, MAX_SYMBOL_CHARS, SymbolError, check_symbol};
