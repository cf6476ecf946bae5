//! The health of the host.

use ark_client::HostClient;
use ark_client::members::array_field;

/// The only reason for which a host that is healthy may not be ready: an operator wants it so.
const HALTED: &str = "everything is halted";

/// Why the host is not healthy, if it is not. One that is halted is: an operator wants it so.
pub(super) fn read_health(client: &HostClient) -> Result<String, String> {
    let alive = client.get("/healthz").map_err(|error| error.to_string())?;
    if alive.status != 200 {
        return Err(format!("/healthz answers {}", alive.status));
    }
    let ready = client.get("/readyz").map_err(|error| error.to_string())?;
    if ready.is_ready() {
        return Ok("it may judge".to_owned());
    }
    let problems = array_field(&ready.body, "problems");
    if !problems.is_empty() && problems.iter().all(|problem| problem == HALTED) {
        return Ok("it is halted, as it was".to_owned());
    }
    Err(ready.body.to_string())
}
