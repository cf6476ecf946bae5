//! The policies, in the order they are asked: the Graveyard, then the operator policies.
//!
//! Invariant: every policy is asked, always, and one that cannot answer leaves a failure in its place, which denies.

use std::sync::Arc;

use crate::model::action::Action;
use crate::model::decision::{PolicyIdentity, PolicyVerdict};
use crate::model::facts::Facts;
use crate::runtime::{Policy, PolicyError, PolicyInstance};

/// After so many evaluations the warm instance is renewed, so that its memory cannot grow for ever.
const RENEW_AFTER: u32 = 10_000;

/// The policies in force.
#[derive(Clone)]
pub struct Chain {
    graveyard: Arc<Policy>,
    operator: Vec<Arc<Policy>>,
}

impl Chain {
    /// The Graveyard and the operator policies, in this order.
    #[must_use]
    pub fn new(graveyard: Arc<Policy>, operator: Vec<Arc<Policy>>) -> Self {
        Self {
            graveyard,
            operator,
        }
    }

    /// The policies' identities, in order.
    pub fn identities(&self) -> impl Iterator<Item = &Arc<PolicyIdentity>> {
        std::iter::once(&self.graveyard)
            .chain(&self.operator)
            .map(|policy| policy.identity())
    }

    /// The Graveyard's identity.
    #[must_use]
    pub fn graveyard(&self) -> &Arc<PolicyIdentity> {
        self.graveyard.identity()
    }

    /// A judge with no history: for a thread that decides, or for one replay.
    #[must_use]
    pub fn judge(&self) -> Judge {
        Judge {
            chain: self.clone(),
            warm: None,
            evaluations: 0,
        }
    }
}

/// Evaluates the chain. It keeps one instance of the Graveyard warm (whose source holds no state between evaluations); operator policies
/// get a fresh instance each time.
pub struct Judge {
    chain: Chain,
    warm: Option<PolicyInstance>,
    evaluations: u32,
}

impl Judge {
    /// Asks every policy.
    pub fn verdicts(&mut self, action: &Action, facts: &Facts) -> Vec<PolicyVerdict> {
        let graveyard = self.graveyard(action, facts);
        let mut verdicts = Vec::with_capacity(1 + self.chain.operator.len());
        verdicts.push(part(&self.chain.graveyard, graveyard));
        for policy in &self.chain.operator {
            let verdict = policy
                .instance()
                .and_then(|mut instance| instance.evaluate(None, action, facts));
            verdicts.push(part(policy, verdict));
        }
        verdicts
    }

    fn graveyard(
        &mut self,
        action: &Action,
        facts: &Facts,
    ) -> Result<crate::model::verdict::Verdict, PolicyError> {
        self.evaluations += 1;
        if self.evaluations > RENEW_AFTER {
            self.evaluations = 0;
            self.warm = None;
        }
        let mut instance = match self.warm.take() {
            Some(instance) => instance,
            None => self.chain.graveyard.instance()?,
        };
        let verdict = instance.evaluate(None, action, facts)?;
        self.warm = Some(instance);
        Ok(verdict)
    }
}

fn part(
    policy: &Policy,
    verdict: Result<crate::model::verdict::Verdict, PolicyError>,
) -> PolicyVerdict {
    let verdict = verdict.map_err(|error| {
        tracing::error!(policy = policy.identity().metadata.name, %error, "policy could not judge: denied");
        error.to_string()
    });
    PolicyVerdict {
        policy: Arc::clone(policy.identity()),
        verdict,
    }
}
