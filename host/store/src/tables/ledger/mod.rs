//! What rules are judged by: orders and trades, the operator's lists and the account; and what waits for a decision or had one.

mod account;
mod approvals;
mod changes;
mod idempotency;
mod lists;
mod orders;

pub(crate) use account::write_account_change;
pub use account::{AccountChange, AccountRow};
pub(crate) use approvals::write_approval_change;
pub use approvals::{Approval, ApprovalChange, ApprovalFilter, ApprovalStatus};
pub use changes::{LedgerChange, LedgerRows, Promotion, ReportedExecution};
pub(crate) use changes::{NewTrades, write_ledger_change};
pub(crate) use idempotency::{find_idempotency, write_idempotency};
pub use lists::{List, ListChange, ListEntry, ListRow};
pub(crate) use lists::{replace_configured, write_list_change};
pub use orders::{FAR_AHEAD, MarketOrder, MarketOrderPurpose, MarketOrderState, OrderNumber};
