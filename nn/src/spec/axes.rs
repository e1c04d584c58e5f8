//! Numbers that are one for both axes, or one each; and how JSON has them.

/// A number for rows and cols: one for both, or `[rows, cols]`.
pub trait PerAxis {
    /// `[rows, cols]`.
    fn per_axis(self) -> [usize; 2];
}

impl PerAxis for usize {
    fn per_axis(self) -> [usize; 2] {
        [self; 2]
    }
}

impl PerAxis for [usize; 2] {
    fn per_axis(self) -> [usize; 2] {
        self
    }
}

/// A number for each side of an image: one for all, `[rows, cols]`, or
/// `[[top, bottom], [left, right]]`.
pub trait PerSide {
    /// `[[top, bottom], [left, right]]`.
    fn per_side(self) -> [[usize; 2]; 2];
}

impl PerSide for usize {
    fn per_side(self) -> [[usize; 2]; 2] {
        [[self; 2]; 2]
    }
}

impl PerSide for [usize; 2] {
    fn per_side(self) -> [[usize; 2]; 2] {
        self.map(|both| [both; 2])
    }
}

impl PerSide for [[usize; 2]; 2] {
    fn per_side(self) -> [[usize; 2]; 2] {
        self
    }
}

/// JSON's form of a number for each axis: one number where they are equal.
pub(crate) mod pair {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged, expecting = "a number, or [rows, cols]")]
    enum Stored {
        Both(usize),
        Each([usize; 2]),
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(crate) fn serialize<S: Serializer>(pair: &[usize; 2], to: S) -> Result<S::Ok, S::Error> {
        match *pair {
            [rows, cols] if rows == cols => Stored::Both(rows),
            each => Stored::Each(each),
        }
        .serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[usize; 2], D::Error> {
        Ok(match Stored::deserialize(from)? {
            Stored::Both(both) => [both; 2],
            Stored::Each(each) => each,
        })
    }
}

/// JSON's form of a number for each side: one number, or one an axis, where that says it all.
pub(crate) mod sides {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged, expecting = "a number, [rows, cols] or [[top, bottom], [left, right]]")]
    enum Stored {
        All(usize),
        Axes([usize; 2]),
        Each([[usize; 2]; 2]),
    }

    pub(crate) fn serialize<S: Serializer>(
        sides: &[[usize; 2]; 2],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match *sides {
            [[top, bottom], [left, right]] if top == bottom && left == right => {
                if top == left {
                    Stored::All(top)
                } else {
                    Stored::Axes([top, left])
                }
            }
            each => Stored::Each(each),
        }
        .serialize(to)
    }

    pub(crate) fn deserialize<'de, D>(from: D) -> Result<[[usize; 2]; 2], D::Error>
    where
        D: Deserializer<'de>,
    {
        Ok(match Stored::deserialize(from)? {
            Stored::All(all) => [[all; 2]; 2],
            Stored::Axes([rows, cols]) => [[rows; 2], [cols; 2]],
            Stored::Each(each) => each,
        })
    }
}
