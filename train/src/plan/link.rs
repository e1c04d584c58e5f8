//! What connects devices.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::machine::check;
use crate::{Error, Result};

/// What connects a device with the others, as the LogGP model has it (Alexandrov and others, 1995):
/// messages that leave together in a round take `latency + messages · overhead + bytes /
/// bandwidth`. Every device has a link of its own, in both directions at once, and what lies between
/// (a switch) passes on what all of them send.
///
/// ```
/// use striate_train::plan::Link;
///
/// let link: Link = "10GbE".parse()?;
/// assert_eq!(link.seconds(1, 1.18e9), 1.0 + link.latency + link.overhead);
/// let own: Link = "3.5GB/s,12us".parse()?;
/// assert_eq!((own.bandwidth, own.latency), (3.5e9, 12e-6));
/// assert!("10GB".parse::<Link>().unwrap_err().to_string().contains("expected 1GbE, 10GbE"));
/// # Ok::<(), striate_train::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// How it is called.
    pub name: Cow<'static, str>,
    /// Bytes a second in each direction, as programs see them.
    pub bandwidth: f64,
    /// Seconds until the first byte of a round is there.
    pub latency: f64,
    /// Seconds that each message occupies the sender, however short it is.
    pub overhead: f64,
    /// Where these numbers come from.
    pub rationale: Cow<'static, str>,
}

/// Name, bytes a second, seconds of latency and of overhead, rationale.
type Known = (&'static str, f64, f64, f64, &'static str);

/// Of the rate that a link is named after, what is left for programs. Ethernet in frames of 1500
/// bytes carries 1460 of every 1538 on the wire; PCIe adds 26 to packets of 256, and copies that
/// begin and end. Latencies are round: what decides is their order of magnitude.
const KNOWN: [Known; 7] = [
    (
        "1GbE",
        0.118e9,
        50e-6,
        5e-6,
        "1 Gbit/s less the heads of TCP frames (5 %); the latency of a kernel's TCP on both sides",
    ),
    (
        "10GbE",
        1.18e9,
        25e-6,
        3e-6,
        "10 Gbit/s less the heads of TCP frames (5 %); the latency of a kernel's TCP on both sides",
    ),
    (
        "25GbE",
        2.95e9,
        20e-6,
        3e-6,
        "25 Gbit/s less the heads of TCP frames (5 %); the latency of a kernel's TCP on both sides",
    ),
    (
        "100GbE",
        11.5e9,
        5e-6,
        1e-6,
        "100 Gbit/s less heads and flow control (8 %); the latency of network cards that read \
         memory themselves (RDMA), for TCP in one thread does not fill such a link",
    ),
    (
        "PCIe3x16",
        12e9,
        10e-6,
        2e-6,
        "8 GT/s in 16 lanes are 15.75 GB/s, of which copies see about three quarters; the latency \
         of starting one",
    ),
    ("PCIe4x16", 24e9, 10e-6, 2e-6, "twice the rate of PCIe3x16, and the same latency"),
    (
        "NVLink",
        240e9,
        5e-6,
        2e-6,
        "the third generation, 300 GB/s a direction over all bridges of a device, of which copies \
         see about four fifths; the latency of starting one",
    ),
];

impl Link {
    /// The links that are known by name, the slowest first.
    pub fn known() -> Vec<Link> {
        let link = |&(name, bandwidth, latency, overhead, rationale): &Known| Link {
            name: name.into(),
            bandwidth,
            latency,
            overhead,
            rationale: rationale.into(),
        };
        KNOWN.iter().map(link).collect()
    }

