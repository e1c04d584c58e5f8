//! In what way samples differ from those of before, in words.

use std::collections::{HashMap, HashSet};

/// Names that are given for each kind of difference.
const NAMED: usize = 3;

/// The longest part of a name that is given, in characters.
const NAME_CHARS: usize = 60;

/// [`Samples`](super::Samples) taken apart.
struct Parsed<'a> {
    /// None where the classes have no names.
    classes: Option<Vec<&'a [u8]>>,
    samples: Vec<Sample<'a>>,
}

/// A sample's label, size and name, as they stand in the text.
#[derive(Clone, Copy, PartialEq)]
struct Sample<'a> {
    label: &'a [u8],
    size: &'a [u8],
    /// Empty where the picture is no file.
    name: &'a [u8],
}

/// In what way `now` differs from `before`: texts of samples that are not the same.
pub(super) fn tell(now: &[u8], before: &[u8]) -> String {
    let (now, before) = (Parsed::of(now), Parsed::of(before));
    let mut told = Vec::new();
    now.tell_classes(&before, &mut told);
    now.tell_samples(&before, &mut told);
    if told.is_empty() {
        told.push("names and sizes are the same, but the content of some pictures is not".into());
    }
    told.join("; ")
}

impl<'a> Parsed<'a> {
    fn of(text: &'a [u8]) -> Self {
        let mut lines = text.split(|&byte| byte == b'\n').skip(1);
        let count = |line: Option<&[u8]>| -> Option<usize> {
            std::str::from_utf8(line?).ok()?.split(' ').nth(1)?.parse().ok()
        };
        let classes = count(lines.next());
        let classes = classes.map(|count| lines.by_ref().take(count).collect());
        let samples = count(lines.next()).unwrap_or(0);
        let samples = lines.take(samples).map(|line| {
            let mut parts = line.splitn(3, |&byte| byte == b' ');
            let mut part = || parts.next().unwrap_or_default();
            Sample { label: part(), size: part(), name: part() }
        });
        Self { classes, samples: samples.collect() }
    }

    fn tell_classes(&self, before: &Self, told: &mut Vec<String>) {
        let (Some(now), Some(before)) = (&self.classes, &before.classes) else {
            if self.classes.is_some() != before.classes.is_some() {
                let with =
                    if self.classes.is_some() { "names now, none before" } else { "no names now" };
                told.push(format!("the classes have {with}"));
            }
            return;
        };
        let lacking = |all: &[&'a [u8]], other: &[&'a [u8]]| -> Vec<String> {
            let other: HashSet<_> = other.iter().collect();
            all.iter().filter(|name| !other.contains(name)).map(|name| shown(name)).collect()
        };
        let (new, gone) = (lacking(now, before), lacking(before, now));
        if !new.is_empty() {
            told.push(count(&new, "class is new", "classes are new"));
        }
        if !gone.is_empty() {
            told.push(count(&gone, "class is gone", "classes are gone"));
        }
        if new.is_empty() && gone.is_empty() && now != before {
            told.push("the classes are in another order".into());
        }
    }

    /// The samples with names that are each given once: a file that is listed twice has a number.
    fn named(&self) -> Vec<(String, Sample<'a>)> {
        let mut times: HashMap<&[u8], usize> = HashMap::new();
        let name = |(index, sample): (usize, &Sample<'a>)| {
            if sample.name.is_empty() {
                return (format!("picture {index}"), *sample);
            }
            let times = times.entry(sample.name).or_default();
            *times += 1;
            match *times {
                1 => (shown(sample.name), *sample),
                again => (format!("{} (time {again})", shown(sample.name)), *sample),
            }
        };
        self.samples.iter().enumerate().map(name).collect()
    }

    fn label(&self, sample: &Sample<'_>) -> String {
        let number = std::str::from_utf8(sample.label).ok().and_then(|text| text.parse().ok());
        let name = self.classes.as_ref().zip(number);
        let name = name.and_then(|(names, number): (_, usize)| names.get(number));
        match (name, number) {
            (Some(name), _) => shown(name),
            // Files whose classes have no names are those of a list, which counts from 1.
            (None, Some(number)) if !sample.name.is_empty() => number.saturating_add(1).to_string(),
            _ => shown(sample.label),
        }
    }

    fn tell_samples(&self, before: &Self, told: &mut Vec<String>) {
        let (now_named, before_named) = (self.named(), before.named());
        let by_name: HashMap<&str, &Sample<'_>> =
            before_named.iter().map(|(name, sample)| (name.as_str(), sample)).collect();
        let (mut new, mut labels, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for (name, sample) in &now_named {
            let Some(old) = by_name.get(name.as_str()) else {
                new.push(name.clone());
                continue;
            };
            let (now, then) = (self.label(sample), before.label(old));
            // Names can only be compared with names.
            let other = match self.classes.is_some() == before.classes.is_some() {
                true => now != then,
                false => sample.label != old.label,
            };
            if other {
                labels.push(format!("{name}: {now}, before {then}"));
            }
            if sample.size != old.size {
                let (now, then) = (shown(sample.size), shown(old.size));
                sizes.push(format!("{name}: {now}, before {then}"));
            }
        }
        let names: HashSet<&str> = now_named.iter().map(|(name, _)| name.as_str()).collect();
        let gone = before_named.iter().map(|(name, _)| name);
        let gone: Vec<_> = gone.filter(|name| !names.contains(name.as_str())).cloned().collect();
        for (what, one, many) in [
            (&new, "picture is new", "pictures are new"),
            (&gone, "picture is gone", "pictures are gone"),
            (&labels, "has another label", "have other labels"),
            (&sizes, "has another size", "have other sizes"),
        ] {
            if !what.is_empty() {
                told.push(count(what, one, many));
            }
        }
        let moved = now_named.iter().zip(&before_named).position(|((now, _), (old, _))| now != old);
        if let (true, true, Some(index)) = (new.is_empty(), gone.is_empty(), moved) {
            let (now, then) = (&now_named[index].0, &before_named[index].0);
            told.push(format!(
                "the order is another from number {index} on ({now}, before {then})"
            ));
        }
    }
}

/// So many of something, the first few by name.
fn count(names: &[String], one: &str, many: &str) -> String {
    let what = if names.len() == 1 { one } else { many };
    let first = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if names.len() > NAMED { ", …" } else { "" };
    format!("{} {what} ({first}{more})", names.len())
}

/// A name as it can be shown, without control characters; the end of a long one.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match text.chars().count() {
        0..=NAME_CHARS => text,
        long => ['…'].into_iter().chain(text.chars().skip(long - NAME_CHARS)).collect(),
    }
}
