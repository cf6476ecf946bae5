//! Orders in the market: one for each approved trade and close, with what is known of its execution.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ark_model::action::Side;
use ark_model::ids::{DecisionId, Millis, Name};
use ark_model::size::Size;
use rusqlite::{Connection, Row, params};

use crate::error::ReadError;
use crate::query::{
    RowInsert, RowValues, execute_cached, malformed_column, millis_column, optional_millis,
    parse_required, select_rows,
};
use crate::reader::Reader;

/// How far ahead of the clock a time may be and still be taken for one of a clock that was set back. It exceeds every window that protects: a time
/// further ahead is of a clock that was wrong, and counts as now.
pub const FAR_AHEAD: Duration = Duration::from_hours(25);

/// The state of an order, as FIX names it. Every state but the first two is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum MarketOrderState {
    /// Approved; nothing was reported.
    New,
    /// Carried out in part; the rest is still in the market.
    PartiallyFilled,
    /// Carried out.
    Filled,
    /// Cancelled; what was filled before stays.
    Cancelled,
    /// Not taken by the venue.
    Rejected,
    /// Ended by time, at the venue or, without a report, by the host.
    Expired,
}

impl MarketOrderState {
    /// The state as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether no further execution is expected.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::New | Self::PartiallyFilled)
    }
}

/// Whether a market order opens or closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum MarketOrderPurpose {
    /// It opens exposure: a trade.
    Open,
    /// It takes exposure away: a `close_position`.
    Close,
}

impl MarketOrderPurpose {
    fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The number of a live order. No two live orders have the same; a new one gets the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct OrderNumber(pub u64);

impl OrderNumber {
    /// None yet: that of an order that is being made, or was read from the database after it had ended.
    pub const NONE: Self = Self(0);

    /// The next number.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// An order in the market.
#[derive(Debug, Clone, PartialEq)]
pub struct MarketOrder {
    /// Its number.
    pub number: OrderNumber,
    /// The decision that approved it.
    pub decision_id: DecisionId,
    /// The agent that proposed it.
    pub agent: Name,
    /// The instrument, as the proposal spells it.
    pub symbol: Arc<str>,
    /// What it is for.
    pub purpose: MarketOrderPurpose,
    /// The side it trades. That of a close is the opposite of what it closes.
    pub side: Side,
    /// The approved size.
    pub size: Size,
    /// The leverage.
    pub leverage: f64,
    /// The state.
    pub state: MarketOrderState,
    /// The size carried out in all. It never falls.
    pub filled: Size,
    /// The part of `filled` that opened exposure: all of it for a trade; for a close what it traded beyond what was open.
    pub opened: Size,
    /// The part of `opened` that was closed again.
    pub closed: Size,
    /// The mean price at which `opened` was traded; `None` when a report did not state one.
    pub entry_price: Option<f64>,
    /// The result of its fills, as a fraction of capital; a loss is negative.
    pub realised: f64,
    /// The last result that was added to `realised`.
    pub last_realised: Option<f64>,
    /// When it got this state.
    pub since: Millis,
    /// When it ends by itself without a report. It stays set when it has ended so.
    pub expires_at: Option<Millis>,
}

impl MarketOrder {
    /// The size that is approved and not filled, while a fill is expected.
    #[must_use]
    pub const fn working(&self) -> Size {
        if self.state.is_final() {
            Size::ZERO
        } else {
            self.size.saturating_sub(self.filled)
        }
    }

    /// The size that was opened and not closed.
    #[must_use]
    pub const fn open(&self) -> Size {
        self.opened.saturating_sub(self.closed)
    }

    /// What counts as exposure: what is open, and what may still be opened.
    #[must_use]
    pub const fn exposure(&self) -> Size {
        match self.purpose {
            MarketOrderPurpose::Open => self.open().saturating_add(self.working()),
            MarketOrderPurpose::Close => self.open(),
        }
    }

