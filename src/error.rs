//! What can go wrong on the way from a picture to its classes.

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, with the part of the house that says so as its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A device, or an op on it.
    #[error(transparent)]
    Tensor(#[from] striate_tensor::Error),
    /// A network or one of its layers.
    #[error(transparent)]
    Network(#[from] striate_nn::Error),
    /// A model file.
    #[error(transparent)]
    Model(#[from] striate_importers::Error),
    /// A picture, a list or a protocol.
    #[error(transparent)]
    Image(#[from] striate_data::Error),
    /// A training.
    #[error(transparent)]
    Train(#[from] striate_train::Error),
    /// The network cannot classify pictures.
    #[error("this network cannot classify: expected {expected}, got {got}")]
    NotAClassifier {
        /// What classifying needs.
        expected: String,
        /// What the network has.
        got: String,
    },
    /// Labels do not fit the network.
    #[error("expected {classes} labels, one a class, got {labels}")]
    Labels {
        /// Classes of the network.
        classes: usize,
        /// Labels that were given.
        labels: usize,
    },
    /// What a network holds or does cannot be drawn so.
    #[error("cannot draw {what}: expected {expected}, got {got}")]
    Visualize {
        /// What was to be drawn.
        what: &'static str,
        /// What that needs.
        expected: String,
        /// What there is.
        got: String,
    },
    /// A network computes numbers that are not finite, or no probabilities.
    #[error(
        "the network{} gives no confidences for this picture: that of class {class} is {value}. Its \
         numbers overflow: weights are too large{}",
        named(network), in_half(*half)
    )]
    NoConfidences {
        /// The name of the network; it may be empty.
        network: String,
        /// The first class whose confidence is no probability, from 0.
        class: usize,
        /// What it is instead.
        value: f32,
        /// There are weights in half precision, which hold no number beyond 65,504.
        half: bool,
    },
}

fn named(network: &str) -> String {
    if network.is_empty() { String::new() } else { format!(" `{network}`") }
}

fn in_half(half: bool) -> &'static str {
    match half {
        true => ", damaged, or lost their range in half precision (f16); try the model in f32",
        false => " or damaged",
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    /// The messages of an error and of its sources, as `anyhow` prints them.
    fn messages(error: &Error) -> Vec<String> {
        let mut messages = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            messages.push(error.to_string());
            source = error.source();
        }
        messages
    }

    #[test]
    fn own_variants_have_no_source_and_those_of_the_parts_add_nothing_to_theirs() {
        let no_confidences = |network: &str, half| Error::NoConfidences {
            network: network.into(),
            class: 3,
            value: f32::NAN,
            half,
        };
        let own = [
            Error::NotAClassifier { expected: "a".into(), got: "b".into() },
            Error::Labels { classes: 2, labels: 1 },
            Error::Visualize { what: "a", expected: "b".into(), got: "c".into() },
            no_confidences("tiny", true),
            no_confidences("", false),
        ];
        for error in own {
            assert_eq!(messages(&error).len(), 1, "{error}");
        }
        // Transparent: the same message and the same source as without this crate.
        let disk = || striate_data::Error::Read {
            path: "a.png".into(),
            source: std::io::Error::other("disk on fire"),
        };
        let error = Error::from(disk());
        assert_eq!(error.to_string(), disk().to_string());
        assert_eq!(messages(&error)[1..], ["disk on fire"]);
    }

    #[test]
    fn a_network_that_overflows_is_named_with_the_cause() {
        let error = |network: &str, half| {
            let network = network.to_owned();
            Error::NoConfidences { network, class: 3, value: f32::NAN, half }.to_string()
        };
        let text = error("tiny", true);
        assert!(text.starts_with("the network `tiny` gives no confidences"), "{text}");
        assert!(text.contains("class 3 is NaN") && text.contains("f16"), "{text}");
        let text = error("", false);
        assert!(text.starts_with("the network gives no") && !text.contains("f16"), "{text}");
    }
}
