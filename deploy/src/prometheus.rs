//! Queries a Prometheus over its HTTP API, whose errors have a form of their own.

use std::time::Duration;

use ark_client::{Answer, ClientError, HostClient, escape_query};
use ark_model::check::clip_to;
use serde_json::Value;

/// The most characters of an error that are shown.
const MAX_ERROR: usize = 500;

/// A Prometheus that is asked.
pub(crate) struct PrometheusClient {
    client: HostClient,
}

impl PrometheusClient {
    /// `url`: its address, e.g. `http://127.0.0.1:9091`.
    ///
    /// # Errors
    /// The address is none.
    pub(crate) fn new(url: &str) -> Result<Self, ClientError> {
        Ok(Self {
            client: HostClient::of_prometheus(url)?,
        })
    }

    /// Asks the API for something and returns its `data`.
    ///
    /// # Errors
    /// It does not answer, or answers with an error: a [`ClientError::Problem`] whose kind is Prometheus' `errorType`.
    pub(crate) fn read_data(&self, path: &str) -> Result<Value, ClientError> {
        let answer = self.client.get(path)?;
        if !(200..300).contains(&answer.status) {
            return Err(describe_error(self.client.url(), &answer));
        }
        let mut body = answer.body;
        Ok(body.get_mut("data").map(Value::take).unwrap_or_default())
    }

    /// The text of a page, within this time in all.
    ///
    /// # Errors
    /// It does not answer, or answers with an error.
    pub(crate) fn read_text(&self, path: &str, timeout: Duration) -> Result<String, ClientError> {
        let (status, text) = self.client.get_text(path, timeout)?;
        if (200..300).contains(&status) {
            return Ok(text);
        }
        let body = Value::String(clip_to(&text, MAX_ERROR));
        Err(describe_error(self.client.url(), &Answer { status, body }))
    }

    /// The values of a label in the result of an instant query.
    ///
    /// # Errors
    /// As [`PrometheusClient::read_data`].
    pub(crate) fn query_labels(
        &self,
        expression: &str,
        label: &str,
    ) -> Result<Vec<String>, ClientError> {
        let data = self.read_data(&format!("/api/v1/query?query={}", escape_query(expression)))?;
        let rows = data.get("result").and_then(Value::as_array);
        let value = |row: &Value| Some(row.get("metric")?.get(label)?.as_str()?.to_owned());
        Ok(rows.into_iter().flatten().filter_map(value).collect())
    }

    /// The values of an instant query.
    ///
    /// # Errors
    /// As [`PrometheusClient::read_data`].
    pub(crate) fn query_values(&self, expression: &str) -> Result<Vec<f64>, ClientError> {
        let data = self.read_data(&format!("/api/v1/query?query={}", escape_query(expression)))?;
        let rows = data.get("result").and_then(Value::as_array);
        let value = |row: &Value| row.get("value")?.get(1)?.as_str()?.parse().ok();
        Ok(rows.into_iter().flatten().filter_map(value).collect())
    }
}

/// The error of an answer that is none of success.
fn describe_error(url: &str, answer: &Answer) -> ClientError {
    let member = |name: &str| answer.body.get(name).and_then(Value::as_str);
    let text = member("error").filter(|text| !text.is_empty());
    let text = text.map_or_else(
        // Something between here and Prometheus, which has another form.
        || format!("an error without `error`: {}", answer.body),
        str::to_owned,
    );
    ClientError::Problem {
        status: answer.status,
        kind: member("errorType").unwrap_or_default().to_owned(),
        detail: format!(
            "the Prometheus at {url} answers {}",
            clip_to(&text, MAX_ERROR)
        ),
        remedy: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_has_the_text_and_the_kind_of_prometheus_or_the_whole_answer() {
        let long = "x".repeat(10_000);
        for (body, kind, expected) in [
            (
                json!({"status": "error", "errorType": "bad_data", "error": "1:5: parse error"}),
                "bad_data",
                "the Prometheus at http://p answers 1:5: parse error (400)".to_owned(),
            ),
            (
                json!({"status": "error", "errorType": "execution", "error": long}),
                "execution",
                format!("the Prometheus at http://p answers {}… (400)", &long[..MAX_ERROR]),
            ),
            (
                json!({"message": "who are you?"}),
                "",
                "the Prometheus at http://p answers an error without `error`: {\"message\":\"who are you?\"} (400)".to_owned(),
            ),
        ] {
            let error = describe_error("http://p", &Answer { status: 400, body });
            assert_eq!(error.to_string(), expected);
            assert!(matches!(error, ClientError::Problem { kind: found, .. } if found == kind));
        }
    }
}
