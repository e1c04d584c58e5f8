//! Which kernel computes a convolution or a product: the table's, or the one that has won on this
//! adapter.
//!
//! Choices are settled when a device is opened, so that it gives the same bits as long as it lives.

mod table;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

pub use table::Class;
pub(crate) use table::{Size, TILES, Tile, class_of, tiles};

/// A kernel that can be chosen, with its tile where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// An invocation an element. Takes anything.
    Simple,
    /// `wide.wgsl`: an invocation a tile, nothing shared.
    Wide,
    /// `tiled.wgsl`: tiles in workgroup memory.
    Tiled(Tile),
    /// `matvec.wgsl`: products of few rows.
    MatVec,
    /// `conv2d/winograd`: 3x3 convolutions of stride 1 by products of transformed tiles.
    Winograd,
    /// `conv2d/depthwise.wgsl`: each channel by itself.
    Depthwise,
}

impl Algorithm {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Algorithm> {
        [Algorithm::Wide, Algorithm::MatVec, Algorithm::Winograd, Algorithm::Depthwise]
            .into_iter()
            .chain(TILES.map(Algorithm::Tiled))
            .chain([Algorithm::Simple])
    }

    /// The one of this name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Algorithm::all().find(|algorithm| algorithm.to_string() == name)
    }

    /// The one that computes by a tile; without one where workgroup memory is no help.
    pub(crate) fn of_tile(tile: Option<Tile>) -> Self {
        tile.map_or(Algorithm::Wide, Algorithm::Tiled)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Algorithm::Simple => f.write_str("simple"),
            Algorithm::Wide => f.write_str("wide"),
            Algorithm::Tiled(tile) => write!(f, "tiled-{}x{}", tile.rows(), tile.cols()),
            Algorithm::MatVec => f.write_str("matvec"),
            Algorithm::Winograd => f.write_str("winograd"),
            Algorithm::Depthwise => f.write_str("depthwise"),
        }
    }
}

/// Extents that a [`Case`] has room for.
const EXTENTS: usize = 16;

/// What a choice depends on: the op, its extents and the precision of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Case {
    op: &'static str,
    extents: [usize; EXTENTS],
    half: [bool; 2],
}

impl Case {
    /// Of images, their and the outputs' rows, columns and channels, kernel, stride,
    /// padding, dilation, groups.
    pub(crate) fn conv2d(extents: [usize; EXTENTS], half: [bool; 2]) -> Self {
        Case { op: "conv2d", extents, half }
    }

    /// Of rows, columns, depth, matrices, and the steps of both operands along the depth.
    pub(crate) fn matmul(some: [usize; 6], half: [bool; 2]) -> Self {
        let mut extents = [0; EXTENTS];
        extents[..some.len()].copy_from_slice(&some);
        Case { op: "matmul", extents, half }
    }

    /// As [`Display`](fmt::Display) writes it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let op = match words.next()? {
            "conv2d" => "conv2d",
            "matmul" => "matmul",
            _ => return None,
        };
        let mut extents = [0; EXTENTS];
        for extent in &mut extents {
            *extent = words.next()?.parse().ok()?;
        }
        let mut half = [false; 2];
        for half in &mut half {
            *half = match words.next()? {
                "f16" => true,
                "f32" => false,
                _ => return None,
            };
        }
        words.next().is_none().then_some(Case { op, extents, half })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op)?;
        for extent in self.extents {
            write!(f, " {extent}")?;
        }
        for half in self.half {
            f.write_str(if half { " f16" } else { " f32" })?;
        }
        Ok(())
    }
}

/// How a device chooses.
#[derive(Debug)]
pub(crate) enum Choices {
    /// By these winners, and by the table for what is not among them.
    Settled(HashMap<Case, Algorithm>),
    /// As the tuner says.
    Trial(Mutex<Trial>),
}

/// A trial of one algorithm.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// What computes all that it takes; the table chooses if none.
    pub(crate) forced: Option<Algorithm>,
    /// What was launched since it was last asked.
    pub(crate) chosen: Vec<(Case, Algorithm)>,
}

impl Choices {
    /// The algorithm for a case: `usual` is the table's, and `takes` says which can compute it.
    pub(crate) fn choose(
        &self,
        case: impl FnOnce() -> Case,
        usual: Algorithm,
        takes: impl Fn(Algorithm) -> bool,
    ) -> Algorithm {
        let other = match self {
            Choices::Settled(winners) if winners.is_empty() => None,
            Choices::Settled(winners) => winners.get(&case()).copied(),
            Choices::Trial(trial) => trial.lock().unwrap_or_else(PoisonError::into_inner).forced,
        };
        other.filter(|other| takes(*other)).unwrap_or(usual)
    }

    /// Called with what was chosen for a case when it is launched: a tuner wants to know.
    pub(crate) fn record(&self, case: impl FnOnce() -> Case, chosen: Algorithm) {
        if let Choices::Trial(trial) = self {
            let mut trial = trial.lock().unwrap_or_else(PoisonError::into_inner);
            trial.chosen.push((case(), chosen));
        }
    }

    /// Winners that are known.
    pub(crate) fn winners(&self) -> usize {
        match self {
            Choices::Settled(winners) => winners.len(),
            Choices::Trial(_) => 0,
        }
    }
}

/// The kernels that compute convolutions and products for a class of adapters, for people.
pub(crate) fn of_class(class: Class) -> String {
    let tiles = tiles(class);
    let name = |tile| Algorithm::of_tile(Some(tile)).to_string();
    let mut names: Vec<String> = match class {
        Class::Simple => vec![Algorithm::Simple.to_string()],
        _ if tiles.is_empty() => vec![Algorithm::Wide.to_string()],
        _ => tiles.into_iter().map(name).collect(),
    };
    if class != Class::Simple {
        names.push(Algorithm::MatVec.to_string());
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        Case::matmul([1, 2, 3, 4, 1, 1], [false, true])
    }

    #[test]
    fn cases_and_algorithms_are_read_as_they_are_written() {
        assert_eq!(Case::parse(&case().to_string()), Some(case()));
        let text = case().to_string();
        for bad in ["", "conv2d", &text[..text.len() - 1], &format!("{text} 1"), "lrn 1 2"] {
            assert_eq!(Case::parse(bad), None, "{bad}");
        }
        for algorithm in Algorithm::all() {
            assert_eq!(Algorithm::by_name(&algorithm.to_string()), Some(algorithm));
        }
        assert_eq!(Algorithm::by_name("tiled-1x1"), None);
    }

    #[test]
    fn a_winner_is_chosen_where_it_takes_the_case() {
        let winners = HashMap::from([(case(), Algorithm::MatVec)]);
        let settled = Choices::Settled(winners);
        let choose = |choices: &Choices, takes| {
            choices
                .choose(case, Algorithm::Wide, |algorithm| takes || algorithm != Algorithm::MatVec)
        };
        assert_eq!(choose(&settled, true), Algorithm::MatVec);
        assert_eq!(choose(&settled, false), Algorithm::Wide);
        assert_eq!(choose(&Choices::Settled(HashMap::new()), true), Algorithm::Wide);
        let trial = Choices::Trial(Mutex::default());
        let chosen = choose(&trial, true);
        assert_eq!(chosen, Algorithm::Wide);
        trial.record(case, chosen);
        let Choices::Trial(trial) = trial else { panic!("a trial") };
        assert_eq!(trial.into_inner().unwrap().chosen, [(case(), Algorithm::Wide)]);
    }
}
