use super::*;
use crate::{EvaluationReport, History, Position, StepReport};

/// The messages of a file of whole records.
fn messages(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        let check = u32::from_le_bytes(rest[8..12].try_into().unwrap());
        assert_eq!(check, masked_checksum(&rest[..8]));
        messages.push(&rest[12..12 + length]);
        let check = u32::from_le_bytes(rest[12 + length..][..4].try_into().unwrap());
        assert_eq!(check, masked_checksum(messages[messages.len() - 1]));
        rest = &rest[16 + length..];
    }
    messages
}

#[test]
fn records_have_the_published_form() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = TensorBoard::create(folder.path().join("run")).unwrap();
    board.scalar("loss", 300, 0.5).unwrap();
    board.flush().unwrap();
    let bytes = fs::read(&board.file.as_ref().unwrap().path).unwrap();
    let messages = messages(&bytes);
    let [version, scalar] = messages[..] else { panic!("{} records", messages.len()) };
    assert!(version.ends_with(b"\x1a\x0dbrain.Event:2"));
    // wall_time; step 300; summary of 13 bytes: a value of 11: tag loss, value 0.5.
    assert_eq!(scalar[9..], *b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x00\x3f");
}

#[test]
fn a_run_begins_with_a_session_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = TensorBoard::create(folder.path()).unwrap();
    board.begin(&start(&history(0), 0, "m.sqlite3", "i")).unwrap();
    board.scalar("loss", 1, 0.5).unwrap();
    board.flush().unwrap();
    let bytes = fs::read(&board.file.as_ref().unwrap().path).unwrap();
    // wall_time; step 1; session_log of 16 bytes: status 1, checkpoint_path, msg.
    assert_eq!(messages(&bytes)[1][9..], *b"\x10\x01\x3a\x10\x08\x01\x12\x09m.sqlite3\x1a\x01i");
}

fn report(epoch: u64) -> EpochReport {
    let test = EvaluationReport { samples: 9, misses: 8 - epoch, ..EvaluationReport::default() };
    EpochReport { epoch, iterations: 3 * (epoch + 1), test: Some(test), ..EpochReport::default() }
}

fn history(epochs: u64) -> History {
    History { epochs: (0..epochs).map(report).collect(), ..History::default() }
}

fn start<'a>(history: &'a History, iterations: u64, working: &'a str, id: &'a str) -> RunStart<'a> {
    let position = Position { epoch: iterations / 3, iteration: iterations % 3 };
    RunStart { working: Path::new(working), position, iterations, per_epoch: 3, history, id }
}

/// The mini-batches after `from`, up to `to`.
fn go(board: &mut TensorBoard, from: u64, to: u64) {
    for iteration in from..to {
        let event = StepEvent {
            position: Position { epoch: iteration / 3, iteration: iteration % 3 },
            iterations: iteration + 1,
            per_epoch: 3,
            report: StepReport { samples: 2, loss_sum: iteration as f64, misses: 1 },
            factor: 1.0,
            time: Duration::ZERO,
            waited: Duration::ZERO,
            exchange: None,
        };
        board.step(&event).unwrap();
        if iteration % 3 == 2 {
            board.epoch(&report(iteration / 3), Duration::ZERO).unwrap();
        }
    }
    board.flush().unwrap();
}

/// Steps of a tag, in the order in which TensorBoard reads them.
fn steps(folder: &Path, tag: &str) -> Vec<u64> {
    let mut steps = Vec::new();
    for name in names(folder).unwrap() {
        let bytes = fs::read(folder.join(name)).unwrap();
        for message in messages(&bytes) {
            let quoted = [&[0x0a, tag.len() as u8], tag.as_bytes(), &[0x15]].concat();
            if message.windows(quoted.len()).any(|part| part == quoted) {
                assert!(message[10] < 0x80, "a step of one byte");
                steps.push(u64::from(message[10]));
            }
        }
    }
    steps
}

#[test]
fn time_does_not_go_back_after_a_killed_run() {
    // What was written when the process was killed, and the checkpoint before it.
    for (written, cut, checkpoint) in [(5, 0, 4), (5, 7, 4), (5, 1, 3), (2, 5, 0), (6, 0, 3)] {
        let folder = tempfile::tempdir().unwrap();
        let begin = |iterations: u64| {
            let history = history(iterations / 3);
            let mut board = TensorBoard::create(folder.path()).unwrap();
            board.begin(&start(&history, iterations, "m.sqlite3", "i")).unwrap();
            board
        };
        let mut board = begin(0);
        go(&mut board, 0, written);
        let file = board.file.take().unwrap();
        let length = fs::metadata(&file.path).unwrap().len();
        fs::OpenOptions::new().write(true).open(&file.path).unwrap().set_len(length - cut).unwrap();
        drop(file);
        // Twice: the second one is killed before it has saved anything.
        go(&mut begin(checkpoint), checkpoint, checkpoint + 1);
        go(&mut begin(checkpoint), checkpoint, 8);
        assert_eq!(steps(folder.path(), "loss"), (1..=8).collect::<Vec<_>>());
        assert_eq!(steps(folder.path(), "miss-rate/test"), [3, 6]);
    }
}

#[test]
fn events_of_another_training_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let begun = |iterations: u64, working: &str, id: &str| {
        let history = history(iterations / 3);
        let mut board = TensorBoard::create(folder.path())?;
        board.begin(&start(&history, iterations, working, id)).map(|()| board)
    };
    let mut board = begun(0, "m.sqlite3", "i").unwrap();
    go(&mut board, 0, 4);
    let message = begun(3, "m.sqlite3", "i").err().unwrap().to_string();
    assert!(message.contains("another training is writing"), "{message}");
    drop(board);
    // What others write is theirs, and no record of it matters.
    fs::write(folder.path().join("events.out.tfevents.1.other"), "x").unwrap();
    let before = listing(folder.path());
    let message = begun(0, "n.sqlite3", "i").err().unwrap().to_string();
    assert!(message.contains("of another training, m.sqlite3"), "{message}");
    assert_eq!(listing(folder.path()), before);
    // Begun anew in a working file of the same name: the old events stay, under another name.
    go(&mut begun(0, "m.sqlite3", "j").unwrap(), 0, 2);
    let names = listing(folder.path());
    assert!(names.iter().any(|name| name.contains("earlier")), "{names:?}");
    fs::remove_file(folder.path().join("events.out.tfevents.1.other")).unwrap();
    assert_eq!(steps(folder.path(), "loss"), [1, 2]);
}

fn listing(folder: &Path) -> Vec<String> {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        format!("{} {}", entry.file_name().to_string_lossy(), entry.metadata().unwrap().len())
    };
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(entry).collect();
    names.sort();
    names
}
