//! Policies that were uploaded to the owner: read from it when a decision names one, and kept by digest.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::uri::PathAndQuery;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::OnceCell;

use ark_model::decision::PolicyVerdict;
use ark_model::ids::Digest;
use ark_model::meters::UnjudgedReason;
use ark_model::policy::PolicySource;
use ark_model::settings::Settings;

use crate::front::owner::Owner;

use super::judge::{FrontJudge, UploadedPolicy};

/// Versions that are kept compiled.
const MAX_KEPT: usize = 64;

/// The version and settings by which a policy judged.
type VersionKey = (Digest, Option<Digest>);

/// A version as it was loaded, or why it cannot be. Filled by the first who needs it, while others wait.
type Loaded = Arc<OnceCell<Result<UploadedPolicy, String>>>;

/// The uploaded policies that are known.
#[derive(Default)]
pub(super) struct UploadedPolicies {
    kept: Mutex<HashMap<VersionKey, Loaded>>,
}

/// Why a version of a policy is not loaded.
enum NotLoaded {
    /// A file of the owner declares it.
    Declared,
    /// It cannot be read from the owner now.
    Unread(String),
}

impl From<String> for NotLoaded {
    fn from(problem: String) -> Self {
        Self::Unread(problem)
    }
}

/// A policy as the owner shows it.
#[derive(Deserialize)]
struct ShownPolicy {
    #[serde(default)]
    source: Option<PolicySource>,
    #[serde(default)]
    versions: Vec<ShownVersion>,
}

#[derive(Deserialize)]
struct ShownVersion {
    number: u64,
    sha256: Digest,
    #[serde(default)]
    settings_sha256: Option<Digest>,
}

#[derive(Deserialize)]
struct ShownSettings {
    #[serde(default)]
    settings: Option<Settings>,
}

impl UploadedPolicies {
    /// Returns the policy that gave a recorded verdict; `None`: a file of the owner declares it, so that the front's files should too.
    ///
    /// # Errors
    /// It cannot be read from the owner, or this version cannot load it: in words.
    pub(super) async fn find(
        &self,
        owner: &Owner,
        judge: &Arc<FrontJudge>,
        part: &PolicyVerdict,
    ) -> Result<Option<UploadedPolicy>, (UnjudgedReason, String)> {
        let loaded = self.find_kept((part.policy.digest, part.settings));
        match loaded
            .get_or_try_init(|| load_policy(owner, judge, part))
            .await
        {
            Ok(Ok(found)) => Ok(Some(found.clone())),
            // It stays so, and the host would lack the policy after a take-over.
            Ok(Err(problem)) => Err((UnjudgedReason::FailedHere, problem.clone())),
            Err(NotLoaded::Unread(problem)) => Err((UnjudgedReason::PolicyMissing, problem)),
            Err(NotLoaded::Declared) => Ok(None),
        }
    }

    fn find_kept(&self, key: VersionKey) -> Loaded {
        let mut kept = self.kept.lock();
        if kept.len() >= MAX_KEPT && !kept.contains_key(&key) {
            kept.clear();
        }
        Arc::clone(kept.entry(key).or_default())
    }

    /// Forgets everything: what is kept was compiled by an engine that is replaced.
    pub(super) fn clear(&self) {
        self.kept.lock().clear();
    }
}

/// Loads a version from the owner. That it cannot be compiled is kept: it is compiled once.
async fn load_policy(
    owner: &Owner,
    judge: &Arc<FrontJudge>,
    part: &PolicyVerdict,
) -> Result<Result<UploadedPolicy, String>, NotLoaded> {
    let (digest, settings_digest) = (part.policy.digest, part.settings);
    let name = &part.policy.metadata.name;
    let path = format!("/v1/policies/{name}");
    let shown: ShownPolicy = read_json(owner, &path).await?;
    if shown.source != Some(PolicySource::Api) {
        return Err(NotLoaded::Declared);
    }
    let version = shown
        .versions
        .into_iter()
        .find(|version| version.sha256 == digest && version.settings_sha256 == settings_digest);
    let number = version
        .map(|version| version.number)
        .ok_or_else(|| format!("{name}: the owner shows no version {digest}"))?;
    let path = format!("/v1/policies/{name}/versions/{number}");
    let ShownSettings { settings } = read_json(owner, &path).await?;
    if settings.as_ref().map(Settings::digest) != settings_digest {
        return Err(format!("{name}: the owner shows other settings").into());
    }
    let component = read_bytes(owner, &format!("{path}/component")).await?;
    if Digest::hash_bytes(&component) != digest {
        return Err(format!("{name}: the owner sends another component").into());
    }
    let compiler = Arc::clone(judge);
    let compiled = tokio::task::spawn_blocking(move || compiler.compile(&component)).await;
    let policy = compiled.map_err(|error| error.to_string())?;
    Ok(policy.map(|policy| UploadedPolicy { policy, settings }))
}

async fn read_bytes(owner: &Owner, path: &str) -> Result<bytes::Bytes, String> {
    let target: PathAndQuery = path
        .parse()
        .map_err(|_| format!("{path} cannot be asked for"))?;
    match owner.read(target).await? {
        (StatusCode::OK, body) => Ok(body),
        (status, _) => Err(format!("the owner answers {status} to {path}")),
    }
}

async fn read_json<T: for<'de> Deserialize<'de>>(owner: &Owner, path: &str) -> Result<T, String> {
    let body = read_bytes(owner, path).await?;
    serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}"))
}
