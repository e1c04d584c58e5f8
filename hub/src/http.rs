//! One question to a server, and what its answer means.

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use crate::Error;
use crate::options::PullOptions;

/// More redirects than any publisher needs.
pub(crate) const MAX_REDIRECTS: u32 = 10;

/// No server is waited for longer than this because it says so.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What a server answered.
pub(crate) enum Answer {
    /// The whole file comes.
    Whole(Bytes),
    /// The file comes from where it was asked for.
    Rest(Bytes),
    /// There is nothing after what is there already: the file has that many bytes, where the server says how
    /// many.
    NothingMore(Option<u64>),
    /// Bytes come that do not continue what is there: those of another version, or from another place.
    OtherPart,
}

/// The bytes of an answer.
pub(crate) struct Bytes {
    /// How many the whole file has, where the server says so.
    pub(crate) total: Option<u64>,
    /// What the server calls this version of the file.
    pub(crate) validator: Option<String>,
    pub(crate) body: Body,
}

/// Why there is no answer.
pub(crate) enum Failure {
    /// Asking again is no use.
    Final(Error),
    /// It may go better the next time.
    Passing {
        reason: Box<dyn StdError + Send + Sync>,
        /// The pause that the server asks for.
        pause: Option<Duration>,
        /// Where it never went well, it will not.
        only_if_it_went_well: bool,
    },
}

impl Failure {
    pub(crate) fn passing(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Failure {
        Failure::Passing { reason: reason.into(), pause: None, only_if_it_went_well: false }
    }
}

/// What asks a URL.
pub(crate) fn agent(url: &str, options: &PullOptions) -> Agent {
    let timeout = Some(options.timeout);
    let config = Agent::config_builder()
        .user_agent(concat!("striate/", env!("CARGO_PKG_VERSION")))
        // A digest is computed over what the publisher has, not over what was packed for the way.
        .accept_encoding("identity")
        .http_status_as_error(false)
        .max_redirects(MAX_REDIRECTS)
        .max_redirects_will_error(true)
        // Redirects of a publisher must not lead out of https: see the table about short digests.
        .https_only(url.starts_with("https://"))
        .timeout_resolve(timeout)
        .timeout_connect(timeout)
        .timeout_recv_response(timeout)
        .timeout_per_read(timeout)
        // The system's, so that those of a company count, too.
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
    // A proxy is on another machine: this one's own servers are not there.
    match is_this_machine(url) {
        true => config.proxy(None).build().into(),
        false => config.proxy(Proxy::try_from_env()).build().into(),
    }
}

/// Asks for a file, or for what comes after so many bytes of it, if it is still the version that this
/// validator stands for.
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
            // A server that does not know If-Range sends the rest of another version.
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
        // No network, or no such server: waiting does not help, unless it was there a moment ago.
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

/// The ETag, unless it is a weak one, which stands for files that are not the same bytes; else the date.
fn validator(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let etag = text(header::ETAG).filter(|etag| etag.starts_with('"'));
    etag.or_else(|| text(header::LAST_MODIFIED))
}

fn is_same(headers: &HeaderMap, asked: Option<&str>) -> bool {
    match (validator(headers), asked) {
        (Some(got), Some(asked)) => got == asked,
        // The digest tells.
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

/// A URL without a password.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

/// Whether a URL is of a server on this machine.
pub(crate) fn is_this_machine(url: &str) -> bool {
    let shown = shown(url);
    let rest = shown.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
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
    fn parts_of_files_are_understood() {
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
    fn weak_validators_are_none() {
        let date = ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
        assert_eq!(validator(&headers(&[("etag", "\"a\""), date])), Some("\"a\""));
        assert_eq!(validator(&headers(&[("etag", "W/\"a\""), date])), Some(date.1));
        assert_eq!(validator(&headers(&[("etag", "W/\"a\"")])), None);
    }

    #[test]
    fn a_server_may_not_ask_for_an_hour() {
        let pause = |text| pause(&headers(&[("retry-after", text)]));
        assert_eq!(pause("3"), Some(Duration::from_secs(3)));
        assert_eq!(pause("3600"), Some(MAX_PAUSE));
        assert_eq!(pause("tomorrow"), None);
    }

    #[test]
    fn urls_for_people_and_of_this_machine() {
        assert_eq!(shown("https://me:secret@a.b/x@y"), "https://a.b/x@y");
        assert_eq!(shown("https://a.b/x"), "https://a.b/x");
        for url in ["http://127.0.0.1:80/x", "http://localhost/", "http://u:p@[::1]:8/x"] {
            assert!(is_this_machine(url), "{url}");
        }
        for url in ["http://127.0.0.1.evil/x", "http://a.b/127.0.0.1", "localhost", "http://[::2]/"]
        {
            assert!(!is_this_machine(url), "{url}");
        }
    }
}
