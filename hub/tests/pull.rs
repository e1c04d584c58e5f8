//! Pulling from a local server that cuts, redirects, stalls and lies.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Cache, Reply, Server, chain, content, sha256, silent, weights};
use striate_hub::{Error, Progress, pull_weights};

const LENGTH: usize = 300_000;

#[test]
fn a_file_is_fetched_once() {
    let bytes = content(LENGTH);
    let server = Server::whole(&bytes);
    let cache = Cache::new();
    let weights = weights(&[server.url("a/net.pth")], &LENGTH.to_string(), &bytes);
    let mut told = Vec::new();
    let file = pull_weights(&weights, &cache.options(), &mut |progress| match progress {
        Progress::Received { bytes } => told.push(format!("{bytes}")),
        Progress::Fetching { url, from, total } => told.push(format!("{url} {from} {total:?}")),
        other => told.push(format!("{other:?}")),
    })
    .unwrap();
    assert_eq!(file, cache.file("net.pth"));
    assert!(cache.read("net.pth") == bytes);
    assert_eq!(cache.names(), ["net.pth"]);
    assert_eq!(told[0], format!("{} 0 Some({LENGTH})", server.url("a/net.pth")));
    assert_eq!(told[told.len() - 2..], [LENGTH.to_string(), "Checking".into()]);

    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].path.as_str(), asked[0].header("range")), ("/a/net.pth", None));
    let agent = concat!("striate/", env!("CARGO_PKG_VERSION"));
    assert_eq!(asked[0].header("user-agent"), Some(agent));
    assert_eq!(asked[0].header("accept-encoding"), Some("identity"));

    let again = pull_weights(&weights, &cache.options(), &mut silent()).unwrap();
    assert_eq!((again, server.asked().len()), (file, 1));
}

#[test]
fn what_the_table_says_of_a_file_is_put_beside_it() {
    let bytes = content(1000);
    let server = Server::whole(&bytes);
    let cache = Cache::new();
    let config = r#"{"architecture":"net"}"#;
    let line = common::line(&[server.url("net.pth")], "-", &bytes);
    let line = line.replace("\t-\n", &format!("\t{config}\n"));
    let weights = striate_hub::parse_table(&line, "test").unwrap().remove(0);
    cache.write("net.json", b"of an older table");
    pull_weights(&weights, &cache.options(), &mut silent()).unwrap();
    assert_eq!(cache.names(), ["net.json", "net.pth"]);
    assert_eq!(cache.read("net.json"), config.as_bytes());
}

#[test]
fn a_cut_is_resumed() {
    let bytes = content(LENGTH);
    let server = Server::ranged(&bytes, Some("\"v1\""), &[100_001, 0, 50_000]);
    let cache = Cache::new();
    let weights = weights(&[server.url("net.pth")], "-", &bytes);
    let mut pauses = 0;
    pull_weights(&weights, &cache.options(), &mut |progress| {
        pauses += usize::from(matches!(progress, Progress::Retrying { .. }));
    })
    .unwrap();
    assert!(cache.read("net.pth") == bytes);
    assert_eq!(cache.names(), ["net.pth"]);
    assert_eq!(server.starts(), [None, Some(100_001), Some(100_001), Some(150_001)]);
    assert_eq!(pauses, 3);
    for request in &server.asked()[1..] {
        assert_eq!(request.header("if-range"), Some("\"v1\""));
    }
}

