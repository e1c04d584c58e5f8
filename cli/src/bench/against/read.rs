//! The files that figures are read from.
//!
//! Values of JSON one after the other (a line each, or over several), or arrays of them. Three kinds
//! of objects are timings: ours, which is also for whoever writes such a file by hand, and those of
//! two scripts that time other engines, in seconds.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Deserializer, Map, Value};
use striate::image::text::json_fault;

use super::Figure;
use crate::bench::Pass;
use crate::error::{Error, Result};
use crate::text;

/// What a file holds.
pub(super) struct Figures {
    pub(super) figures: Vec<Figure>,
    /// Objects that are something else.
    pub(super) skipped: usize,
}

/// Seconds.
#[derive(Clone, Copy, Deserialize)]
struct Seconds {
    min: f64,
    median: f64,
}

/// A forward pass of a model, of one image and of many.
#[derive(Deserialize)]
struct Speed {
    model: String,
    engine: String,
    threads: usize,
    one: Seconds,
    many: Option<Seconds>,
    /// Of `many`.
    batch: Option<usize>,
}

/// A step of training.
#[derive(Deserialize)]
struct Train {
    model: String,
    engine: Option<String>,
    /// The layout of its images.
    format: Option<String>,
    /// How it computes the normalisation.
    lrn: Option<String>,
    threads: usize,
    batch: Option<usize>,
    #[serde(flatten)]
    seconds: Seconds,
}

/// The batches that the scripts have for a model where they do not say: of `many`, and of a step.
fn usual_batches(model: &str) -> Option<[usize; 2]> {
    match model {
        "alexnet" => Some([16, 32]),
        "mattnet" => Some([16, 16]),
        "vgg_d" => Some([8, 4]),
        _ => None,
    }
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Figures> {
    let text = text::read(path, "the figures")?;
    let name = text.path().display();
    parse(text.as_str())
        .map_err(|Malformed { place, what }| Error::message(format!("{name}: {place}: {what}")))
}

/// What is wrong with a file, and where.
#[derive(Debug, PartialEq)]
struct Malformed {
    place: String,
    what: String,
}

fn parse(text: &str) -> Result<Figures, Malformed> {
    let mut read = Figures { figures: Vec::new(), skipped: 0 };
    let mut values = Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let after = values.byte_offset();
        let blank = text[after..].len() - text[after..].trim_start().len();
        let line = 1 + text[..after + blank].matches('\n').count();
        match values.next() {
            None => return Ok(read),
            Some(Ok(Value::Array(values))) => {
                for (index, value) in values.into_iter().enumerate() {
                    read.add(value, || format!("line {line}, entry {} of the array", index + 1))?;
                }
            }
            Some(Ok(value)) => read.add(value, || format!("line {line}"))?,
            Some(Err(error)) => {
                let what = json_fault(&error);
                let what = format!("expected a JSON object a line, or an array of them ({what})");
                let place = format!("line {}, column {}", error.line(), error.column());
                return Err(Malformed { place, what });
            }
        }
    }
}

