//! The journals of the upgrades and rollbacks beside which a canary does not go on, as arguments.

use std::path::PathBuf;

use ark_client::HostClient;
use ark_deploy::canary::ExcludedJournals;
use clap::Args;

use crate::production::journals::choose_journal;

/// Where the journals of the exchanges are beside which a canary does not go on.
#[derive(Debug, Default, Args)]
pub(super) struct OtherJournalArgs {
    /// The journal of this host's upgrades, none of which may be under way, if it has another place than its own.
    #[arg(long, value_name = "FILE")]
    upgrade_journal: Option<PathBuf>,
    /// The journal of this host's rollbacks, likewise.
    #[arg(long, value_name = "FILE")]
    rollback_journal: Option<PathBuf>,
}

impl OtherJournalArgs {
    pub(super) fn choose_journals(&self, client: &HostClient) -> anyhow::Result<ExcludedJournals> {
        Ok(ExcludedJournals {
            upgrade: choose_journal(self.upgrade_journal.clone(), "upgrade", client)?,
            rollback: choose_journal(self.rollback_journal.clone(), "rollback", client)?,
        })
    }
}