#[test]
fn the_next_pull_resumes_what_the_last_one_left() {
    let bytes = content(LENGTH);
    let body = bytes.clone();
    let server = Server::new(move |request, before| {
        // No ETag, for it has no quotes: the date counts.
        let reply = Reply::ranged(request, &body, Some("yesterday"));
        let reply = reply.with("last-modified", "yesterday");
        if before == 0 { reply.cut(1234) } else { reply }
    });
    let cache = Cache::new();
    let weights = weights(&[server.url("net.pth")], &LENGTH.to_string(), &bytes);
    let impatient = cache.options().patience(0, Duration::ZERO, Duration::from_secs(20));
    let error = pull_weights(&weights, &impatient, &mut silent()).unwrap_err();
    assert!(matches!(error, Error::Fetch { tries: 1, kept: 1234, .. }), "{error:?}");
    assert!(error.to_string().contains(&server.url("net.pth")), "{error}");
    assert_eq!(cache.names(), ["net.pth.from", "net.pth.part"]);
    assert_eq!(cache.read("net.pth.part"), bytes[..1234]);

    let mut first = None;
    pull_weights(&weights, &impatient, &mut |progress| {
        if let Progress::Fetching { from, total, .. } = progress {
            first = Some((from, total));
        }
    })
    .unwrap();
    assert_eq!(first, Some((1234, Some(LENGTH as u64))));
    assert!(cache.read("net.pth") == bytes);
    assert_eq!(cache.names(), ["net.pth"]);
    assert_eq!(server.starts(), [None, Some(1234)]);
    assert_eq!(server.asked()[1].header("if-range"), Some("yesterday"));
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let bytes = content(LENGTH);
    let body = bytes.clone();
    let server = Server::new(move |_, before| {
        let reply = Reply::whole(&body);
        if before == 0 { reply.cut(200_000) } else { reply }
    });
    let cache = Cache::new();
    let weights = weights(&[server.url("net.pth")], "-", &bytes);
    let mut froms = Vec::new();
    pull_weights(&weights, &cache.options(), &mut |progress| {
        if let Progress::Fetching { from, .. } = progress {
            froms.push(from);
        }
    })
    .unwrap();
    assert!(cache.read("net.pth") == bytes);
    assert_eq!((server.starts(), froms), (vec![None, Some(200_000)], vec![0, 0]));
}

#[test]
fn another_version_begins_anew() {
    // One server looks at `If-Range`; the other sends the rest of what it has now.
    for knows_if_range in [true, false] {
        let (old, new) = (vec![7; LENGTH], content(LENGTH));
        let (first, body) = (old.clone(), new.clone());
        let server = Server::new(move |request, before| match (before, request.start()) {
            (0, _) => Reply::ranged(request, &first, Some("\"old\"")).cut(1000),
            (_, Some(start)) if !knows_if_range => {
                Reply::part(&body, start).with("etag", "\"new\"")
            }
            _ => Reply::ranged(request, &body, Some("\"new\"")),
        });
        let cache = Cache::new();
        let weights = weights(&[server.url("net.pth")], "-", &new);
        pull_weights(&weights, &cache.options(), &mut silent()).unwrap();
        assert!(cache.read("net.pth") == new);
        let starts = server.starts();
        match knows_if_range {
            true => assert_eq!(starts, [None, Some(1000)]),
            false => assert_eq!(starts, [None, Some(1000), None]),
        }
    }
}

#[test]
fn a_damaged_beginning_is_fetched_anew_once() {
    let bytes = content(LENGTH);
    let server = Server::ranged(&bytes, None, &[]);
    let cache = Cache::new();
    cache.write("net.pth.part", &[0; 5000]);
    let weights = weights(&[server.url("net.pth")], "-", &bytes);
    pull_weights(&weights, &cache.options(), &mut silent()).unwrap();
    assert!(cache.read("net.pth") == bytes);
    assert_eq!(server.starts(), [Some(5000), None]);
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let wrong = content(LENGTH - 1);
    let server = Server::ranged(&wrong, None, &[]);
    let cache = Cache::new();
    let right = content(LENGTH);
    let weights = weights(&[server.url("net.pth")], "-", &right);
    for old in [0, 100] {
        if old > 0 {
            cache.write("net.pth.part", &wrong[..old]);
        }
        let error = pull_weights(&weights, &cache.options(), &mut silent()).unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{error:?}");
        for part in [server.url("net.pth"), sha256(&right), sha256(&wrong)] {
            assert!(error.to_string().contains(&part), "no {part} in {error}");
        }
        assert_eq!(cache.names(), Vec::<String>::new());
    }
    // With an old beginning it is fetched once more from the first byte on, not for ever.
    assert_eq!(server.starts(), [None, Some(100), None]);
}

