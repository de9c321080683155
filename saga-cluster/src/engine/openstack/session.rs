//! A login, and calls under it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderValue};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;

use super::call::{self, Answer, Call, Service};
use super::cloud::{Cloud, Lazy};
use super::config::CloudConfig;
use super::failure::CallError;
use super::token::{self, Token};
use crate::engine::EngineError;

/// How long an answer may take in all.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long one call waits, in all, for a server that asks to be left alone. Longer waits are the caller's.
const WAIT_WITHIN: Duration = Duration::from_secs(20);
/// How long it waits where the server does not say, and at least.
const USUAL_WAIT: Duration = Duration::from_secs(1);
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// No answer of use is longer. In bytes.
const LONGEST_ANSWER: usize = 64 << 20;

/// A way into a cloud: logs in when it is first needed, again before the token runs out, and again if a service does not
/// take the token. Clones share the token.
#[derive(Debug, Clone)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cloud: Lazy,
    token: Mutex<Option<Arc<Token>>>,
}

impl Session {
    /// A session that has not logged in yet. Nothing is sent.
    ///
    /// # Errors
    /// [`EngineError`] (rejected), if the certificates to trust cannot be read.
    pub fn new(config: CloudConfig) -> Result<Self, EngineError> {
        let cloud = Lazy::given(Cloud::new(config).map_err(EngineError::rejected)?);
        Ok(Self(Arc::new(Inner { cloud, token: Mutex::new(None) })))
    }

    /// A session with the cloud that the environment and the usual files name ([`CloudConfig::find`]). These are read when
    /// it is first used, or by [`configured`](Self::configured).
    pub fn of_environment() -> Self {
        Self(Arc::new(Inner { cloud: Lazy::default(), token: Mutex::new(None) }))
    }

    /// Whether there is a cloud to talk to. Nothing is sent.
    ///
    /// # Errors
    /// [`EngineError`] (rejected), which says what is missing or wrong in the configuration, and where.
    pub fn configured(&self) -> Result<(), EngineError> {
        self.0.cloud.get().map(drop).map_err(|error| EngineError::rejected(error.to_string()))
    }

    /// Where the cloud is configured, in words.
    pub fn origin(&self) -> String {
        self.0.cloud.get().map_or_else(|error| error.to_string(), |cloud| cloud.config.origin().to_owned())
    }

    /// The project that the login is for.
    #[allow(dead_code)] // The stack engine's.
    pub(crate) async fn project_id(&self) -> Result<Option<String>, CallError> {
        Ok(self.token().await?.project_id.clone())
    }

    /// The root of a service's endpoint, as the catalog has it.
    pub(crate) async fn endpoint(&self, service: Service) -> Result<String, CallError> {
        let (cloud, token) = (self.0.cloud.get()?, self.token().await?);
        token.endpoint(service, &cloud.config).map_err(CallError::NoEndpoint)
    }

