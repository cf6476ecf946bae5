//! Why a report on the execution of an order is refused.
//!
//! Must not know: the ledger, HTTP.

use ark_model::size::Size;
use ark_store::MarketOrderState;

/// Why an execution report is refused. Nothing of it was booked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReportRefusal {
    /// The order has ended, or was filled, and the report says otherwise.
    #[error(
        "the order is {} with {filled} of capital filled, which {reported} contradicts",
        .state.as_str()
    )]
    Contradicts {
        /// The state of the order.
        state: MarketOrderState,
        /// The size filled in all.
        filled: Size,
        /// The status that was reported.
        reported: &'static str,
    },
    /// The reported size is below what was reported before.
    #[error(
        "{reported} of capital is reported as filled in all, but {filled} was before (the order is {}): a cumulative size never falls",
        .state.as_str()
    )]
    Falls {
        /// The state of the order.
        state: MarketOrderState,
        /// The size filled in all before.
        filled: Size,
        /// The size in the report.
        reported: Size,
    },
    /// The status needs a size greater than 0.
    #[error("{0} needs the size that is filled in all so far, greater than 0")]
    NoFilledSize(&'static str),
    /// A rejected order has no fill.
    #[error(
        "a rejected order has no fill; an order that was filled in part and ended is cancelled"
    )]
    RejectedWithFill,
    /// A result is reported on a trade that opens exposure.
    #[error("a trade that opens exposure realises nothing; report the result on the close")]
    ResultOfOpening,
    /// A result is reported without a new fill.
    #[error(
        "a result of {claimed} is reported without a new fill, and {booked} is booked for this order"
    )]
    ResultWithoutFill {
        /// The result in the report, as a fraction of capital.
        claimed: f64,
        /// The result that is booked for the order.
        booked: f64,
    },
    /// The result cannot come from what was closed.
    #[error(
        "a result of {claimed} cannot come from the {closed} of capital that this report closes: it is from {least:.9} to {most:.9}{basis}"
    )]
    ResultOutOfBounds {
        /// The result in the report, as a fraction of capital.
        claimed: f64,
        /// The size that the report closes.
        closed: Size,
        /// The greatest loss, as a fraction of capital.
        least: f64,
        /// The greatest profit.
        most: f64,
        /// What the bounds rest on, for the message.
        basis: &'static str,
    },
}
