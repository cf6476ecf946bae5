//! Which decisions a list or an export has.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use ark_model::check::{FieldError, check_symbol, clip_for_error};
use ark_model::decision::Outcome;
use ark_model::ids::{Millis, Name, TraceId};
use ark_model::similar::rank_similar;
use ark_model::verdict::Rule;
use ark_store::{DecisionFilter, ReadError};

use crate::api::http::fields::{
    MAX_INTEGER, field_schema, is_plain, symbol_schema, text_field, text_schema,
};
use crate::api::http::pagination::{Limit, RowCursor};
use crate::api::http::preferences::RulesShown;
use crate::api::http::problem::Problem;
use crate::api::state::Api;
use crate::hrm::Hrm;

/// A moment in a query.
#[derive(Debug, Clone, Copy)]
struct QueryMoment(Millis);

/// What a moment in a query must be.
const MOMENT_FORM: &str = "milliseconds since 1970, or a time of RFC 3339 such as 2026-11-27T05:44:07Z (in a URL, write + as %2B)";

impl<'de> Deserialize<'de> for QueryMoment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_moment(&text).map(Self).ok_or_else(|| {
            let given: String = text.chars().take(64).collect();
            let given = serde::de::Unexpected::Str(&given);
            serde::de::Error::invalid_value(given, &MOMENT_FORM)
        })
    }
}

fn parse_moment(text: &str) -> Option<Millis> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let millis: u64 = text.parse().ok()?;
        return (millis <= MAX_INTEGER).then_some(Millis(millis));
    }
    let moment: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(moment.as_millisecond()).ok().map(Millis)
}

field_schema! {
    /// A moment: milliseconds since 1970 (UTC), or a time of RFC 3339.
    QueryMoment => text_schema(1..=40, Some(r"^([0-9]{1,18}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2}))$"))
        .format(Some(utoipa::openapi::SchemaFormat::Custom("moment".to_owned())))
}

/// A symbol in a query. Whether it is one is checked with the whole query, by the check that every symbol of the API passes.
#[derive(Deserialize)]
#[serde(transparent)]
struct QuerySymbol(String);

field_schema! {
    /// An instrument, in any spelling.
    QuerySymbol => symbol_schema()
}

text_field! {
    /// The name of a rule.
    RuleName("the name of a rule, e.g. require_stop_loss", bytes: 1..=128, pattern: Some(r"^[^\x00-\x1f\x7f-\x9f]*$"), accepts: is_plain)
}

