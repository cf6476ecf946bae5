//! Tells utoipa's macros which schema in `src/api/openapi/schemas` stands for a type of another crate.
//!
//! The orphan rule does not let this crate implement `ToSchema` for such a type, and the crates below do not know utoipa. A field whose type
//! ends in one of these names has the schema of the same name with `Schema` appended.

use utoipa_config::Config;

/// The modules of schemas, and the types that each describes.
const SCHEMAS: [(&str, &str); 5] = [
    (
        "ids",
        "AuditId DecisionId Digest Millis Name ObservedValue OperationId Share SignalId TraceId",
    ),
    (
        "choices",
        "AlertSeverity ApprovalFact ApprovalStatus AuditKind Change Consent Criticality DataOperation ExecutionStatus Family FileVerb List Outcome PolicyMode \
         PolicySource QuarantineCause Role RuleResult Sensitivity Severity Side",
    ),
    ("actions", "Action Parameters"),
    ("limits", "Limits LimitsTable QuotasTable"),
    (
        "records",
        "Alert ApprovalGiven Facts Halt Manifest Quarantine Rule SettingsProblem",
    ),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut schemas = Vec::new();
    for (module, types) in SCHEMAS {
        for name in types.split_whitespace() {
            let schema = format!("crate::api::openapi::schemas::{module}::{name}Schema");
            schemas.push((name, schema));
        }
    }
    schemas
        .iter()
        .fold(Config::new(), |config, (name, schema)| {
            config.alias_for(name, schema)
        })
        .write_to_file();
}