    /// Whether it is in the market, or something of it is open.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !self.state.is_final() || !self.open().is_zero()
    }
}

pub(super) const fn side_text(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

pub(super) fn side_column(row: &Row<'_>, column: usize) -> rusqlite::Result<Side> {
    let text: String = row.get(column)?;
    match text.as_str() {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        other => Err(malformed_column(column, other)),
    }
}

/// Writes an order that has changed. It is in the table `orders`, under its number, while it is live, and in `ended_orders` otherwise: a late report makes one live
/// again. With its first state after [`MarketOrderState::New`] the trade that it is gets into `last_trades`: until then its own row tells of it, so that an
/// approval writes one row less.
pub(super) fn write_order(connection: &Connection, order: &MarketOrder) -> rusqlite::Result<()> {
    let mut id = [0; 36];
    let id = order.decision_id.write_text(&mut id);
    let number = order.number.0;
    if order.state != MarketOrderState::New {
        let far_ahead = order.since.saturating_add(FAR_AHEAD);
        execute_cached(
            connection,
            RECORD_TRADE,
            params![number, order.since.0, far_ahead.0, id],
        )?;
    }
    // By the id too, so that no other order is lost.
    execute_cached(
        connection,
        "DELETE FROM orders WHERE number = ?1 AND decision_id = ?2",
        params![number, id],
    )?;
    if order.is_live() {
        execute_cached(
            connection,
            "DELETE FROM ended_orders WHERE decision_id = ?1",
            [id],
        )?;
        INSERT_LIVE.execute(connection, std::slice::from_ref(order), bind_live_order)
    } else {
        UPSERT_ENDED.execute(connection, std::slice::from_ref(order), bind_order)
    }
}

/// Writes orders that were approved: they have no rows yet.
pub(super) fn write_new_orders(
    connection: &Connection,
    orders: &[&MarketOrder],
) -> rusqlite::Result<()> {
    INSERT_LIVE.execute(connection, orders, |values, order| {
        bind_live_order(values, order)
    })
}

/// Records when an order that is new, and opens, was approved. A clock that was set back makes no trade earlier; a time that is far ahead counts as that of
/// the order's next state.
const RECORD_TRADE: &str = "INSERT INTO last_trades (agent, symbol, side, at)
     SELECT agent, symbol, side, iif(since > ?3, ?2, since) FROM orders
     WHERE number = ?1 AND decision_id = ?4 AND state = 'new' AND purpose = 'open'
     ON CONFLICT (agent, symbol, side) DO UPDATE SET at = max(iif(at > ?3, ?2, at), excluded.at)";

static INSERT_LIVE: LazyLock<RowInsert> = LazyLock::new(|| {
    RowInsert::new(
        &format!("INSERT OR FAIL INTO orders ({ORDER_COLUMNS}, number)"),
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "",
    )
});

static UPSERT_ENDED: LazyLock<RowInsert> = LazyLock::new(|| {
    RowInsert::new(
        &format!("INSERT INTO ended_orders ({ORDER_COLUMNS})"),
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "ON CONFLICT (decision_id) DO UPDATE SET state = excluded.state, filled = excluded.filled, opened = excluded.opened,
             closed = excluded.closed, entry_price = excluded.entry_price, realised = excluded.realised,
             last_realised = excluded.last_realised, since = excluded.since, expires_at = excluded.expires_at",
    )
});

/// Gives the values of [`ORDER_COLUMNS`], and the number.
fn bind_live_order(values: &mut RowValues<'_, '_>, order: &MarketOrder) -> rusqlite::Result<()> {
    bind_order(values, order)?;
    values.push(order.number.0)
}

/// Gives the values of [`ORDER_COLUMNS`].
fn bind_order(values: &mut RowValues<'_, '_>, order: &MarketOrder) -> rusqlite::Result<()> {
    let mut id = [0; 36];
    values.push(order.decision_id.write_text(&mut id))?;
    values.push(order.agent.as_str())?;
    values.push(&*order.symbol)?;
    values.push(order.purpose.as_str())?;
    values.push(side_text(order.side))?;
    values.push(order.size.units())?;
    values.push(order.leverage)?;
    values.push(order.state.as_str())?;
    values.push(order.filled.units())?;
    values.push(order.opened.units())?;
    values.push(order.closed.units())?;
    values.push(order.entry_price)?;
    values.push(order.realised)?;
    values.push(order.last_realised)?;
    values.push(order.since.0)?;
    values.push(order.expires_at.map(|at| at.0))
}

const ORDER_COLUMNS: &str = "decision_id, agent, symbol, purpose, side, size, leverage, state, filled, opened, closed, entry_price,
     realised, last_realised, since, expires_at";

/// Reads [`ORDER_COLUMNS`], and the number.
fn read_order(row: &Row<'_>) -> rusqlite::Result<MarketOrder> {
    let size = |column| row.get(column).map(Size::from_units);
    Ok(MarketOrder {
        number: OrderNumber(row.get(16)?),
        decision_id: parse_required(row, 0)?,
        agent: parse_required(row, 1)?,
        symbol: row.get(2)?,
        purpose: parse_required(row, 3)?,
        side: side_column(row, 4)?,
        size: size(5)?,
        leverage: row.get(6)?,
        state: parse_required(row, 7)?,
        filled: size(8)?,
        opened: size(9)?,
        closed: size(10)?,
        entry_price: row.get(11)?,
        realised: row.get(12)?,
        last_realised: row.get(13)?,
        since: millis_column(row, 14)?,
        expires_at: optional_millis(row, 15)?,
    })
}

/// The orders that are in the market, or of which something is open.
pub(super) fn load_live_orders(connection: &Connection) -> rusqlite::Result<Vec<MarketOrder>> {
    select_rows(
        connection,
        &format!("SELECT {ORDER_COLUMNS}, number FROM orders"),
        [],
        read_order,
    )
}

impl Reader {
    /// The order of an approved trade or close; `None`: the decision approved none. What has not ended is searched among all live orders, which is for the few
    /// that the ledger has forgotten while their end waits to be committed: it has the others.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn trade_order(&self, decision_id: DecisionId) -> Result<Option<MarketOrder>, ReadError> {
        self.select_row(
            &format!(
                "SELECT {ORDER_COLUMNS}, 0 FROM ended_orders WHERE decision_id = ?1
                 UNION ALL SELECT {ORDER_COLUMNS}, number FROM orders WHERE decision_id = ?1"
            ),
            [decision_id.to_string()],
            read_order,
        )
    }
}
