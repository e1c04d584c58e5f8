//! A small HTTP server on this machine, which answers as a test tells it to.

// Each test file uses its own part of this; and helpers of tests are outside what clippy.toml takes
// for tests.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use striate_hub::{Progress, PullOptions, Weights, parse_table};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The first byte of the requested range.
    pub(crate) fn start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection is closed after this many bytes of the body.
    pub(crate) cut: Option<usize>,
    pub(crate) chunked: bool,
    /// The pause before the answer.
    pub(crate) pause: Duration,
    /// How long the connection stays open after the last byte sent.
    pub(crate) stall: Duration,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Reply {
        Reply { status, ..Reply::default() }
    }

    pub(crate) fn whole(body: &[u8]) -> Reply {
        Reply { status: 200, body: body.to_vec(), ..Reply::default() }
    }

    /// The answer of a server that supports ranges, and `If-Range` if it has an ETag.
    pub(crate) fn ranged(request: &Request, body: &[u8], etag: Option<&str>) -> Reply {
        let is_same = request.header("if-range").is_none_or(|asked| Some(asked) == etag);
        let reply = match request.start().filter(|_| is_same) {
            None => Reply::whole(body),
            Some(start) if start >= body.len() => {
                Reply::status(416).with("content-range", format!("bytes */{}", body.len()))
            }
            Some(start) => Reply::part(body, start),
        };
        match etag {
            Some(etag) => reply.with("etag", etag.to_owned()),
            None => reply,
        }
    }

    pub(crate) fn part(body: &[u8], start: usize) -> Reply {
        let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
        let reply = Reply { status: 206, body: body[start..].to_vec(), ..Reply::default() };
        reply.with("content-range", range)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn cut(self, after: usize) -> Reply {
        Reply { cut: Some(after), ..self }
    }

    fn send(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        std::thread::sleep(self.pause);
        let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &match self.chunked {
            true => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
            false => format!("Content-Length: {}\r\n\r\n", self.body.len()),
        };
        stream.write_all(head.as_bytes())?;
        let body = &self.body[..self.cut.unwrap_or(self.body.len())];
        if self.chunked {
            for chunk in body.chunks(1000) {
                stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                stream.write_all(chunk)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")?;
        } else {
            stream.write_all(body)?;
        }
        stream.flush()?;
        std::thread::sleep(self.stall);
        Ok(())
    }
}

/// The server. It runs as long as the test does.
pub(crate) struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request by calling the function with it and the number of earlier requests.
    pub(crate) fn new(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, log, answer) = (stream.unwrap(), Arc::clone(&log), answer.clone());
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let before = {
                        let mut log = log.lock().unwrap();
                        log.push(request.clone());
                        log.len() - 1
                    };
                    // A client may hang up in the middle.
                    let _ = answer(&request, before).send(&mut stream);
                });
            }
        });
        Server { port, asked }
    }

    /// Answers every request with this file.
    pub(crate) fn whole(body: &[u8]) -> Server {
        let body = body.to_vec();
        Server::new(move |_, _| Reply::whole(&body))
    }

    /// Has this file, and supports ranges. The first answers are cut after so many bytes, one by one.
    pub(crate) fn ranged(
        body: &[u8],
        etag: Option<&'static str>,
        cuts: &'static [usize],
    ) -> Server {
        let body = body.to_vec();
        Server::new(move |request, before| {
            let cut = cuts.get(before).copied();
            Reply { cut, ..Reply::ranged(request, &body, etag) }
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// The start of the range of each request.
    pub(crate) fn starts(&self) -> Vec<Option<usize>> {
        self.asked().iter().map(Request::start).collect()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    Some(Request { path, headers })
}

/// Bytes that are different everywhere.
pub(crate) fn content(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 31 + i / 251 * 7 + i / 65_536) as u8).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line of a table: `net`, of this size (`5`, `~5` or `-`) and the digest of these bytes.
pub(crate) fn line(urls: &[String], size: &str, bytes: &[u8]) -> String {
    format!("net\tnet.pth\t{}\t{size}\tsha256:{}\tMIT\ttest\t-\n", urls.join(" "), sha256(bytes))
}

pub(crate) fn weights(urls: &[String], size: &str, bytes: &[u8]) -> Weights {
    parse_table(&line(urls, size, bytes), "test").unwrap().remove(0)
}

/// A cache folder, and options with short pauses.
pub(crate) struct Cache(pub(crate) tempfile::TempDir);

impl Cache {
    pub(crate) fn new() -> Cache {
        Cache(tempfile::tempdir().unwrap())
    }

    pub(crate) fn options(&self) -> PullOptions {
        let (backoff, timeout) = (Duration::from_millis(1), Duration::from_secs(20));
        PullOptions::default().cache(self.0.path().join("models")).patience(3, backoff, timeout)
    }

    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("models").join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.0.path().join("models")).unwrap();
        std::fs::write(self.file(name), bytes).unwrap();
    }

    /// The names of all files but the lock.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path().join("models")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "net.pth.lock").collect();
        names.sort();
        names
    }
}

/// Ignores progress.
pub(crate) fn silent() -> impl FnMut(Progress<'_>) {
    |_| {}
}

/// The message of an error and those of its sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
