//! The rollback that an upgrade becomes which goes back, and its journal.

use std::time::Duration;

use ark_client::HostClient;
use serde_json::Value;

use crate::exchange::data::database::kept_path;
use crate::exclusion::ExchangeKind;
use crate::journal::{Journal, JournalError};
use crate::rollback::RollbackPlan;

use super::error::UpgradeError;
use super::journal::{UpgradePlan, UpgradeStart};

/// How often the health of the stable version is checked after a way back.
const HEALTH_TRIES: u32 = 50;
/// The pause between two of these checks.
const HEALTH_PAUSE: Duration = Duration::from_secs(1);

/// The rollback that an upgrade becomes.
pub(super) fn plan_way_back(begin: &UpgradeStart, reason: &str) -> RollbackPlan {
    let UpgradeStart { id, plan, .. } = begin.clone();
    let kept = kept_path(&plan.snapshots, &id);
    RollbackPlan {
        version: String::new(),
        reason: format!("{id}: {reason}"),
        upgrade: Some(id),
        binary: plan.stable_binary,
        data_dir: plan.data_dir,
        snapshots: plan.snapshots,
        snapshot: kept.exists().then_some(kept),
        control: plan.stable_control,
        timeout: plan.timeout,
        tries: HEALTH_TRIES,
        pause: HEALTH_PAUSE,
        traffic: None,
        validation: plan.validation,
        canary_journal: plan.canary_journal,
        upgrade_journal: None,
    }
}

/// The journal of the rollback that a failed upgrade becomes; `None`: another process looks at it.
pub(super) fn open_way_back(
    client: &HostClient,
    plan: &UpgradePlan,
) -> Result<Option<Journal>, UpgradeError> {
    let owner = ExchangeKind::Rollback.owner_beside(client);
    match Journal::open::<Value>(&plan.rollback_journal, &owner) {
        Ok((journal, _)) => Ok(Some(journal)),
        Err(JournalError::InUse { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