#[test]
fn redirects_are_followed_and_keep_the_range() {
    let bytes = content(LENGTH);
    let files = Server::ranged(&bytes, Some("\"v1\""), &[777]);
    let to = files.url("deep/blob?signature=1");
    let front = Server::new(move |_, _| Reply::status(302).with("location", to.clone()));
    let cache = Cache::new();
    let weights = weights(&[front.url("net.pth")], "-", &bytes);
    pull_weights(&weights, &cache.options(), &mut silent()).unwrap();
    assert!(cache.read("net.pth") == bytes);
    assert_eq!(files.starts(), [None, Some(777)]);
    assert_eq!(files.asked()[1].header("if-range"), Some("\"v1\""));
    assert_eq!(front.asked().len(), 2);
}

#[test]
fn a_ring_of_redirects_ends() {
    let server = Server::new(|request, _| {
        let next = if request.path == "/a" { "/b" } else { "/a" };
        Reply::status(307).with("location", next)
    });
    let cache = Cache::new();
    let weights = weights(&[server.url("a")], "-", b"x");
    let error = pull_weights(&weights, &cache.options(), &mut silent()).unwrap_err();
    assert!(matches!(error, Error::Redirects { limit: 10, .. }), "{error:?}");
    assert!(error.to_string().contains(&server.url("a")), "{error}");
    assert_eq!(server.asked().len(), 11);
    assert_eq!(cache.names(), Vec::<String>::new());
}

