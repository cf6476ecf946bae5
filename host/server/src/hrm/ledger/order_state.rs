//! What a report makes of an order: the state machine of executions.
//!
//! Invariants: the size filled in all never falls; an order that has ended stays as it ended; what was filled is booked, whenever it is reported and
//! however much it is.
//!
//! Must not know: other orders, instruments, the clock.

use ark_model::execution::ExecutionStatus;
use ark_model::ids::Millis;
use ark_model::size::Size;
use ark_store::{MarketOrder, MarketOrderState};

use crate::hrm::report_refusal::ReportRefusal;

/// The part of an execution report that changes the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Fill {
    /// What became of the order.
    pub status: ExecutionStatus,
    /// The size carried out in all so far. `None`: all of it when it is filled, nothing more when it has ended otherwise.
    pub filled: Option<Size>,
    /// The price of what this report adds, in the account's currency.
    pub price: Option<f64>,
    /// The result of what this report adds, as a fraction of the capital; a loss is negative.
    pub realised: Option<f64>,
    /// When it was reported.
    pub at: Millis,
}

/// What a report makes of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state from now on.
    pub state: MarketOrderState,
    /// The size filled in all from now on.
    pub filled: Size,
    /// What the report adds to it.
    pub added: Size,
    /// The part of `added` that is more than was approved.
    pub over: Size,
    /// Whether something is added to an order that had ended.
    pub is_late: bool,
}

/// Returns what a report makes of an order.
///
/// # Errors
/// The report contradicts the order, lowers its filled size, or lacks its own: see [`ReportRefusal`].
pub fn apply_report(order: &MarketOrder, fill: &Fill) -> Result<Transition, ReportRefusal> {
    let filled = filled_in_all(order, fill)?;
    if filled < order.filled {
        return Err(ReportRefusal::Falls {
            state: order.state,
            filled: order.filled,
            reported: filled,
        });
    }
    let added = filled.saturating_sub(order.filled);
    let reported = state_of(fill.status);
    let contradicts = || ReportRefusal::Contradicts {
        state: order.state,
        filled: order.filled,
        reported: fill.status.as_str(),
    };
    // The host ended it since no report came in time: what really became of it is news.
    let ended_by_host = order.state == MarketOrderState::Expired && order.expires_at.is_some();
    let repeats_fill = matches!(
        fill.status,
        ExecutionStatus::Filled | ExecutionStatus::PartiallyFilled
    );
    let state = if !order.state.is_final() {
        if fill.status == ExecutionStatus::Rejected && !order.filled.is_zero() {
            return Err(contradicts());
        }
        reported
    } else if !added.is_zero() || repeats_fill || reported == order.state {
        order.state
    } else if ended_by_host {
        reported
    } else {
        return Err(contradicts());
    };
    let ceiling = order.size.max(order.filled);
    Ok(Transition {
        state,
        filled,
        added,
        over: filled.saturating_sub(ceiling),
        is_late: order.state.is_final() && !added.is_zero(),
    })
}

/// Returns the size that is filled in all, as a report gives it.
fn filled_in_all(order: &MarketOrder, fill: &Fill) -> Result<Size, ReportRefusal> {
    let stated = fill.filled.filter(|size| !size.is_zero());
    match (fill.status, stated) {
        (ExecutionStatus::Filled, None) if fill.filled.is_none() => {
            Ok(order.size.max(order.filled))
        }
        (ExecutionStatus::Filled | ExecutionStatus::PartiallyFilled, None) => {
            Err(ReportRefusal::NoFilledSize(fill.status.as_str()))
        }
        (ExecutionStatus::Rejected, Some(_)) => Err(ReportRefusal::RejectedWithFill),
        (_, Some(size)) => Ok(size),
        (_, None) => Ok(fill.filled.unwrap_or(order.filled)),
    }
}

