//! The calls of a registry that are used (OCI Distribution), and how they are authorized.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ark_model::check::clip_for_error;
use ark_model::ids::Digest;
use http_auth::{ChallengeRef, parse_challenges};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::Body;
use ureq::http::{Method, Response, StatusCode, Uri, header};

use super::credentials::Credentials;
use super::documents::{Descriptor, MANIFEST, MAX_MANIFEST_BYTES};
use super::error::RegistryError;
use super::reference::Reference;
use super::transport::{RegistryRequest, Transport, Weight, read_body};

/// The largest answer of a service for tokens, in bytes.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;
/// The largest error of a registry that is read, in bytes.
const MAX_ERROR_BYTES: u64 = 16 * 1024;
/// What to do where a registry refuses the credentials, or that there are none.
const LOG_IN: &str = "; log in with `docker login`, or give --username and --password-file";

/// How a registry is reached.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// The credentials; `None`: those that `docker login` or `podman login` left, if any.
    pub credentials: Option<Credentials>,
    /// A PEM file with the certificate authority to trust; `None`: the public ones.
    pub authority: Option<PathBuf>,
    /// Whether a registry on another machine is asked without TLS. One on this machine always is.
    pub plain_http: bool,
}

/// A registry.
#[derive(Debug)]
pub struct Registry {
    transport: Transport,
    registry: String,
    credentials: Option<Credentials>,
    /// What authorizes requests, by what they are for.
    authorizations: BTreeMap<String, String>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Pull,
    Push,
}

impl Access {
    /// How a service for tokens names it.
    fn scope(self, name: &str) -> String {
        match self {
            Self::Pull => format!("repository:{name}:pull"),
            Self::Push => format!("repository:{name}:pull,push"),
        }
    }
}

impl Registry {
    /// Makes a client of the registry of a reference. Nothing is sent yet.
    ///
    /// # Errors
    /// The credentials or the file of the authority cannot be used.
    pub fn new(reference: &Reference, options: RegistryOptions) -> Result<Self, RegistryError> {
        let plain_http =
            options.plain_http || reference.is_loopback() && options.authority.is_none();
        let registry = reference.registry().to_owned();
        let credentials = match options.credentials {
            Some(credentials) => Some(credentials),
            None => Credentials::find(&registry)?,
        };
        Ok(Self {
            transport: Transport::new(reference, options.authority.as_deref(), plain_http)?,
            registry,
            credentials,
            authorizations: BTreeMap::new(),
        })
    }

