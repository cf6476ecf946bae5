//! The schemas of choices: types whose value is one of several names.

use std::borrow::Cow;

use serde::Serialize;
use strum::VariantArray;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use ark_model::action::{Change, Criticality, DataOperation, Family, FileVerb, Sensitivity, Side};
use ark_model::control::{AlertSeverity, QuarantineCause};
use ark_model::decision::Outcome;
use ark_model::execution::ExecutionStatus;
use ark_model::facts::{ApprovalFact, Consent};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::principal::Role;
use ark_model::verdict::{RuleResult, Severity};
use ark_store::{ApprovalStatus, AuditKind, List};

/// Declares the schema of each choice: the schema's type, the choice, its name in the document, and its description there.
macro_rules! choices {
    ($($schema:ident: $choice:ty, $name:literal, $description:literal;)+) => {$(
        #[doc = $description]
        pub(crate) struct $schema;

        impl PartialSchema for $schema {
            fn schema() -> RefOr<Schema> {
                describe_choice::<$choice>($description)
            }
        }

        impl ToSchema for $schema {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )+};
}

/// Returns the schema of a choice: the names of all its variants, in the order of declaration.
fn describe_choice<T: Serialize + VariantArray>(description: &str) -> RefOr<Schema> {
    let names = T::VARIANTS.iter().map(|variant| serde_json::json!(variant));
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(names))
        .into()
}

choices! {
    OutcomeSchema: Outcome, "Outcome", "The outcome of a decision.";
    ApprovalFactSchema: ApprovalFact, "ApprovalFact", "Whether this action was approved.";
    ConsentSchema: Consent, "Consent", "The consent of the person the data is about.";
    RoleSchema: Role, "Role", "What a token may do. Every role may read. Beyond that a role may do only what is said of it, except that `admin` may do everything.";
    QuarantineCauseSchema: QuarantineCause, "Cause", "The cause of a quarantine.";
    ExecutionStatusSchema: ExecutionStatus, "ExecutionStatus", "What became of an approved trade or close.";
    AlertSeveritySchema: AlertSeverity, "AlertSeverity", "The severity of an alert.";
    SeveritySchema: Severity, "Severity", "The severity of a rule. A rule of severity `low` that fires warns; every other denies or holds the action.";
    RuleResultSchema: RuleResult, "RuleResult", "The answer of a rule.";
    FamilySchema: Family, "Family", "The action types that have the same typed parameters and are judged by the same rules.";
    CriticalitySchema: Criticality, "Criticality", "How much damage a mistake would do, as the proposer states it.";
    SideSchema: Side, "Side", "The direction of a trade.";
    SensitivitySchema: Sensitivity, "Sensitivity", "How sensitive data is.";
    DataOperationSchema: DataOperation, "DataOperation", "An operation on data.";
    FileVerbSchema: FileVerb, "FileVerb", "An operation on a file.";
    ChangeSchema: Change, "Change", "A change of one of the host's own guards.";
    PolicyModeSchema: PolicyMode, "Mode", "Whether a policy's verdicts affect the outcome.";
    PolicySourceSchema: PolicySource, "PolicySource", "Where a policy was declared. Only the same source can change the policy.";
    AuditKindSchema: AuditKind, "AuditKind", "The kind of an audit row.";
    ListSchema: List, "List", "A list.";
    ApprovalStatusSchema: ApprovalStatus, "ApprovalStatus", "The status of an approval.";
}
