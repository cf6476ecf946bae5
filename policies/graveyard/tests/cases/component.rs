//! The same cases put to the pinned component, in the host's own runtime: what is shipped must answer as its source does.

use std::path::Path;
use std::sync::LazyLock;

use ark_guest::policy as sdk;
use ark_model::{action, facts, verdict};
use ark_runtime::{
    Engine, EngineConfig, GraveyardSource, Pin, PinnedGraveyard, Policy, PolicyError,
};

static PINNED: LazyLock<Policy> = LazyLock::new(|| {
    let engine = start_engine();
    let pin = Pin::compiled_in().expect("a pin");
    PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, pin)
        .expect("the pinned Graveyard")
        .policy
});

/// Starts the host's engine. It keeps compiled modules: with nextest each test is a process, and one of them compiles the component for all.
pub fn start_engine() -> Engine {
    let config = EngineConfig {
        cache_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("modules")),
        ..EngineConfig::default()
    };
    Engine::new(&config).expect("an engine")
}

/// Asks the component, and compares with what the source said.
pub fn compare(action: &sdk::Action, facts: &sdk::Facts, source: &sdk::Verdict) {
    let mut instance = PINNED.new_instance().expect("an instance");
    let component = match instance.evaluate(None, &host_action(action), &host_facts(facts)) {
        Ok(verdict) => verdict,
        // The host takes no verdict that shows a number which is none. Such a verdict must be about such a number.
        Err(PolicyError::Malformed(problem)) if problem.contains("not finite") => {
            assert!(
                source
                    .answers
                    .iter()
                    .any(|answer| answer.answer == sdk::RuleResult::Error),
                "{problem}"
            );
            return;
        }
        Err(error) => panic!("{error}: {action:?} under {facts:?}"),
    };
    assert_eq!(component.answers.len(), source.answers.len());
    for (component, source) in component.answers.iter().zip(&source.answers) {
        assert_eq!(
            told(component),
            told(&host_answer(source)),
            "{action:?} under {facts:?}"
        );
    }
    assert_eq!(component.warnings, source.warnings);
    assert_eq!(
        component.compliance_score.to_bits(),
        source.compliance_score.to_bits()
    );
}

fn told(answer: &verdict::RuleAnswer) -> String {
    format!("{answer:?}")
}

fn host_answer(answer: &sdk::RuleAnswer) -> verdict::RuleAnswer {
    let value = |value: &sdk::Value| match value {
        sdk::Value::None => verdict::ObservedValue::None,
        sdk::Value::Flag(flag) => verdict::ObservedValue::Flag(*flag),
        sdk::Value::Number(number) => verdict::ObservedValue::Number(*number),
        sdk::Value::Text(text) => verdict::ObservedValue::Text(text.clone()),
    };
    verdict::RuleAnswer {
        rule: answer.rule,
        answer: match answer.answer {
            sdk::RuleResult::Pass => verdict::RuleResult::Pass,
            sdk::RuleResult::Warn => verdict::RuleResult::Warn,
            sdk::RuleResult::Violation => verdict::RuleResult::Violation,
            sdk::RuleResult::Hold => verdict::RuleResult::Hold,
            sdk::RuleResult::NotApplicable => verdict::RuleResult::NotApplicable,
            sdk::RuleResult::Error => verdict::RuleResult::Error,
        },
        observed: value(&answer.observed),
        limit: value(&answer.limit),
        nearest_passing: answer.nearest_passing,
    }
}

/// Facts that speak neither for nor against an action, in the host's own types.
pub fn neutral_host_facts() -> facts::Facts {
    facts::Facts::default()
}

fn host_facts(facts: &sdk::Facts) -> facts::Facts {
    facts::Facts {
        agent: facts.agent.clone(),
        now_ms: facts.now_ms,
        approval: match facts.approval {
            sdk::Approval::None => facts::ApprovalFact::None,
            sdk::Approval::Operator => facts::ApprovalFact::Operator,
            sdk::Approval::Human => facts::ApprovalFact::Human,
        },
        halt_active: facts.halt_active,
        audit_writable: facts.audit_writable,
        pin_holds: facts.pin_holds,
        watchdog_beating: facts.watchdog_beating,
        symbol_restricted: facts.symbol_restricted,
        client_order_pending: facts.client_order_pending,
        opposite_trade_age: facts.opposite_trade_age,
        promotion_age: facts.promotion_age,
        symbol_exposure: facts.symbol_exposure,
        daily_loss: facts.daily_loss,
        open_positions: facts.open_positions,
        personal_data: facts.personal_data.clone(),
        credentials: facts.credentials.clone(),
        consent: match facts.consent {
            sdk::Consent::Unknown => facts::Consent::Unknown,
            sdk::Consent::Granted => facts::Consent::Granted,
            sdk::Consent::Refused => facts::Consent::Refused,
        },
        causal_depth: facts.causal_depth,
        identical_actions: facts.identical_actions,
        unvalidated_sources: facts.unvalidated_sources.clone(),
        veto: facts.veto.clone(),
    }
}