    /// Makes a call. A token that the service does not take is renewed, once. A server that asks to be left alone is left
    /// alone, for a while, if the call was turned away unseen or comes to the same when it is sent twice.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, CallError> {
        let cloud = self.0.cloud.get()?;
        let mut waited = Duration::ZERO;
        let mut renewed = false;
        loop {
            let token = self.token().await?;
            let endpoint = token.endpoint(call.service, &cloud.config).map_err(CallError::NoEndpoint)?;
            let url = format!("{endpoint}{}{}", call.path, call::query_string(&call.query));
            let error = match self.send(Request::of(&call, &url, &token)?).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match &error {
                CallError::Refused { status: 401, .. } if !renewed => {
                    renewed = true;
                    self.forget(&token).await;
                }
                CallError::Refused { status: 401, message, .. } => {
                    let message = format!("a new token is refused too: {message}");
                    return Err(CallError::Login { origin: cloud.config.origin.clone(), message });
                }
                CallError::Refused { status, retry_after, .. } if turned_away(*status, &call) => {
                    let wait = retry_after.unwrap_or(USUAL_WAIT).max(SHORTEST_WAIT);
                    waited += wait;
                    if waited > WAIT_WITHIN {
                        return Err(error);
                    }
                    debug!(%error, ?wait, "waiting before asking again");
                    tokio::time::sleep(wait).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// Asks something that needs no login, at a whole URL.
    pub(crate) async fn ask_anyone(&self, url: &str) -> Result<Answer, CallError> {
        self.send(Request { what: format!("GET {url}"), url, ..Request::default() }).await
    }

    /// A token that is good for a while. Whoever comes first gets one, the others wait for it.
    async fn token(&self) -> Result<Arc<Token>, CallError> {
        let mut held = self.0.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(Arc::clone(token));
        }
        let token = Arc::new(self.log_in().await?);
        *held = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Drops a token that was not taken, unless somebody has got another one since.
    async fn forget(&self, refused: &Arc<Token>) {
        let mut held = self.0.token.lock().await;
        if held.as_ref().is_some_and(|token| Arc::ptr_eq(token, refused)) {
            *held = None;
        }
    }

    async fn log_in(&self) -> Result<Token, CallError> {
        let cloud = self.0.cloud.get()?;
        let config = &cloud.config;
        let url = format!("{}/auth/tokens", config.auth_url);
        let asked = Instant::now();
        let body = Some(token::request(&config.login));
        let request = Request { what: "login".into(), method: Method::POST, url: &url, body, ..Request::default() };
        let answer = self.send(request).await.map_err(|error| match error {
            CallError::Refused { status: 401 | 403, message, .. } => {
                CallError::Login { origin: config.origin.clone(), message }
            }
            other => other,
        })?;
        let garbled = |why: String| CallError::Garbled { what: "login".into(), url: url.clone(), why };
        let secret = answer.headers.get("x-subject-token").and_then(|token| token.to_str().ok());
        let secret = secret.ok_or_else(|| garbled("it has no token".into()))?;
        let token = Token::read(secret, answer.body, asked).map_err(garbled)?;
        debug!(origin = config.origin, "logged in");
        Ok(token)
    }

    /// Sends one request, once.
    async fn send(&self, request: Request<'_>) -> Result<Answer, CallError> {
        let Request { what, method, url, headers, body, within } = request;
        let http = &self.0.cloud.get()?.http;
        let mut builder = http.request(method, url).timeout(within.unwrap_or(ANSWER_WITHIN)).headers(headers);
        if let Some(body) = &body {
            builder = builder.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let lost = |error: reqwest::Error| {
            // The library's own words repeat the URL.
            let error = error.without_url();
            let (unreachable, url) = (error.is_connect(), place(url));
            match unreachable {
                true => CallError::Unreachable { url, source: error.into() },
                false => CallError::NoAnswer { what: what.clone(), url, source: error.into() },
            }
        };
        let mut response = builder.send().await.map_err(lost)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST_ANSWER {
                let why = format!("it is longer than {LONGEST_ANSWER} bytes");
                return Err(CallError::Garbled { what, url: place(url), why });
            }
        }
        let status = response.status().as_u16();
        let text = String::from_utf8_lossy(&bytes);
        if !(200..300).contains(&status) {
            let (message, retry_after) = (call::message_of(status, &text), call::retry_after(response.headers()));
            return Err(CallError::Refused { what, status, message, retry_after });
        }
        let body = if text.trim().is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text) };
        match body {
            Ok(body) => Ok(Answer { status, headers: response.headers().clone(), body, what, url: place(url) }),
            Err(error) => Err(CallError::Garbled { what, url: place(url), why: error.to_string() }),
        }
    }
}

/// The call was not looked at, or may be sent again whatever came of it.
fn turned_away(status: u16, call: &Call) -> bool {
    status == 429 || (status == 503 && call.is_idempotent())
}

/// The server that a URL leads to.
fn place(url: &str) -> String {
    let end = url.find("://").map_or(0, |at| at + 3);
    let host = url[end..].find('/').map_or(url, |slash| &url[..end + slash]);
    host.to_owned()
}

/// What is sent.
#[derive(Default)]
struct Request<'a> {
    what: String,
    method: Method,
    url: &'a str,
    headers: HeaderMap,
    body: Option<Value>,
    within: Option<Duration>,
}

impl<'a> Request<'a> {
    fn of(call: &Call, url: &'a str, token: &Token) -> Result<Self, CallError> {
        let mut headers = HeaderMap::new();
        let garbled =
            |_| CallError::Garbled { what: call.what(), url: place(url), why: "a header cannot be sent".into() };
        for (name, value) in &call.headers {
            headers.insert(*name, HeaderValue::try_from(value).map_err(garbled)?);
        }
        let mut secret = HeaderValue::try_from(token.secret.expose()).map_err(garbled)?;
        secret.set_sensitive(true);
        headers.insert("x-auth-token", secret);
        let (method, body, within) = (call.method.clone(), call.body.clone(), call.within);
        Ok(Self { what: call.what(), method, url, headers, body, within })
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
