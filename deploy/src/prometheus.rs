//! Queries a Prometheus over its HTTP API.

use ark_client::{ClientError, HostClient, escape_query};
use serde_json::Value;

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
    /// It does not answer, or answers with an error.
    pub(crate) fn read_data(&self, path: &str) -> Result<Value, ClientError> {
        let mut body = self.client.get(path)?.into_success()?;
        Ok(body.get_mut("data").map(Value::take).unwrap_or_default())
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
