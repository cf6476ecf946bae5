//! What rules are judged by: positions and trades, the operator's lists and the account; and what waits for a decision or had one.

mod account;
mod approvals;
mod idempotency;
mod lists;
mod positions;

pub(crate) use account::write_account_change;
pub use account::{AccountChange, AccountRow};
pub(crate) use approvals::write_approval_change;
pub use approvals::{Approval, ApprovalChange, ApprovalFilter, ApprovalStatus};
pub(crate) use idempotency::{find_idempotency, write_idempotency};
pub use lists::{List, ListChange, ListEntry, ListRow};
pub(crate) use lists::{replace_configured, write_list_change};
pub(crate) use positions::write_ledger_change;
pub use positions::{LedgerChange, LedgerRows, Position, PositionStatus};
