//! Books execution reports.
//!
//! A fill of a trade opens exposure. A fill of a close takes its size from the same agent's open orders in the instrument, the oldest first; what it trades
//! beyond them is exposure of its own. A result counts once, with the fill that it comes from, in the day of the report.
//!
//! Must not know: how reports arrive, where alerts go.

use std::sync::Arc;

use ark_model::ids::{DecisionId, Millis};
use ark_model::size::Size;
use ark_store::{LedgerChange, MarketOrder, MarketOrderPurpose, OrderNumber};

use crate::hrm::report_refusal::ReportRefusal;

use super::Ledger;
use super::order_book::ClosedPart;
use super::order_state::{Fill, Transition, apply_report};
use super::results::check_result;

/// What an operator must know of a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillAlert {
    /// It was reported after the order had ended.
    Late {
        /// The size.
        size: Size,
    },
    /// More was filled than was approved.
    Over {
        /// The size beyond what was approved.
        size: Size,
    },
    /// A close traded more than was open.
    Unmatched {
        /// The size beyond what was open.
        size: Size,
    },
}

/// A report that is booked.
#[derive(Debug)]
pub struct Booking {
    /// The order as it is now.
    pub order: Arc<MarketOrder>,
    /// What must be committed.
    pub changes: Vec<LedgerChange>,
    /// The size that the report added to what is filled.
    pub added: Size,
    /// The result that the report added; `None`: it added none, whatever it states.
    pub realised: Option<f64>,
    /// Whether the report changed the order. A repetition does not.
    pub is_news: bool,
    /// What an operator must know.
    pub alerts: Vec<FillAlert>,
}

impl Ledger {
    /// Returns the order of a decision, if it is in the book. Orders that ended long ago are not.
    #[must_use]
    pub fn find_order(&self, id: DecisionId) -> Option<&MarketOrder> {
        self.orders.find_order(id).map(Arc::as_ref)
    }

    /// Puts an order from the store back into the book. One that has no number gets one: it had ended. One whose time is over ends: the store may not have
    /// its end yet. Returns what must be committed, which is all that time has changed.
    pub fn restore_order(&mut self, mut order: MarketOrder, now: Millis) -> Vec<LedgerChange> {
        let key = self.aliases.find_key(&order.symbol);
        if order.number == OrderNumber::NONE {
            order.number = self.orders.take_number();
        }
        self.orders.put_order(&Arc::new(order), &key);
        self.advance_to(now);
        self.take_changes()
    }

    /// Books a report on an order that is in the book. `None`: it is not.
    ///
    /// # Errors
    /// See [`ReportRefusal`]. Nothing is changed then.
    pub fn book_report(
        &mut self,
        id: DecisionId,
        fill: &Fill,
    ) -> Option<Result<Booking, ReportRefusal>> {
        let order = Arc::clone(self.orders.find_order(id)?);
        Some(apply_report(&order, fill).and_then(|to| self.book_transition(&order, to, fill)))
    }

    fn book_transition(
        &mut self,
        before: &MarketOrder,
        to: Transition,
        fill: &Fill,
    ) -> Result<Booking, ReportRefusal> {
        let key = self.aliases.find_key(&before.symbol);
        let (parts, opened) = match before.purpose {
            MarketOrderPurpose::Open => (Vec::new(), to.added),
            MarketOrderPurpose::Close => {
                let by = Some(before.decision_id);
                self.orders.plan_close(&before.agent, &key, to.added, by)
            }
        };
        let realised = result_of(before, to, &parts, fill)?;
        let is_same = to.state == before.state && to.added.is_zero();
        let mut order = MarketOrder {
            state: to.state,
            filled: to.filled,
            opened: before.opened.saturating_add(opened),
            entry_price: mean_price(before, opened, fill.price),
            realised: before.realised + realised.unwrap_or(0.0),
            last_realised: realised.or(before.last_realised),
            since: if is_same { before.since } else { fill.at },
            ..before.clone()
        };
        if !is_same {
            // A late fill leaves the mark of an order that the host ended: see `apply_report`.
            order.expires_at = before.expires_at.filter(|_| to.is_late);
        } else if !before.state.is_final() {
            // The venue still has it.
            order.expires_at = None;
        }
        let mut changes: Vec<LedgerChange> = self
            .orders
            .close_parts(&parts, fill.at)
            .into_iter()
            .map(LedgerChange::ChangedOrder)
            .collect();
        let is_news = order != *before;
        let order = Arc::new(order);
        if is_news {
            self.orders.put_order(&order, &key);
            changes.push(LedgerChange::ChangedOrder(Arc::clone(&order)));
        }
        if let Some(realised) = realised {
            changes.push(self.results.record_result(realised, fill.at));
        }
        let mut alerts = Vec::new();
        if to.is_late {
            alerts.push(FillAlert::Late { size: to.added });
        }
        if !to.over.is_zero() {
            alerts.push(FillAlert::Over { size: to.over });
        }
        if before.purpose == MarketOrderPurpose::Close && !opened.is_zero() {
            alerts.push(FillAlert::Unmatched { size: opened });
        }
        Ok(Booking {
            order,
            changes,
            added: to.added,
            realised,
            is_news,
            alerts,
        })
    }
}

/// Returns the result that a report adds; `None`: it adds none.
///
/// # Errors
/// The report states a result that does not come from a new fill of a close, or cannot come from it.
fn result_of(
    order: &MarketOrder,
    to: Transition,
    parts: &[ClosedPart],
    fill: &Fill,
) -> Result<Option<f64>, ReportRefusal> {
    let Some(claimed) = fill.realised else {
        return Ok(None);
    };
    let is_nothing = claimed.abs() < f64::EPSILON;
    if order.purpose == MarketOrderPurpose::Open {
        return if is_nothing {
            Ok(None)
        } else {
            Err(ReportRefusal::ResultOfOpening)
        };
    }
    if to.added.is_zero() {
        let same = |booked: f64| (booked - claimed).abs() <= f64::EPSILON * booked.abs();
        return if is_nothing || same(order.realised) || order.last_realised.is_some_and(same) {
            Ok(None)
        } else {
            Err(ReportRefusal::ResultWithoutFill {
                claimed,
                booked: order.realised,
            })
        };
    }
    check_result(claimed, parts, fill.price)?;
    Ok(Some(claimed))
}

/// Returns the mean price of what an order opened, after `added` was opened at `price`; `None` when it is not known of all of it.
///
/// Sizes are of capital, so it is the mean that is weighted by pieces: size divided by price.
fn mean_price(order: &MarketOrder, added: Size, price: Option<f64>) -> Option<f64> {
    if added.is_zero() {
        return order.entry_price;
    }
    let price = price?;
    if order.opened.is_zero() {
        return Some(price);
    }
    let (before, added) = (order.opened.as_fraction(), added.as_fraction());
    let mean = (before + added) / (before / order.entry_price? + added / price);
    (mean.is_finite() && mean > 0.0).then_some(mean)
}
