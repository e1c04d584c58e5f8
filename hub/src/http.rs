//! One HTTP request, and what its answer means.

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use crate::Error;
use crate::options::PullOptions;

/// Redirects followed: more than any publisher needs.
pub(crate) const MAX_REDIRECTS: u32 = 10;

/// The longest `Retry-After` that is obeyed.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The answer of a server.
pub(crate) enum Answer {
    /// The whole file follows.
    Whole(Bytes),
    /// The requested rest of the file follows.
    Rest(Bytes),
    /// There is nothing after the requested offset. Holds the size of the file, if the server gives it.
    NothingMore(Option<u64>),
    /// The bytes that follow are from another offset or another version of the file.
    OtherPart,
}

/// The bytes of an answer.
pub(crate) struct Bytes {
    /// The size of the whole file, if the server gives it.
    pub(crate) total: Option<u64>,
    /// The server's identifier of this version of the file: its ETag or date.
    pub(crate) validator: Option<String>,
    pub(crate) body: Body,
}

/// Why a request failed.
pub(crate) enum Failure {
    /// Retrying is useless.
    Final(Error),
    /// Retrying may help.
    Passing {
        reason: Box<dyn StdError + Send + Sync>,
        /// The pause that the server asks for, if any.
        pause: Option<Duration>,
        /// Retry only if this server has already sent something.
        only_if_it_went_well: bool,
    },
}

impl Failure {
    pub(crate) fn passing(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Failure {
        Failure::Passing { reason: reason.into(), pause: None, only_if_it_went_well: false }
    }
}

/// The HTTP client for a URL.
pub(crate) fn agent(url: &str, options: &PullOptions) -> Agent {
    let timeout = Some(options.timeout);
    let config = Agent::config_builder()
        .user_agent(concat!("striate/", env!("CARGO_PKG_VERSION")))
        // Digests and ranges are of the publisher's file, not of a compressed transfer.
        .accept_encoding("identity")
        .http_status_as_error(false)
        .max_redirects(MAX_REDIRECTS)
        .max_redirects_will_error(true)
        // A redirect must not leave https: short digests rely on it (see the head of weights.tsv).
        .https_only(url.starts_with("https://"))
        .timeout_resolve(timeout)
        .timeout_connect(timeout)
        .timeout_recv_response(timeout)
        .timeout_per_read(timeout)
        // The system's certificates, which include those that a company has added.
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
    // A proxy on another machine cannot reach this machine's own servers.
    match is_this_machine(url) {
        true => config.proxy(None).build().into(),
        false => config.proxy(Proxy::try_from_env()).build().into(),
    }
}

/// Requests a file from byte `from` on. `validator` is the version that the earlier bytes belong to.
pub(crate) fn ask(
    agent: &Agent,
    url: &str,
    from: u64,
    validator: Option<&str>,
) -> Result<Answer, Failure> {
    let mut request = agent.get(url);
    if from > 0 {
        request = request.header(header::RANGE, format!("bytes={from}-"));
        if let Some(validator) = validator {
            request = request.header(header::IF_RANGE, validator);
        }
    }
    let response = request.call().map_err(|error| failure(url, error))?;
    let status = response.status().as_u16();
    let headers = response.headers();
    match status {
        200 => {
            let total = response.body().content_length();
            Ok(Answer::Whole(bytes(response, total)))
        }
        206 => match content_range(headers) {
            // A server without If-Range may send the rest of another version.
            Some((Some(start), total)) if start == from && is_same(headers, validator) => {
                Ok(Answer::Rest(bytes(response, total)))
            }
            _ if from > 0 => Ok(Answer::OtherPart),
            _ => Err(Failure::Final(Error::Status { url: shown(url), status })),
        },
        416 if from > 0 => Ok(Answer::NothingMore(content_range(headers).and_then(|it| it.1))),
        408 | 425 | 429 | 500 | 502..=504 => Err(Failure::Passing {
            reason: Box::new(Error::Status { url: shown(url), status }),
            pause: pause(headers),
            only_if_it_went_well: false,
        }),
        _ => Err(Failure::Final(Error::Status { url: shown(url), status })),
    }
}

fn bytes(response: Response<Body>, total: Option<u64>) -> Bytes {
    let validator = validator(response.headers()).map(ToOwned::to_owned);
    Bytes { total, validator, body: response.into_body() }
}

fn failure(url: &str, error: ureq::Error) -> Failure {
    use ureq::Error as E;
    match error {
        E::TooManyRedirects => {
            Failure::Final(Error::Redirects { url: shown(url), limit: MAX_REDIRECTS })
        }
        E::BadUri(_)
        | E::Http(_)
        | E::RequireHttpsOnly(_)
        | E::InvalidProxyUrl
        | E::RedirectFailed
        | E::LargeResponseHeader(..) => {
            Failure::Final(Error::Url { url: shown(url), source: Box::new(error) })
        }
        // No network or no such server: retrying helps only if it was reachable a moment ago.
        error => {
            let refused = matches!(&error, E::Io(io) if io.kind() == ErrorKind::ConnectionRefused);
            let only_if_it_went_well = refused
                || matches!(
                    error,
                    E::HostNotFound | E::Tls(_) | E::Rustls(_) | E::ConnectProxyFailed(_)
                );
            Failure::Passing { reason: Box::new(error), pause: None, only_if_it_went_well }
        }
    }
}

/// The ETag, unless it is a weak one, which may stand for different bytes; else the date.
fn validator(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let etag = text(header::ETAG).filter(|etag| etag.starts_with('"'));
    etag.or_else(|| text(header::LAST_MODIFIED))
}

fn is_same(headers: &HeaderMap, asked: Option<&str>) -> bool {
    match (validator(headers), asked) {
        (Some(got), Some(asked)) => got == asked,
        // The digest decides.
        _ => true,
    }
}

/// The first byte and the size of the whole file: `bytes 5-9/10`, `bytes */10`, `bytes 5-9/*`.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    Some((start, total.trim().parse().ok()))
}

