//! What is in force on this host: halts, quarantines and tokens; the watchdog's alerts, the host's cursor in a fleet, how far it has read streams, and how far webhooks
//! have come.

mod alerts;
mod fleet;
mod halts;
mod redis;
mod tokens;
mod webhooks;

pub(crate) use alerts::{ALERT_COLUMNS, read_alert, write_alert};
pub use alerts::{AlertFilter, AlertRow};
pub use fleet::FleetCursor;
pub(crate) use fleet::write_fleet_cursor;
pub(crate) use halts::write_control_change;
pub use halts::{ControlChange, ControlRows};
pub(crate) use redis::write_redis_change;
pub use redis::{DeadLetter, RedisChange, StreamPosition};
pub(crate) use tokens::write_token_change;
pub use tokens::{TOKEN_PREFIX, TokenRow, TokenSecret};
pub(crate) use webhooks::write_webhook_change;
pub use webhooks::{NewDeadLetter, WebhookChange, WebhookDeadLetter, WebhookProgress, WebhookRow};