    /// A link that nobody has named. Its overhead is a tenth of its latency, as it is of most.
    ///
    /// # Errors
    /// [`Error::Plan`] where the bandwidth is beyond all links, or the latency negative or longer than
    /// an hour.
    pub fn new(bandwidth: f64, latency: f64) -> Result<Link> {
        check("bytes a second of a link", bandwidth, 1.0..=1e24)?;
        check("seconds of latency", latency, 0.0..=3600.0)?;
        Ok(Link {
            name: format!("{}GB/s,{}us", rounded(bandwidth / 1e9), rounded(latency * 1e6)).into(),
            bandwidth,
            latency,
            overhead: latency / 10.0,
            rationale: "as given; a message costs its sender a tenth of the latency".into(),
        })
    }

    /// How long messages take that leave together, so many with so many bytes in all.
    pub fn seconds(&self, messages: u64, bytes: f64) -> f64 {
        match messages {
            0 => 0.0,
            _ => self.latency + self.overhead * messages as f64 + bytes / self.bandwidth,
        }
    }
}

/// As many digits as anybody measures.
fn rounded(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

/// The latency where only a bandwidth is given: that of 10GbE.
const USUAL_LATENCY: f64 = 25e-6;

impl FromStr for Link {
    type Err = Error;

    /// A name, whatever the case; or `BANDWIDTHGB/s` (or `Gbit/s`, `MB/s`, `Mbit/s`), and after a
    /// comma `LATENCYus`.
    fn from_str(text: &str) -> Result<Link> {
        let named = |link: &Link| link.name.eq_ignore_ascii_case(text.trim());
        if let Some(link) = Link::known().into_iter().find(named) {
            return Ok(link);
        }
        let unknown = || {
            let names: Vec<_> = KNOWN.iter().map(|known| known.0).collect();
            let expected = format!("{} or BANDWIDTHGB/s[,LATENCYus] as a link", names.join(", "));
            Error::plan(expected, format!("'{text}'"))
        };
        let (bandwidth, latency) = match text.split_once(',') {
            Some((bandwidth, latency)) => (bandwidth, Some(latency)),
            None => (text, None),
        };
        let units = [("GB/s", 1e9), ("Gbit/s", 0.125e9), ("MB/s", 1e6), ("Mbit/s", 0.125e6)];
        let bandwidth = with_unit(bandwidth, &units).ok_or_else(unknown)?;
        let latency = match latency {
            Some(latency) => {
                let units = [("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("ns", 1e-9)];
                with_unit(latency, &units).ok_or_else(unknown)?
            }
            None => USUAL_LATENCY,
        };
        Link::new(bandwidth, latency)
    }
}

/// A number before one of these units, as so many of the base unit.
fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let found = units.iter().find_map(|&(unit, factor)| {
        let at = text.len().checked_sub(unit.len()).filter(|&at| text.is_char_boundary(at))?;
        let (number, end) = text.split_at(at);
        end.eq_ignore_ascii_case(unit).then_some((number, factor))
    });
    let (number, factor) = found?;
    number.trim().parse::<f64>().ok().map(|number| number * factor)
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_links() {
        for link in Link::known() {
            let text = link.name.to_uppercase();
            assert_eq!(text.parse::<Link>().unwrap(), link);
            assert!(link.bandwidth > 0.0 && link.overhead < link.latency);
        }
        let parse = |text: &str| text.parse::<Link>();
        let link = parse("10 Gbit/s, 0.5 ms").unwrap();
        assert_eq!((link.bandwidth, link.latency, link.overhead), (1.25e9, 5e-4, 5e-5));
        assert_eq!(link.to_string(), "1.25GB/s,500us");
        assert_eq!(parse("80MB/s").unwrap().latency, USUAL_LATENCY);
        for wrong in ["", "token ring", "GB/s", "0GB/s", "-1GB/s", "nanGB/s", "infGB/s", "1GB/s,"] {
            let message = parse(wrong).unwrap_err().to_string();
            assert!(message.contains("expected"), "{wrong}: {message}");
        }
        for wrong in ["1GB/s,5", "1GB/s,-5us", "1GB/s,5us,5us", "1µ", "é", "1e999GB/s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