fn pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?).min(MAX_PAUSE))
}

/// What ends the host of a URL.
const AFTER_HOST: [char; 3] = ['/', '?', '#'];

/// A URL without user name and password.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(AFTER_HOST).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

/// Whether the server of a URL runs on this machine.
pub(crate) fn is_this_machine(url: &str) -> bool {
    let shown = shown(url);
    let rest = shown.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(AFTER_HOST).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn content_ranges_are_parsed() {
        let range = |text| content_range(&headers(&[("content-range", text)]));
        assert_eq!(range("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(range("bytes */10"), Some((None, Some(10))));
        for text in ["lines 5-9/10", "bytes", "bytes 5-9", ""] {
            assert_eq!(range(text), None, "{text}");
        }
        assert_eq!(range("bytes 99999999999999999999-9/-3"), Some((None, None)));
    }

    #[test]
    fn weak_etags_are_ignored() {
        let date = ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
        assert_eq!(validator(&headers(&[("etag", "\"a\""), date])), Some("\"a\""));
        assert_eq!(validator(&headers(&[("etag", "W/\"a\""), date])), Some(date.1));
        assert_eq!(validator(&headers(&[("etag", "W/\"a\"")])), None);
    }

    #[test]
    fn long_pauses_are_shortened() {
        let pause = |text| pause(&headers(&[("retry-after", text)]));
        assert_eq!(pause("3"), Some(Duration::from_secs(3)));
        assert_eq!(pause("3600"), Some(MAX_PAUSE));
        assert_eq!(pause("tomorrow"), None);
    }

    #[test]
    fn passwords_are_hidden_and_local_urls_are_recognized() {
        assert_eq!(shown("https://me:secret@a.b/x@y"), "https://a.b/x@y");
        assert_eq!(shown("https://a.b/x"), "https://a.b/x");
        for url in ["http://127.0.0.1:80/x", "http://localhost/", "http://u:p@[::1]:8/x"] {
            assert!(is_this_machine(url), "{url}");
        }
        let others = ["http://127.0.0.1.evil/x", "http://a.b/127.0.0.1", "localhost"];
        for url in others.into_iter().chain(["http://[::2]/", "http://a.b?@127.0.0.1/"]) {
            assert!(!is_this_machine(url), "{url}");
        }
    }
}
