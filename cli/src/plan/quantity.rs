//! Numbers as people write them: `4..1024`, `4.5T`, `291ms`.

/// The most devices that can be asked for: a trainer takes no larger mini-batch.
const MOST_DEVICES: u64 = 1 << 20;

/// The most different numbers of them at once.
const MOST_COUNTS: usize = 1000;

/// Numbers of devices, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Devices(pub(super) Vec<u64>);

/// `8`, `1,2,3` or `4..1024`, and lists of these.
pub(super) fn counts(text: &str) -> Result<Devices, String> {
    let number = |text: &str| {
        let number = text.trim().parse::<u64>().ok();
        number.filter(|number| (1..=MOST_DEVICES).contains(number)).ok_or_else(|| {
            format!("expected numbers of devices from 1 to {MOST_DEVICES}, or A..B: '{text}'")
        })
    };
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once("..") {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if last < first {
            return Err(format!("expected A..B with A no more than B: '{part}'"));
        }
        let doublings = std::iter::successors(Some(first), |count| count.checked_mul(2));
        for count in doublings.take_while(|&count| count <= last) {
            if !all.contains(&count) {
                all.push(count);
            }
        }
        if all.len() > MOST_COUNTS {
            return Err(format!("expected at most {MOST_COUNTS} numbers of devices"));
        }
    }
    Ok(Devices(all))
}

/// `4.5 T`: before a unit.
pub(super) fn prefixed(value: f64) -> String {
    let prefixes = [(1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    match prefixes.into_iter().find(|(factor, _)| value >= *factor) {
        Some((1e15, _)) if value >= 1e18 => format!("{value:.3e} "),
        Some((factor, prefix)) => format!("{:.3}{prefix}", value / factor),
        None => format!("{value:.3} "),
    }
}

/// A number with a prefix of the SI, and these units or none: more than 0.
fn quantity(text: &str, units: &[&str], example: &str) -> Result<f64, String> {
    let wrong = || format!("expected a number of more than 0 like {example}");
    let mut rest = text.trim();
    let lower = rest.to_ascii_lowercase();
    if let Some(unit) = units.iter().find(|unit| lower.ends_with(**unit)) {
        // Units are ASCII, so this is the start of a character.
        rest = &rest[..rest.len() - unit.len()];
    }
    let prefixes = [('k', 1e3), ('m', 1e6), ('g', 1e9), ('t', 1e12), ('p', 1e15), ('e', 1e18)];
    let mut factor = 1.0;
    for (prefix, times) in prefixes {
        if let Some(number) = rest.strip_suffix([prefix, prefix.to_ascii_uppercase()]) {
            (rest, factor) = (number, times);
            break;
        }
    }
    let number = rest.trim().parse::<f64>().ok().map(|number| number * factor);
    number.filter(|number| number.is_finite() && *number > 0.0).ok_or_else(wrong)
}

/// So many a second: operations or bytes.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    quantity(text, &["flop/s", "flops", "b/s"], "4.5T, 500G or 2e12")
}

/// Bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    // Saturates where that is more than any memory.
    quantity(text, &["b"], "16G, 512MB or 6e9").map(|bytes| bytes as u64)
}

/// Seconds.
pub(super) fn duration(text: &str) -> Result<f64, String> {
    let wrong = || "expected a time of more than 0 like 0.845s, 291ms or 80us".to_owned();
    let text = text.trim();
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0)];
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = found.ok_or_else(wrong)?;
    let seconds = number.trim().parse::<f64>().ok().map(|number| number * factor);
    seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_devices() {
        let all = |text| counts(text).map(|devices| devices.0);
        assert_eq!(all("8"), Ok(vec![8]));
        assert_eq!(all("1,2, 3"), Ok(vec![1, 2, 3]));
        assert_eq!(all("4..64"), Ok(vec![4, 8, 16, 32, 64]));
        assert_eq!(all("3..13,6,7"), Ok(vec![3, 6, 12, 7]));
        assert_eq!(all("5..5"), Ok(vec![5]));
        for wrong in ["", "0", "0..4", "4..", "..4", "8..4", "-1", "2,,3", "1.5", "two", "4...8"] {
            assert!(all(wrong).unwrap_err().starts_with("expected"), "{wrong}");
        }
        assert!(all("99999999999999999999999").is_err() && all("1..18446744073709551615").is_err());
        let many: Vec<String> = (1..=2000).map(|n| n.to_string()).collect();
        assert!(all(&many.join(",")).is_err());
    }

    #[test]
    fn quantities() {
        let texts = [4.5e12, 2.5e9, 999.0, 1e24].map(prefixed);
        assert_eq!(texts, ["4.500 T", "2.500 G", "999.000 ", "1.000e24 "]);
        for (text, value) in [
            ("4.5T", 4.5e12),
            ("500G", 5e11),
            ("500 gflop/s", 5e11),
            ("2e12", 2e12),
            ("9TFLOPS", 9e12),
            ("900GB/s", 9e11),
        ] {
            assert_eq!(rate(text), Ok(value), "{text}");
        }
        assert_eq!(size("16GB"), Ok(16_000_000_000));
        assert_eq!(size("1e30"), Ok(u64::MAX));
        assert_eq!(duration("0.845s"), Ok(0.845));
        assert_eq!(duration("500 ms"), Ok(0.5));
        for wrong in ["", "T", "-1T", "0", "nan", "inf", "1e999", "4.5X", "é", "1é"] {
            assert!(rate(wrong).is_err() && size(wrong).is_err(), "{wrong}");
            assert!(duration(wrong).is_err() && duration(&format!("{wrong}s")).is_err(), "{wrong}");
        }
        assert!(duration("1").is_err());
    }
}