const fn state_of(status: ExecutionStatus) -> MarketOrderState {
    match status {
        ExecutionStatus::Filled => MarketOrderState::Filled,
        ExecutionStatus::PartiallyFilled => MarketOrderState::PartiallyFilled,
        ExecutionStatus::Cancelled => MarketOrderState::Cancelled,
        ExecutionStatus::Rejected => MarketOrderState::Rejected,
        ExecutionStatus::Expired => MarketOrderState::Expired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::action::Side;
    use ark_model::ids::DecisionId;
    use ark_store::{MarketOrderPurpose, OrderNumber};

    use ExecutionStatus::{Cancelled, Expired, Filled, PartiallyFilled, Rejected};

    const APPROVED: u64 = 5;

    fn make_order(state: MarketOrderState, filled: u64, ended_by_host: bool) -> MarketOrder {
        MarketOrder {
            number: OrderNumber(1),
            decision_id: DecisionId::fresh(),
            agent: "a".parse().unwrap(),
            symbol: "X".into(),
            purpose: MarketOrderPurpose::Open,
            side: Side::Buy,
            size: Size::from_units(APPROVED),
            leverage: 1.0,
            state,
            filled: Size::from_units(filled),
            opened: Size::from_units(filled),
            closed: Size::ZERO,
            entry_price: None,
            realised: 0.0,
            last_realised: None,
            since: Millis(0),
            expires_at: ended_by_host.then_some(Millis(1)),
        }
    }

    /// What a report makes of an order: the state, the size filled in all, what is over, whether it is late; or the refusal's kind.
    fn judge_report(
        order: &MarketOrder,
        status: ExecutionStatus,
        filled: Option<u64>,
    ) -> Result<(MarketOrderState, u64, u64, bool), &'static str> {
        let fill = Fill {
            status,
            filled: filled.map(Size::from_units),
            price: None,
            realised: None,
            at: Millis(2),
        };
        apply_report(order, &fill)
            .map(|to| (to.state, to.filled.units(), to.over.units(), to.is_late))
            .map_err(|refusal| match refusal {
                ReportRefusal::Contradicts { .. } => "contradicts",
                ReportRefusal::Falls { .. } => "falls",
                ReportRefusal::NoFilledSize(_) => "no size",
                ReportRefusal::RejectedWithFill => "rejected with fill",
                _ => "other",
            })
    }

    #[test]
    #[expect(
        clippy::too_many_lines,
        reason = "a table with a row for each transition"
    )]
    fn a_report_leads_to_the_state_of_the_table_or_is_refused() {
        use MarketOrderState as S;
        // State, filled before, status, reported size; what comes of it.
        type Case = (
            S,
            u64,
            ExecutionStatus,
            Option<u64>,
            Result<(S, u64, u64, bool), &'static str>,
        );
        let cases: &[Case] = &[
            (S::New, 0, Filled, None, Ok((S::Filled, 5, 0, false))),
            (S::New, 0, Filled, Some(3), Ok((S::Filled, 3, 0, false))),
            (S::New, 0, Filled, Some(50), Ok((S::Filled, 50, 45, false))),
            (S::New, 0, Filled, Some(0), Err("no size")),
            (S::New, 0, PartiallyFilled, None, Err("no size")),
            (S::New, 0, PartiallyFilled, Some(0), Err("no size")),
            (
                S::New,
                0,
                PartiallyFilled,
                Some(3),
                Ok((S::PartiallyFilled, 3, 0, false)),
            ),
            (
                S::New,
                0,
                PartiallyFilled,
                Some(7),
                Ok((S::PartiallyFilled, 7, 2, false)),
            ),
            (S::New, 0, Cancelled, None, Ok((S::Cancelled, 0, 0, false))),
            (
                S::New,
                0,
                Cancelled,
                Some(3),
                Ok((S::Cancelled, 3, 0, false)),
            ),
            (S::New, 0, Rejected, None, Ok((S::Rejected, 0, 0, false))),
            (S::New, 0, Rejected, Some(0), Ok((S::Rejected, 0, 0, false))),
            (S::New, 0, Rejected, Some(3), Err("rejected with fill")),
            (S::New, 0, Expired, None, Ok((S::Expired, 0, 0, false))),
            (
                S::PartiallyFilled,
                3,
                Filled,
                None,
                Ok((S::Filled, 5, 0, false)),
            ),
            (
                S::PartiallyFilled,
                3,
                PartiallyFilled,
                Some(3),
                Ok((S::PartiallyFilled, 3, 0, false)),
            ),
            (
                S::PartiallyFilled,
                3,
                PartiallyFilled,
                Some(2),
                Err("falls"),
            ),
            (
                S::PartiallyFilled,
                3,
                Cancelled,
                None,
                Ok((S::Cancelled, 3, 0, false)),
            ),
            (S::PartiallyFilled, 3, Cancelled, Some(2), Err("falls")),
            (
                S::PartiallyFilled,
                3,
                Cancelled,
                Some(4),
                Ok((S::Cancelled, 4, 0, false)),
            ),
            (S::PartiallyFilled, 3, Rejected, None, Err("contradicts")),
            (
                S::PartiallyFilled,
                7,
                PartiallyFilled,
                Some(8),
                Ok((S::PartiallyFilled, 8, 1, false)),
            ),
            (
                S::PartiallyFilled,
                7,
                Filled,
                None,
                Ok((S::Filled, 7, 0, false)),
            ),
            (S::Filled, 5, Filled, None, Ok((S::Filled, 5, 0, false))),
            (S::Filled, 5, Filled, Some(1), Err("falls")),
            (S::Filled, 5, Filled, Some(6), Ok((S::Filled, 6, 1, true))),
            (
                S::Filled,
                5,
                PartiallyFilled,
                Some(5),
                Ok((S::Filled, 5, 0, false)),
            ),
            (S::Filled, 5, PartiallyFilled, Some(3), Err("falls")),
            (S::Filled, 5, Cancelled, None, Err("contradicts")),
            (S::Filled, 5, Cancelled, Some(0), Err("falls")),
            (S::Filled, 5, Rejected, None, Err("contradicts")),
            (S::Filled, 5, Expired, None, Err("contradicts")),
            (
                S::Cancelled,
                3,
                Cancelled,
                None,
                Ok((S::Cancelled, 3, 0, false)),
            ),
            (
                S::Cancelled,
                3,
                Filled,
                None,
                Ok((S::Cancelled, 5, 0, true)),
            ),
            (
                S::Cancelled,
                5,
                Filled,
                None,
                Ok((S::Cancelled, 5, 0, false)),
            ),
            (
                S::Cancelled,
                3,
                PartiallyFilled,
                Some(4),
                Ok((S::Cancelled, 4, 0, true)),
            ),
            (S::Cancelled, 3, Rejected, None, Err("contradicts")),
            (
                S::Rejected,
                0,
                Filled,
                Some(2),
                Ok((S::Rejected, 2, 0, true)),
            ),
            (S::Rejected, 0, Cancelled, None, Err("contradicts")),
            (S::Expired, 0, Filled, None, Ok((S::Expired, 5, 0, true))),
            (S::Expired, 0, Cancelled, None, Err("contradicts")),
        ];
        for (state, before, status, filled, expected) in cases {
            let order = make_order(*state, *before, false);
            assert_eq!(
                judge_report(&order, *status, *filled),
                *expected,
                "{state:?} {before} {status:?} {filled:?}"
            );
        }
    }

    #[test]
    fn an_order_that_the_host_ended_accepts_the_executors_report() {
        use MarketOrderState as S;
        let lapsed = make_order(S::Expired, 0, true);
        assert_eq!(
            judge_report(&lapsed, Cancelled, None),
            Ok((S::Cancelled, 0, 0, false))
        );
        assert_eq!(
            judge_report(&lapsed, Rejected, None),
            Ok((S::Rejected, 0, 0, false))
        );
        assert_eq!(
            judge_report(&lapsed, Filled, None),
            Ok((S::Expired, 5, 0, true))
        );
    }
}
