//! The `config.json` that timm publishes beside weights: which network it is, and how pictures were
//! prepared.

use serde_json::{Map, Value};

use crate::limits::check_image;
use crate::preset::{Filter, Pixels};
use crate::{Error, Result};

/// Bytes of a `config.json`: the descriptions of 22,000 classes are about 2 MB.
pub(super) const MAX_CONFIG_BYTES: u64 = 8_000_000;

/// Bytes of a label.
const MAX_LABEL_BYTES: usize = 1000;

/// Pixels a side of a whole picture.
const MAX_SIDE: usize = 1 << 12;

/// What a `config.json` says: `None` for what it leaves out.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Config {
    /// timm's name of the network.
    pub(super) architecture: String,
    /// Rows and cols that the network sees.
    pub(super) input: Option<[usize; 2]>,
    /// `input` divided by the rows and cols of the whole picture.
    pub(super) crop: Option<f64>,
    /// Whether the whole picture is stretched.
    pub(super) stretch: Option<bool>,
    pub(super) filter: Option<Filter>,
    pub(super) mean: Option<[f64; 3]>,
    pub(super) std: Option<[f64; 3]>,
    /// The classes, in their order.
    pub(super) labels: Option<Vec<String>>,
}

impl Config {
    /// Reads one; `None` where the text is JSON, but not timm's. `file` stands for it in messages.
    pub(super) fn parse(file: &str, text: &[u8]) -> Result<Option<Config>> {
        let json: Value = serde_json::from_slice(text)
            .map_err(|e| Error::parse(file, "the text", "an object in JSON", e))?;
        let Some(all) = json.as_object() else { return Ok(None) };
        let Some(architecture) = all.get("architecture").and_then(Value::as_str) else {
            return Ok(None);
        };
        // Older ones have everything on one level.
        let inner = match all.get("pretrained_cfg").filter(|value| !value.is_null()) {
            None => all,
            Some(Value::Object(inner)) => inner,
            Some(other) => {
                let got = shown(other);
                return Err(Error::content(file, "pretrained_cfg", "an object", got));
            }
        };
        let of = Fields { file, inner, outer: all };
        of.check_border()?;
        Ok(Some(Config {
            architecture: architecture.chars().take(MAX_LABEL_BYTES).collect(),
            input: of.input()?,
            crop: of.crop()?,
            stretch: of.stretch()?,
            filter: of.filter()?,
            mean: of.three("mean", |mean| mean.abs() < 1e6)?,
            std: of.three("std", |std| std.is_normal() && std > 0.0 && std < 1e6)?,
            labels: of.labels()?,
        }))
    }

    /// What is done to pixels: `usual`, except for what is said here.
    pub(super) fn pixels(&self, usual: Pixels) -> Pixels {
        let (mean, std) = (self.mean.unwrap_or(usual.mean), self.std.unwrap_or(usual.std));
        Pixels { mean, std, ..usual }
    }
}

/// The size of the whole picture of which the network sees a part, as timm computes it.
pub(super) fn whole(file: &str, input: [usize; 2], crop: f64) -> Result<[usize; 2]> {
    let whole = input.map(|side| (side as f64 / crop).floor() as usize);
    check_image(file, "input_size / crop_pct", whole)?;
    Ok(whole)
}

/// The fields of a `config.json`, with messages that name them.
struct Fields<'a> {
    file: &'a str,
    inner: &'a Map<String, Value>,
    outer: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.inner.get(name).filter(|value| !value.is_null())
    }

    fn fail<T>(&self, name: &str, expected: impl Into<String>, got: &Value) -> Result<T> {
        Err(Error::content(self.file, format!("pretrained_cfg.{name}"), expected, shown(got)))
    }

    fn input(&self) -> Result<Option<[usize; 2]>> {
        let Some(value) = self.get("input_size") else { return Ok(None) };
        let side = |value: &Value| {
            let side = usize::try_from(value.as_u64()?).ok()?;
            (1..=MAX_SIDE).contains(&side).then_some(side)
        };
        let sides = value.as_array().and_then(|all| match all.as_slice() {
            [channels, rows, cols] if channels.as_u64() == Some(3) => {
                Some([side(rows)?, side(cols)?])
            }
            _ => None,
        });
        match sides {
            Some(sides) => Ok(Some(sides)),
            None => {
                let expected = format!("3 channels, rows and cols of at most {MAX_SIDE}");
                self.fail("input_size", expected, value)
            }
        }
    }

    fn crop(&self) -> Result<Option<f64>> {
        let Some(value) = self.get("crop_pct") else { return Ok(None) };
        match value.as_f64().filter(|crop| (0.1..=1.0).contains(crop)) {
            Some(crop) => Ok(Some(crop)),
            None => self.fail("crop_pct", "a part of the picture from 0.1 to 1", value),
        }
    }

    /// What is cut off pictures before they are resized: nothing, here.
    fn check_border(&self) -> Result<()> {
        match self.get("crop_border_pixels") {
            Some(value) if value.as_u64() != Some(0) => {
                self.fail("crop_border_pixels", "none", value)
            }
            _ => Ok(()),
        }
    }

    fn stretch(&self) -> Result<Option<bool>> {
        let Some(value) = self.get("crop_mode") else { return Ok(None) };
        match value.as_str() {
            Some("center") => Ok(Some(false)),
            Some("squash") => Ok(Some(true)),
            _ => self.fail("crop_mode", "center or squash", value),
        }
    }

    fn filter(&self) -> Result<Option<Filter>> {
        let Some(value) = self.get("interpolation") else { return Ok(None) };
        match value.as_str() {
            Some("bilinear") => Ok(Some(Filter::Bilinear)),
            Some("bicubic") => Ok(Some(Filter::Bicubic)),
            // timm draws one of both in training.
            Some("random") => Ok(None),
            _ => self.fail("interpolation", "bilinear or bicubic", value),
        }
    }

    fn three(&self, name: &str, is_good: impl Fn(f64) -> bool) -> Result<Option<[f64; 3]>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let numbers = value.as_array().filter(|all| all.len() == 3).and_then(|all| {
            all.iter().map(|n| n.as_f64().filter(|n| is_good(*n))).collect::<Option<Vec<f64>>>()
        });
        match numbers.as_deref() {
            Some(&[a, b, c]) => Ok(Some([a, b, c])),
            _ => self.fail(name, "three numbers that pixels can have", value),
        }
    }

    fn labels(&self) -> Result<Option<Vec<String>>> {
        let outer = || self.outer.get("label_names").filter(|value| !value.is_null());
        let Some(value) = self.get("label_names").or_else(outer) else { return Ok(None) };
        let text = |label: &Value| {
            let text = label.as_str()?;
            (text.len() <= MAX_LABEL_BYTES).then(|| text.to_owned())
        };
        match value.as_array().and_then(|all| all.iter().map(text).collect()) {
            Some(labels) => Ok(Some(labels)),
            None => self.fail("label_names", "a list of names", value),
        }
    }
}

/// A value in a message: its beginning.
fn shown(value: &Value) -> String {
    const SHOWN: usize = 60;
    let text = match value {
        // Without its elements, which may be many.
        Value::Array(all) if all.len() > 8 => return format!("a list of {}", all.len()),
        Value::Object(all) => return format!("an object of {} fields", all.len()),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