/// The action in the host's own types.
pub fn host_action(action: &sdk::Action) -> action::Action {
    action::Action {
        action_type: action.action_type.clone(),
        parameters: host_parameters(&action.parameters),
        reasoning: action.reasoning.clone(),
        sources: action.sources.clone(),
        reversible: action.reversible,
        rollback_plan: action.rollback_plan.clone(),
        external: action.external,
        criticality: match action.criticality {
            sdk::Criticality::Low => action::Criticality::Low,
            sdk::Criticality::Normal => action::Criticality::Normal,
            sdk::Criticality::High => action::Criticality::High,
            sdk::Criticality::Critical => action::Criticality::Critical,
        },
    }
}

fn host_parameters(parameters: &sdk::Parameters) -> action::Parameters {
    match parameters.clone() {
        sdk::Parameters::Trade(p) => action::Parameters::Trade(action::Trade {
            symbol: p.symbol,
            side: match p.side {
                sdk::Side::Buy => action::Side::Buy,
                sdk::Side::Sell => action::Side::Sell,
            },
            position_size_pct: p.position_size_pct,
            leverage: p.leverage,
            entry_price: p.entry_price,
            stop_loss: p.stop_loss,
            take_profit: p.take_profit,
            risk_reward_ratio: p.risk_reward_ratio,
            material_nonpublic: p.material_nonpublic,
            manipulative_intent: p.manipulative_intent,
            ahead_of_client_order: p.ahead_of_client_order,
            extra_json: p.extra_json,
        }),
        sdk::Parameters::ClosePosition(p) => {
            action::Parameters::ClosePosition(action::ClosePosition {
                symbol: p.symbol,
                position_size_pct: p.position_size_pct,
                extra_json: p.extra_json,
            })
        }
        sdk::Parameters::Data(p) => action::Parameters::Data(action::DataHandling {
            operation: match p.operation {
                sdk::DataOperation::Handle => action::DataOperation::Handle,
                sdk::DataOperation::Collect => action::DataOperation::Collect,
                sdk::DataOperation::Store => action::DataOperation::Store,
                sdk::DataOperation::Share => action::DataOperation::Share,
            },
            subject: p.subject,
            contains_personal_data: p.contains_personal_data,
            data_sensitivity: p.data_sensitivity.map(|sensitivity| match sensitivity {
                sdk::Sensitivity::Low => action::Sensitivity::Low,
                sdk::Sensitivity::Medium => action::Sensitivity::Medium,
                sdk::Sensitivity::High => action::Sensitivity::High,
            }),
            encryption: p.encryption,
            anonymized: p.anonymized,
            destination: p.destination,
            purpose: p.purpose,
            user_consent: p.user_consent,
            extra_json: p.extra_json,
        }),
        sdk::Parameters::File(p) => action::Parameters::File(action::FileOperation {
            operation: match p.operation {
                sdk::FileVerb::Read => action::FileVerb::Read,
                sdk::FileVerb::Write => action::FileVerb::Write,
                sdk::FileVerb::Delete => action::FileVerb::Delete,
                sdk::FileVerb::Remove => action::FileVerb::Remove,
                sdk::FileVerb::Destroy => action::FileVerb::Destroy,
            },
            path: p.path,
            extra_json: p.extra_json,
        }),
        sdk::Parameters::Code(p) => action::Parameters::Code(action::ExecuteCode {
            language: p.language,
            code: p.code,
            extra_json: p.extra_json,
        }),
        sdk::Parameters::Message(p) => action::Parameters::Message(action::Message {
            topic: p.topic,
            to: p.to,
            symbol: p.symbol,
            text: p.text,
            payload_json: p.payload_json,
            extra_json: p.extra_json,
        }),
        sdk::Parameters::System(p) => action::Parameters::System(action::SystemChange {
            change: match p.change {
                sdk::Change::ModifyGraveyard => action::Change::ModifyGraveyard,
                sdk::Change::UpdateEthics => action::Change::UpdateEthics,
                sdk::Change::ChangeRules => action::Change::ChangeRules,
                sdk::Change::DisableWatchdog => action::Change::DisableWatchdog,
                sdk::Change::DisableAudit => action::Change::DisableAudit,
                sdk::Change::ClearHalt => action::Change::ClearHalt,
                sdk::Change::OverrideUser => action::Change::OverrideUser,
            },
            parameters_json: p.parameters_json,
        }),
        sdk::Parameters::Custom(p) => action::Parameters::Custom(action::Custom {
            kind: p.kind,
            parameters_json: p.parameters_json,
        }),
    }
}