/// Declares a query that selects decisions, with the fields that it has besides.
macro_rules! decisions_query {
    ($(#[doc = $doc:literal])+ $name:ident { $($more:tt)* }) => {
        $(#[doc = $doc])+
        #[derive(Deserialize, IntoParams)]
        #[into_params(parameter_in = Query)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            /// Only decisions of this agent.
            agent: Option<Name>,
            /// Only decisions with this outcome.
            outcome: Option<Outcome>,
            /// Only decisions on actions of this type.
            action_type: Option<String>,
            /// Only decisions in this trace.
            trace_id: Option<TraceId>,
            /// Only decisions made at this moment or later.
            #[param(inline)]
            since: Option<QueryMoment>,
            /// Only decisions made before this moment.
            #[param(inline)]
            until: Option<QueryMoment>,
            /// Only decisions on this instrument, in any spelling of its symbol.
            #[param(inline)]
            symbol: Option<QuerySymbol>,
            /// Only decisions in which this rule fired: it warned, held, was violated or could not be evaluated.
            #[param(inline)]
            rule: Option<RuleName>,
            $($more)*
        }

        impl $name {
            /// The filter.
            ///
            /// # Errors
            /// 400: the symbol is none. 422: the period ends before it begins.
            pub(super) fn into_filter(self, hrm: &Hrm) -> Result<DecisionFilter, Problem> {
                make_filter(
                    hrm,
                    DecisionFilter {
                        agent: self.agent,
                        outcome: self.outcome,
                        action_type: self.action_type,
                        trace_id: self.trace_id,
                        since: self.since.map(|moment| moment.0),
                        until: self.until.map(|moment| moment.0),
                        instruments: None,
                        rule: self.rule.map(String::from),
                    },
                    self.symbol,
                )
            }
        }
    };
}

decisions_query! {
    /// Which decisions a list has.
    DecisionsQuery {
        /// How many rows at most; 50 if left out.
        #[param(inline)]
        pub(super) limit: Option<Limit>,
        /// Where to go on: the `next_cursor` of the page before.
        #[param(inline)]
        pub(super) cursor: Option<RowCursor>,
    }
}

decisions_query! {
    /// Which decisions an export has, and in what form.
    ExportQuery {
        /// Which answers of rules each decision has; all if left out.
        #[param(inline)]
        pub(super) rules: Option<RulesShown>,
        /// How many lines at most; all if left out.
        #[param(inline)]
        pub(super) limit: Option<Limit>,
        /// Where to go on: the `seq` of the last line of an export.
        #[param(inline)]
        pub(super) cursor: Option<RowCursor>,
    }
}

/// Checks that the name of a rule is one that decisions can have: of a policy in force, or of one that ever was, since the database keeps the
/// description of each with its decisions.
///
/// # Errors
/// 422: no policy here has or had the rule. 503: the database cannot be read.
pub(super) async fn check_rule_known(api: &Arc<Api>, rule: &str) -> Result<(), Problem> {
    let Some(known) = api.run_blocking(list_rule_names).await?? else {
        return Ok(());
    };
    if known.contains(rule) {
        return Ok(());
    }
    let mut near = rank_similar(rule, known.iter().map(String::as_str));
    near.truncate(3);
    let remedy = if near.is_empty() {
        "GET /v1/graveyard and GET /v1/policies/{name} list the rules".to_owned()
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    let problem = format!(
        "is {:?}, which no policy here has or had",
        clip_for_error(rule)
    );
    let error = FieldError::new("rule", problem, remedy);
    Err(Problem::contradiction(&error))
}

/// The names of the rules of the policies in force and of those that the database knows; `None`: one that it knows cannot be read, so its rules
/// are not known.
fn list_rule_names(api: &Api) -> Result<Option<BTreeSet<String>>, ReadError> {
    let mut names = BTreeSet::new();
    let mut add = |rules: &[Rule]| names.extend(rules.iter().map(|rule| rule.name.clone()));
    add(&api.graveyard_identity.metadata.rules);
    for slot in api.policies.in_force().iter() {
        if let Some(enforced) = &slot.enforced {
            add(&enforced.identity().metadata.rules);
        }
        if let Some(shadow) = &slot.shadow {
            add(&shadow.identity().metadata.rules);
        }
    }
    for record in api.store.policy_records()? {
        match serde_json::from_str::<RecordedRules>(&record.metadata_json) {
            Ok(recorded) => names.extend(recorded.rules.into_iter().map(|rule| rule.name)),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(names))
}

/// The rules in the description of a policy, as the database keeps it.
#[derive(Deserialize)]
struct RecordedRules {
    rules: Vec<RecordedRule>,
}

#[derive(Deserialize)]
struct RecordedRule {
    name: String,
}

/// Completes a filter. The spellings of the instrument are those that the host's aliases know now.
fn make_filter(
    hrm: &Hrm,
    filter: DecisionFilter,
    symbol: Option<QuerySymbol>,
) -> Result<DecisionFilter, Problem> {
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && since > until
    {
        let problem = "is before `since`";
        let error = FieldError::new("until", problem, "give a later moment");
        return Err(Problem::contradiction(&error));
    }
    if let Some(QuerySymbol(symbol)) = &symbol {
        check_symbol("symbol", symbol)?;
    }
    Ok(DecisionFilter {
        instruments: symbol.map(|QuerySymbol(symbol)| hrm.list_spellings(&symbol)),
        ..filter
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_milliseconds_or_rfc_3339() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1764222247000", Some(1_764_222_247_000)),
            ("1970-01-01T00:00:01Z", Some(1_000)),
            ("1970-01-01T01:00:01.5+01:00", Some(1_500)),
            ("1969-12-31T23:59:59Z", None),
            ("1970-01-01", None),
            ("9223372036854775808", None),
            ("", None),
            ("-1", None),
            ("1h", None),
        ] {
            assert_eq!(parse_moment(text).map(|it| it.0), expected, "{text}");
        }
    }
}