#[test]
fn what_is_not_there_is_asked_for_once() {
    for status in [404, 403, 410, 304] {
        let server = Server::new(move |_, _| Reply::status(status));
        let cache = Cache::new();
        let weights = weights(&[server.url("net.pth")], "-", b"x");
        let error = pull_weights(&weights, &cache.options(), &mut silent()).unwrap_err();
        assert!(matches!(error, Error::Status { status: got, .. } if got == status), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(&status.to_string()) && text.contains(&server.url("net.pth")),
            "{text}"
        );
        assert_eq!(server.asked().len(), 1);
        assert_eq!(cache.names(), Vec::<String>::new());
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let bytes = content(1000);
    let body = bytes.clone();
    let server = Server::new(move |_, before| match before {
        0 => Reply::status(503).with("retry-after", "0"),
        1 => Reply::status(429),
        _ => Reply::whole(&body),
    });
    let cache = Cache::new();
    let weights = weights(&[server.url("net.pth")], "1000", &bytes);
    let mut pauses = Vec::new();
    pull_weights(&weights, &cache.options(), &mut |progress| {
        if let Progress::Retrying { pause, reason } = progress {
            pauses.push((pause, reason.contains("HTTP status")));
        }
    })
    .unwrap();
    assert_eq!(pauses, [(Duration::ZERO, true), (Duration::from_millis(2), true)]);

    let server = Server::new(|_, _| Reply::status(500));
    let cache = Cache::new();
    let weights = common::weights(&[server.url("net.pth")], "1000", &bytes);
    let error = pull_weights(&weights, &cache.options(), &mut silent()).unwrap_err();
    assert!(matches!(error, Error::Fetch { tries: 4, kept: 0, .. }), "{error:?}");
    assert!(chain(&error).contains("500"), "{}", chain(&error));
    assert_eq!((server.asked().len(), cache.names().len()), (4, 0));
}

#[test]
fn a_beginning_that_is_all_needs_no_more() {
    let bytes = content(LENGTH);
    for (size, questions) in [("-", 1), ("300000", 0)] {
        let server = Server::ranged(&bytes, None, &[]);
        let cache = Cache::new();
        cache.write("net.pth.part", &bytes);
        let weights = weights(&[server.url("net.pth")], size, &bytes);
        pull_weights(&weights, &cache.options(), &mut silent()).unwrap();
        assert!(cache.read("net.pth") == bytes);
        assert_eq!(server.asked().len(), questions);
    }
    // More than all.
    let server = Server::ranged(&bytes, None, &[]);
    let cache = Cache::new();
    cache.write("net.pth.part", &content(LENGTH + 1));
    let weights = weights(&[server.url("net.pth")], "-", &bytes);
    pull_weights(&weights, &cache.options(), &mut silent()).unwrap();
    assert!(cache.read("net.pth") == bytes);
    assert_eq!(server.starts(), [Some(LENGTH + 1), None]);
}

#[test]
fn a_file_of_another_size_is_refused() {
    let bytes = content(LENGTH);
    let server = Server::whole(b"<html>Log in to the hotel's network</html>");
    let cache = Cache::new();
    let weights = common::weights(&[server.url("net.pth")], "300000", &bytes);
    let error = pull_weights(&weights, &cache.options(), &mut silent()).unwrap_err();
    assert!(matches!(error, Error::Size { got: 42, .. }), "{error:?}");
    assert!(error.to_string().contains("expected 300000 bytes, got 42"), "{error}");

    // Without a length, too, and where the size is known roughly.
    for size in ["300000", "~300000"] {
        let server = Server::new(|_, _| Reply { chunked: true, ..Reply::whole(&[0; 3_000_000]) });
        let weights = common::weights(&[server.url("net.pth")], size, &bytes);
        let error = pull_weights(&weights, &cache.options(), &mut silent()).unwrap_err();
        assert!(matches!(error, Error::Size { .. }), "{error:?}");
        assert_eq!((server.asked().len(), cache.names()), (1, vec![]));
    }
}

#[test]
fn a_file_without_a_length_is_taken() {
    let bytes = content(LENGTH);
    for size in ["-", "~300500", "300000"] {
        let body = bytes.clone();
        let server = Server::new(move |_, _| Reply { chunked: true, ..Reply::whole(&body) });
        let cache = Cache::new();
        let weights = weights(&[server.url("net.pth")], size, &bytes);
        pull_weights(&weights, &cache.options(), &mut silent()).unwrap();
        assert!(cache.read("net.pth") == bytes);
    }
}

#[test]
fn two_at_once_fetch_it_once() {
    let bytes = content(LENGTH);
    let body = bytes.clone();
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = Server::new(move |request, _| {
        wait.lock().unwrap().recv().unwrap();
        Reply::ranged(request, &body, None)
    });
    let cache = Cache::new();
    let weights = weights(&[server.url("net.pth")], "-", &bytes);
    let (waiting, waits) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let pull = || {
            pull_weights(&weights, &cache.options(), &mut |progress| {
                if progress == Progress::Waiting {
                    waiting.send(()).unwrap();
                }
            })
        };
        let pulls = [scope.spawn(pull), scope.spawn(pull)];
        // One has the lock and a question that is not answered; the other says that it waits.
        waits.recv_timeout(Duration::from_secs(60)).unwrap();
        go.send(()).unwrap();
        for pull in pulls {
            assert_eq!(pull.join().unwrap().unwrap(), cache.file("net.pth"));
        }
    });
    assert!(cache.read("net.pth") == bytes);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let cache = Cache::new();
    let blocked = cache.0.path().join("blocked");
    std::fs::write(&blocked, "a file").unwrap();
    let weights = weights(&["http://127.0.0.1:9/net.pth".into()], "-", b"x");
    let options = cache.options().cache(blocked.join("models"));
    let error = pull_weights(&weights, &options, &mut silent()).unwrap_err();
    assert!(matches!(error, Error::Io { action: "make the folder", .. }), "{error:?}");
    assert!(error.to_string().contains("blocked"), "{error}");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let cache = Cache::new();
    for ending in ["lock", "part"] {
        let name = format!("net.pth.{ending}");
        std::fs::create_dir_all(cache.file(&name)).unwrap();
        let weights = weights(&["http://127.0.0.1:9/net.pth".into()], "-", b"x");
        let error = pull_weights(&weights, &cache.options(), &mut silent()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(&name), "{error}");
        std::fs::remove_dir(cache.file(&name)).unwrap();
    }
}