    /// Returns the bytes of a manifest. Where the reference has a digest, they have it.
    pub(crate) fn pull_manifest(&mut self, from: &Reference) -> Result<Vec<u8>, RegistryError> {
        let path = format!("/v2/{}/manifests/{}", from.name(), from.manifest_key());
        let call = RegistryRequest {
            method: Method::GET,
            url: self.transport.url(&path)?,
            accept: Some(MANIFEST),
            body: None,
            weight: Weight::Small,
        };
        let response = self.send_call(&call, from, Access::Pull)?;
        let what = format!("the manifest of {from}");
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(not_found(from.to_string())),
            _ => return Err(self.read_refusal(&format!("give {what}"), response)),
        }
        let bytes = read_body(&what, &call.url, response, MAX_MANIFEST_BYTES)?;
        let found = Digest::hash_bytes(&bytes);
        match from.digest() {
            Some(stated) if stated != found => Err(RegistryError::OtherDigest {
                what,
                stated,
                found,
            }),
            _ => Ok(bytes),
        }
    }

    /// Returns the bytes that a descriptor describes: of its size, which is at most `limit`, and with its digest.
    pub(crate) fn pull_blob(
        &mut self,
        from: &Reference,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let Some(stated) = descriptor.sha256() else {
            let digest = clip_for_error(&descriptor.digest);
            return Err(RegistryError::NotWasm {
                reference: from.to_string(),
                problem: format!("the digest {digest:?} is no SHA-256"),
            });
        };
        let what = format!("the layer sha256:{stated} of {from}");
        if descriptor.size > limit {
            return Err(RegistryError::TooLarge { what, limit });
        }
        let path = format!("/v2/{}/blobs/sha256:{stated}", from.name());
        let call = RegistryRequest {
            method: Method::GET,
            url: self.transport.url(&path)?,
            accept: None,
            body: None,
            weight: Weight::Large,
        };
        let response = self.send_call(&call, from, Access::Pull)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(not_found(what)),
            _ => return Err(self.read_refusal(&format!("give {what}"), response)),
        }
        let bytes = read_body(&what, &call.url, response, descriptor.size)?;
        let size = bytes.len() as u64;
        if size != descriptor.size {
            return Err(RegistryError::OtherSize {
                what,
                stated: descriptor.size,
                found: size,
            });
        }
        let found = Digest::hash_bytes(&bytes);
        if found != stated {
            return Err(RegistryError::OtherDigest {
                what,
                stated,
                found,
            });
        }
        Ok(bytes)
    }

    /// Pushes bytes, unless the registry has them.
    pub(crate) fn push_blob(&mut self, to: &Reference, bytes: &[u8]) -> Result<(), RegistryError> {
        let digest = Digest::hash_bytes(bytes);
        let name = to.name();
        let mut call = RegistryRequest {
            method: Method::HEAD,
            url: self
                .transport
                .url(&format!("/v2/{name}/blobs/sha256:{digest}"))?,
            accept: None,
            body: None,
            weight: Weight::Small,
        };
        if self.send_call(&call, to, Access::Push)?.status() == StatusCode::OK {
            return Ok(());
        }
        call.method = Method::POST;
        call.url = self.transport.url(&format!("/v2/{name}/blobs/uploads/"))?;
        call.body = Some(("application/octet-stream", b""));
        let action = format!("take the bytes of {to}");
        let response = self.send_call(&call, to, Access::Push)?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.read_refusal(&action, response));
        }
        let upload = self.read_upload_address(&call.url, &response)?;
        let separator = if upload.contains('?') { '&' } else { '?' };
        let upload = format!("{upload}{separator}digest=sha256:{digest}");
        call.method = Method::PUT;
        call.url = self.transport.check_target(&call.url, &upload)?;
        call.body = Some(("application/octet-stream", bytes));
        call.weight = Weight::Large;
        let response = self.send_call(&call, to, Access::Push)?;
        if response.status() != StatusCode::CREATED {
            return Err(self.read_refusal(&action, response));
        }
        Ok(())
    }

    /// Pushes a manifest under a tag, and returns its digest.
    pub(crate) fn push_manifest(
        &mut self,
        to: &Reference,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let (None, Some(tag)) = (to.digest(), to.tag()) else {
            let reference = to.to_string();
            return Err(RegistryError::NoTag { reference });
        };
        let path = format!("/v2/{}/manifests/{tag}", to.name());
        let call = RegistryRequest {
            method: Method::PUT,
            url: self.transport.url(&path)?,
            accept: None,
            body: Some((MANIFEST, bytes)),
            weight: Weight::Small,
        };
        let response = self.send_call(&call, to, Access::Push)?;
        if response.status() != StatusCode::CREATED {
            return Err(self.read_refusal(&format!("take the manifest of {to}"), response));
        }
        let digest = Digest::hash_bytes(bytes);
        let answered = response.headers().get("docker-content-digest");
        if answered.is_some_and(|it| it.as_bytes() != format!("sha256:{digest}").as_bytes()) {
            let problem =
                format!("it keeps the manifest of {to} under another digest than its own");
            return Err(self.transport.unexpected(problem));
        }
        Ok(digest)
    }

    /// Where bytes are to be sent: at the registry itself, since the authorization goes with them.
    fn read_upload_address(
        &self,
        from: &Uri,
        response: &Response<Body>,
    ) -> Result<String, RegistryError> {
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|it| it.to_str().ok()).ok_or_else(|| {
            self.transport
                .unexpected("it does not say where bytes are to be sent".to_owned())
        })?;
        let url = self.transport.check_target(from, location)?;
        if !self.transport.is_own(&url) {
            let problem = format!("it wants bytes to be sent to {}", clip_for_error(location));
            return Err(self.transport.unexpected(problem));
        }
        Ok(url.to_string())
    }

    /// Sends a request; once more with an authorization, if the registry asks for one.
    fn send_call(
        &mut self,
        call: &RegistryRequest<'_>,
        reference: &Reference,
        access: Access,
    ) -> Result<Response<Body>, RegistryError> {
        let scope = access.scope(reference.name());
        let authorization = self.authorizations.get(&scope).map(String::as_str);
        let (response, answered) = self.transport.send(call, authorization)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // A service that it redirects to must not collect its credentials by asking for them.
        if !self.transport.is_own(&answered) {
            let host = clip_for_error(answered.authority().map_or("", |it| it.as_str()));
            let problem = format!(
                "it leads to {host}, which asks for credentials; they are for the registry alone"
            );
            return Err(self.transport.unexpected(problem));
        }
        let Some(authorization) = self.authorize_call(&call.url, &response, &scope)? else {
            return Err(self.read_refusal(&format!("give access to {reference}"), response));
        };
        let (response, _) = self.transport.send(call, Some(&authorization))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(self.read_refusal(&format!("give access to {reference}"), response));
        }
        self.authorizations.insert(scope, authorization);
        Ok(response)
    }

    /// Returns what authorizes a request as its answer asks for; `None`: nothing is known that would.
    fn authorize_call(
        &self,
        from: &Uri,
        response: &Response<Body>,
        scope: &str,
    ) -> Result<Option<String>, RegistryError> {
        let texts = response.headers().get_all(header::WWW_AUTHENTICATE);
        let challenges: Vec<ChallengeRef<'_>> = texts
            .iter()
            .filter_map(|text| text.to_str().ok())
            .filter_map(|text| parse_challenges(text).ok())
            .flatten()
            .collect();
        let of_scheme = |scheme: &str| {
            challenges
                .iter()
                .find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme))
        };
        if let Some(challenge) = of_scheme("Bearer") {
            return self.fetch_token(from, challenge, scope).map(Some);
        }
        let basic = of_scheme("Basic").and(self.credentials.as_ref());
        Ok(basic.map(Credentials::to_basic))
    }

    /// Fetches a token from the service that the registry names.
    fn fetch_token(
        &self,
        from: &Uri,
        challenge: &ChallengeRef<'_>,
        scope: &str,
    ) -> Result<String, RegistryError> {
        #[derive(Deserialize)]
        struct TokenAnswer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let parameter = |name: &str| {
            let mut parameters = challenge.params.iter();
            parameters
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_unescaped())
        };
        let realm = parameter("realm").ok_or_else(|| {
            self.transport
                .unexpected("it asks for a token and does not say whose".to_owned())
        })?;
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let separator = if realm.contains('?') { '&' } else { '?' };
        let mut address = format!("{realm}{separator}scope={}", encode(scope));
        if let Some(service) = parameter("service") {
            address = format!("{address}&service={}", encode(&service));
        }
        let call = RegistryRequest {
            // Not redirected: credentials are for the service that the registry names.
            method: Method::GET,
            url: self.transport.check_target(from, &address)?,
            accept: Some("application/json"),
            body: None,
            weight: Weight::Small,
        };
        let basic = self.credentials.as_ref().map(Credentials::to_basic);
        let response = self.transport.send_unredirected(&call, basic.as_deref())?;
        if response.status() != StatusCode::OK {
            return Err(self.read_refusal("give a token", response));
        }
        let bytes = read_body("the token", &call.url, response, MAX_TOKEN_BYTES)?;
        let token = serde_json::from_slice::<TokenAnswer>(&bytes).ok();
        let token = token.and_then(|token| token.token.or(token.access_token));
        let token =
            token.filter(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_graphic()));
        let token = token.ok_or_else(|| {
            self.transport
                .unexpected("its service for tokens gives none".to_owned())
        })?;
        Ok(format!("Bearer {token}"))
    }

    /// The registry refuses a request, with what it says about it.
    fn read_refusal(&self, action: &str, response: Response<Body>) -> RegistryError {
        #[derive(Deserialize)]
        struct ErrorAnswer {
            errors: Vec<RegistryProblem>,
        }
        #[derive(Deserialize)]
        struct RegistryProblem {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let status = response.status().as_u16();
        let nowhere = Uri::default();
        let body = read_body("the error", &nowhere, response, MAX_ERROR_BYTES).unwrap_or_default();
        let answer = serde_json::from_slice::<ErrorAnswer>(&body).ok();
        let problem = answer.and_then(|answer| answer.errors.into_iter().next());
        let code = problem.map_or_else(String::new, |problem| {
            let text = format!("{} {}", problem.code, problem.message);
            format!(": {}", clip_for_error(text.trim()))
        });
        RegistryError::Refused {
            registry: self.registry.clone(),
            action: action.to_owned(),
            status,
            code,
            remedy: if matches!(status, 401 | 403) {
                LOG_IN
            } else {
                ""
            },
        }
    }
}

fn not_found(reference: String) -> RegistryError {
    RegistryError::NotFound { reference }
}
