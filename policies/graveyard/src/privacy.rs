//! Category `privacy`: rules 15 to 18.

use ark_guest::policy::{Answer, Consent, DataHandling, Parameters, Sensitivity};

use crate::case::{Case, Judged};

/// Rule 15: personal data to an external destination, neither anonymised nor encrypted. A destination is external when it is named
/// and is not exactly `internal`, or when the action says that it is.
pub fn protect_user_data(case: &Case) -> Judged {
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
pub fn require_consent(case: &Case) -> Judged {
    let Some(data) = case.data() else {
        return Ok(Answer::not_applicable());
    };
    if data.user_consent == Some(false) {
        return Ok(Answer::fires()
            .observed("refused, as the proposer says")
            .limit("granted"));
    }
    Ok(match case.facts.consent {
        Consent::Refused => Answer::fires().observed("refused").limit("granted"),
        _ if !is_personal(case, data) => Answer::not_applicable(),
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
    if case.facts.credentials.is_empty()
        && case.data().is_some_and(|data| {
            data.data_sensitivity == Some(Sensitivity::High) && !data.encryption
        })
    {
        return Ok(Answer::fires()
            .observed("high sensitivity, not encrypted")
            .limit("encrypted"));
    }
    Ok(in_clear)
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