impl Figures {
    fn add(&mut self, value: Value, place: impl Fn() -> String) -> Result<(), Malformed> {
        let wrong = |what| Malformed { place: place(), what };
        let Value::Object(object) = value else {
            return Err(wrong(format!("expected an object of JSON, not {}", kind_of(&value))));
        };
        let before = self.figures.len();
        match object_figures(object) {
            Ok(Some(figures)) => self.figures.extend(figures),
            Ok(None) => self.skipped += 1,
            Err(what) => return Err(wrong(what)),
        }
        let is_time = |ms: f64| ms.is_finite() && ms > 0.0;
        match self.figures[before..].iter().find(|f| !is_time(f.min_ms) || !is_time(f.median_ms)) {
            Some(Figure { min_ms, median_ms, .. }) => Err(wrong(format!(
                "expected times above 0, not a minimum of {min_ms} ms and a median of {median_ms} ms"
            ))),
            None => Ok(()),
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The figures of an object; none of one that is no timing.
fn object_figures(object: Map<String, Value>) -> Result<Option<Vec<Figure>>, String> {
    let has = |key| object.contains_key(key);
    match object.get("kind").and_then(Value::as_str) {
        // The engine does not run this model.
        Some("speed") if has("failed") => Ok(Some(Vec::new())),
        Some("speed") => speed(typed(object, "a forward pass (`kind` is `speed`)")?).map(Some),
        Some("train") => train(typed(object, "a step of training (`kind` is `train`)")?).map(Some),
        None if has("name") && (has("min_ms") || has("median_ms")) => {
            Ok(Some(vec![typed(object, "a case of `striate bench`")?]))
        }
        _ => Ok(None),
    }
}

fn typed<T: for<'de> Deserialize<'de>>(
    object: Map<String, Value>,
    what: &str,
) -> Result<T, String> {
    T::deserialize(Value::Object(object)).map_err(|error| format!("expected {what}: {error}"))
}

fn figure(engine: String, name: &str, threads: usize, seconds: Seconds) -> Figure {
    Figure {
        engine: Some(engine),
        name: name.to_owned(),
        pass: Pass::Forward,
        batch: 1,
        threads: Some(threads),
        device: None,
        dtype: None,
        min_ms: 1e3 * seconds.min,
        median_ms: 1e3 * seconds.median,
    }
}

fn no_batch(model: &str) -> String {
    format!("expected `batch`, since the usual one of '{model}' is not known")
}

fn speed(of: Speed) -> Result<Vec<Figure>, String> {
    let Speed { model, engine, threads, one, many, batch } = of;
    let mut all = vec![figure(engine.clone(), &model, threads, one)];
    if let Some(many) = many {
        let usual = usual_batches(&model).map(|[many, _]| many);
        let batch = batch.or(usual).ok_or_else(|| no_batch(&model))?;
        all.push(Figure { batch, ..figure(engine, &model, threads, many) });
    }
    Ok(all)
}

fn train(of: Train) -> Result<Vec<Figure>, String> {
    let Train { model, engine, format, lrn, threads, batch, seconds } = of;
    let usual = usual_batches(&model).map(|[_, step]| step);
    let batch = batch.or(usual).ok_or_else(|| no_batch(&model))?;
    // `op` is the engine's own.
    let lrn = lrn.filter(|lrn| lrn != "op");
    let words = [Some(engine.unwrap_or_else(|| "torch".into())), format, lrn];
    let engine = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Ok(vec![Figure { pass: Pass::Step, batch, ..figure(engine, &model, threads, seconds) }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> (String, String) {
        let Err(Malformed { place, what }) = parse(text) else { panic!("{text} was read") };
        (place, what)
    }

    #[test]
    fn lines_arrays_and_values_over_several_lines_are_read() {
        let plain = r#"{"engine": "x", "name": "lenet", "min_ms": 1, "median_ms": 2.5}"#;
        let broken = plain.replace(", ", ",\n");
        for text in [plain, &broken, &format!("[{plain}]"), &format!("\n{plain}\n\n")] {
            let read = parse(text).unwrap();
            let [figure] = &read.figures[..] else { panic!("one figure in {text}") };
            assert_eq!((figure.pass, figure.batch, figure.threads), (Pass::Forward, 1, None));
            assert_eq!((figure.min_ms, figure.median_ms, read.skipped), (1.0, 2.5, 0));
        }
        let many = parse(&format!("{plain}\n[{plain}, {{}}, {plain}] {plain}\n")).unwrap();
        assert_eq!((many.figures.len(), many.skipped), (4, 1));
        assert_eq!(parse("").unwrap().figures, []);
    }

    #[test]
    fn what_the_scripts_write_is_read() {
        let speed = r#"{"kind": "speed", "model": "vgg_d", "engine": "ort", "threads": 2,
            "one_first": 1.0, "one": {"min": 0.25, "median": 0.5, "repeats": 9}, "error": 1e-6,
            "many": {"min": 2, "median": 3, "repeats": 5}, "elapsed": 9.5}"#;
        let figures = parse(speed).unwrap().figures;
        let of = |f: &Figure| (f.name.clone(), f.batch, f.threads, f.min_ms, f.median_ms);
        let expected = [("vgg_d", 1, 250.0, 500.0), ("vgg_d", 8, 2000.0, 3000.0)];
        let expected =
            expected.map(|(name, b, min, median)| (name.into(), b, Some(2), min, median));
        assert_eq!(figures.iter().map(of).collect::<Vec<_>>(), expected);
        let train = r#"{"min": 1, "median": 2, "repeats": 5, "rss": 900.5, "loss": 6.9,
            "kind": "train", "model": "alexnet", "format": "channels_last", "lrn": "slices",
            "threads": 1}"#;
        let figures = parse(train).unwrap().figures;
        assert_eq!((figures[0].pass, figures[0].batch), (Pass::Step, 32));
        assert_eq!(figures[0].engine.as_deref(), Some("torch channels_last slices"));
        let others = r#"{"kind": "peak", "label": "sgemm", "values": [1, 2]}
            {"kind": "cold", "model": "alexnet", "runs": []}
            {"kind": "speed", "model": "alexnet", "engine": "x", "threads": 1, "failed": "no"}"#;
        let read = parse(others).unwrap();
        assert_eq!((read.figures.len(), read.skipped), (0, 2));
    }

    #[test]
    fn what_is_malformed_is_told_with_its_place() {
        let good = r#"{"name": "a", "min_ms": 1, "median_ms": 1}"#;
        let (place, what) = wrong(&format!("{good}\n{}", &good[..20]));
        assert!(place.starts_with("line 2, column") && what.contains("EOF"), "{place}: {what}");
        let (place, what) = wrong(&format!("{good}\nnonsense\n"));
        assert!(place.starts_with("line 2") && what.contains("a JSON object a line"), "{what}");
        let (place, what) = wrong(&format!("{good}\n\n{}", good.replace("\"a\"", "7")));
        assert!(place == "line 3" && what.contains("expected a string"), "{place}: {what}");
        let (place, what) = wrong(&format!("[{good},\n{}]", good.replace("min", "least")));
        assert_eq!(place, "line 1, entry 2 of the array");
        assert!(what.contains("missing field `min_ms`"), "{what}");
        for time in ["0", "-1", "\"fast\""] {
            let (_, what) = wrong(&good.replace("min_ms\": 1", &format!("min_ms\": {time}")));
            assert!(what.starts_with("expected "), "{what}");
        }
        assert!(wrong("[[1]]").1.contains("not an array"));
        let (_, what) = wrong(&good.replace('}', ", \"pass\": \"backward\"}"));
        assert!(what.contains("`forward` or `step`"), "{what}");
        let unknown = r#"{"kind": "train", "model": "mine", "threads": 1, "min": 1, "median": 1}"#;
        assert!(wrong(unknown).1.contains("expected `batch`"));
        assert_eq!(parse(&unknown.replace('}', ", \"batch\": 3}")).unwrap().figures[0].batch, 3);
    }
}
