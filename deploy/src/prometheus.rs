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

    /// The date of its answer, as the answer writes it (RFC 9110, section 6.6.1), within this time in all; `None`: the answer has none.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn read_date(&self, timeout: Duration) -> Result<Option<String>, ClientError> {
        self.client.get_date("/-/healthy", timeout)
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

/// Prometheus' units of time, in their order, in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 60 * 60 * 1000),
    ("w", 7 * 24 * 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration as Prometheus writes one, e.g. `1m30s`: whole numbers, each with a unit, from the largest unit to the smallest and each unit once, or
/// `0`. `None`: it is none, or is too long.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total: u64 = 0;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| c.is_ascii_digit());
        let (name, behind) = behind.split_at(letters.unwrap_or(behind.len()));
        let (_, millis) = units.find(|(unit, _)| *unit == name)?;
        let part = number.parse::<u64>().ok()?.checked_mul(*millis)?;
        total = total.checked_add(part)?;
        if behind.is_empty() {
            return Some(Duration::from_millis(total));
        }
        rest = behind;
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
    fn a_duration_is_read_whole_or_not_at_all() {
        const HOUR: u64 = 3_600_000;
        for (text, millis) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("5s", Some(5_000)),
            ("1m", Some(60_000)),
            ("1m30s", Some(90_000)),
            ("90s", Some(90_000)),
            ("1h", Some(HOUR)),
            ("1m500ms", Some(60_500)),
            ("1h0m5s", Some(HOUR + 5_000)),
            ("2d", Some(48 * HOUR)),
            ("1w", Some(168 * HOUR)),
            ("1y", Some(8_760 * HOUR)),
            (
                "1y2w3d4h5m6s7ms",
                Some((8_760 + 336 + 72 + 4) * HOUR + 306_007),
            ),
            ("", None),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("+5s", None),
            ("1.5s", None),
            ("5S", None),
            ("5 s", None),
            ("5s ", None),
            ("5sec", None),
            ("5µs", None),
            ("30s1m", None),
            ("1ms1s", None),
            ("1s1s", None),
            ("1m30", None),
            ("m30s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615y", None),
        ] {
            let expected = millis.map(Duration::from_millis);
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

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