#[test]
fn a_damaged_file_is_fetched_again() {
    let bytes = content(LENGTH);
    let mut damaged = bytes.clone();
    damaged[LENGTH / 2] ^= 1;
    let short = &bytes[..LENGTH - 5000];
    let exactly = LENGTH.to_string();
    // What is in the cache, the size in the table, whether it is to be checked, and how often is asked.
    let cases: [(&[u8], &str, bool, usize); 8] = [
        (&bytes, &exactly, false, 0),
        (&bytes, &exactly, true, 0),
        (&damaged, &exactly, false, 0),
        (&damaged, &exactly, true, 1),
        (short, &exactly, false, 1),
        (short, "~300000", false, 1),
        (b"", "-", false, 1),
        // The table is wrong, not the file.
        (&bytes, "~310000", false, 0),
    ];
    for (case, (there, size, force, questions)) in cases.into_iter().enumerate() {
        let server = Server::ranged(&bytes, None, &[]);
        let cache = Cache::new();
        cache.write("net.pth", there);
        let weights = weights(&[server.url("net.pth")], size, &bytes);
        pull_weights(&weights, &cache.options().force(force), &mut silent()).unwrap();
        assert_eq!(server.asked().len(), questions, "case {case}");
        assert_eq!(cache.read("net.pth") == bytes, case != 2, "case {case}");
    }
}

#[test]
fn a_mirror_replaces_all_servers() {
    let bytes = content(1000);
    let mirror = Server::whole(&bytes);
    let server = Server::new(|_, _| Reply::status(404));
    let weights = weights(&[server.url("somewhere/else.pth")], "1000", &bytes);
    for slash in ["", "/"] {
        let cache = Cache::new();
        let options = cache.options().base_url(format!("{}{slash}", mirror.url("weights")));
        pull_weights(&weights, &options, &mut silent()).unwrap();
    }
    assert_eq!((mirror.asked().len(), server.asked().len()), (2, 0));
    assert!(mirror.asked().iter().all(|request| request.path == "/weights/net.pth"));
}

#[test]
fn the_next_server_is_asked_where_one_fails() {
    let bytes = content(1000);
    let good = Server::whole(&bytes);
    let bad = Server::whole(b"something else");
    let none = Server::new(|_, _| Reply::status(404));
    let cache = Cache::new();
    let urls = [none.url("net.pth"), bad.url("net.pth"), good.url("net.pth")];
    pull_weights(&weights(&urls, "-", &bytes), &cache.options(), &mut silent()).unwrap();
    assert_eq!(cache.read("net.pth"), bytes);
    assert_eq!((none.asked().len(), bad.asked().len()), (1, 1));
    // All fail: the last one's reason is told.
    let cache = Cache::new();
    let weights = weights(&[bad.url("net.pth"), none.url("net.pth")], "-", &bytes);
    let error = pull_weights(&weights, &cache.options(), &mut silent()).unwrap_err();
    assert!(matches!(error, Error::Status { status: 404, .. }), "{error:?}");
}

#[test]
fn where_nobody_listens_no_time_is_lost() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cache = Cache::new();
    let weights = weights(&[format!("http://127.0.0.1:{port}/net.pth")], "-", b"x");
    let slow = cache.options().patience(5, Duration::from_secs(60), Duration::from_secs(60));
    let begin = Instant::now();
    let error = pull_weights(&weights, &slow, &mut silent()).unwrap_err();
    assert!(matches!(error, Error::Fetch { tries: 1, kept: 0, .. }), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let server = Server::new(|_, _| Reply { pause: Duration::from_secs(20), ..Reply::default() });
    let cache = Cache::new();
    let weights = weights(&[server.url("net.pth")], "-", b"x");
    let options = cache.options().patience(1, Duration::ZERO, Duration::from_millis(200));
    let begin = Instant::now();
    let error = pull_weights(&weights, &options, &mut silent()).unwrap_err();
    assert!(matches!(error, Error::Fetch { tries: 2, .. }), "{error:?}");
    assert!(chain(&error).contains("timeout"), "{}", chain(&error));
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[test]
fn what_is_no_http_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.unwrap(), b"220 ftp ready\r\n\r\n");
        }
    });
    let cache = Cache::new();
    let weights = weights(&[format!("http://127.0.0.1:{port}/net.pth")], "-", b"x");
    let error = pull_weights(&weights, &cache.options(), &mut silent()).unwrap_err();
    assert!(matches!(error, Error::Fetch { .. }), "{error:?}");
    assert_eq!(cache.names(), Vec::<String>::new());
}
