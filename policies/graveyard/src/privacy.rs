//! Category `privacy`: rules 15 to 18. What a custom action says of data in its parameters is judged as the data family's is.

use ark_guest::policy::{Answer, Consent, DataHandling, Parameters, Sensitivity};

use crate::carried::CarriedData;
use crate::case::{Case, Judged};

/// Rule 15: personal data to an external destination, neither anonymised nor encrypted. A destination is external when it is named
/// and is not exactly `internal`, or when the action says that it is.
pub fn protect_user_data(case: &Case) -> Judged {
    if let Some(data) = carried_data(case).filter(|data| data.is_personal) {
        let leaves = case.action.external == Some(true) || data.leaves;
        if leaves && !data.is_anonymized() && !data.is_encrypted() {
            return Ok(Answer::fires().observed("external").limit("internal"));
        }
        return Ok(Answer::passes().observed(leaves).limit(true));
    }
    let Some(data) = case.data().filter(|data| is_personal(case, data)) else {
        return Ok(Answer::not_applicable());
    };
    let destination = data.destination.as_deref();
    let leaves =
        case.action.external == Some(true) || destination.is_some_and(|name| name != "internal");
    if leaves && !data.anonymized && !data.encryption {
        return Ok(Answer::fires()
            .observed(destination.unwrap_or("external"))
            .limit("internal"));
    }
    Ok(Answer::passes().observed(leaves).limit(true))
}

/// Rule 16: personal data without (fact) the consent of its subject; or any data of a subject whose refusal (fact) is recorded or the proposer
/// reports. A refusal holds whatever the proposer says of the data.
///
/// The host attests no consent for a custom action, so one with personal data has none.
pub fn require_consent(case: &Case) -> Judged {
    let (refused, personal) = match (case.data(), carried_data(case)) {
        (Some(data), _) => (data.user_consent == Some(false), is_personal(case, data)),
        (None, Some(data)) => (data.is_refused, data.is_personal),
        (None, None) => return Ok(Answer::not_applicable()),
    };
    if refused {
        return Ok(Answer::fires()
            .observed("refused, as the proposer says")
            .limit("granted"));
    }
    Ok(match case.facts.consent {
        Consent::Refused => Answer::fires().observed("refused").limit("granted"),
        _ if !personal => Answer::not_applicable(),
        Consent::Granted => Answer::passes().observed(true).limit(true),
        Consent::Unknown => Answer::fires().observed("unknown").limit("granted"),
    })
}

/// Rule 17: a message in which (fact) the host found personal data.
pub fn anonymize_logs(case: &Case) -> Judged {
    if !matches!(case.action.parameters, Parameters::Message(_)) {
        return Ok(Answer::not_applicable());
    }
    Ok(found(&case.facts.personal_data))
}

/// Rule 18: highly sensitive data that is not encrypted; or (fact) a credential in clear in the action, whatever its kind.
pub fn encrypt_credentials(case: &Case) -> Judged {
    let in_clear = found(&case.facts.credentials);
    let in_the_open = case
        .data()
        .is_some_and(|data| data.data_sensitivity == Some(Sensitivity::High) && !data.encryption)
        || carried_data(case).is_some_and(|data| data.is_delicate && !data.is_encrypted());
    if case.facts.credentials.is_empty() && in_the_open {
        return Ok(Answer::fires()
            .observed("high sensitivity, not encrypted")
            .limit("encrypted"));
    }
    Ok(in_clear)
}

/// What a custom action says of data.
fn carried_data<'a>(case: &'a Case) -> Option<&'a CarriedData> {
    match &case.action.parameters {
        Parameters::Custom(_) => case.carried().map(|carried| &carried.data),
        _ => None,
    }
}

/// Personal data is what the proposer says contains some, and what the host found some in.
fn is_personal(case: &Case, data: &DataHandling) -> bool {
    data.contains_personal_data || !case.facts.personal_data.is_empty()
}

/// Fires when the host found something, and says what.
fn found(kinds: &[String]) -> Answer {
    if kinds.is_empty() {
        return Answer::passes().observed(false).limit(false);
    }
    Answer::fires().observed(kinds.join(", ")).limit(false)
}
