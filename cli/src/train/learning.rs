//! How the network learns: the options of `striate train` that say so.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::PossibleValuesParser;
use striate::nn::{Method, Rates};
use striate::train::{Clip, Decay, Loss, TrainOptions};

use super::spec;
use crate::args::{Global, number, positive};
use crate::error::{Error, Result};
use crate::text;

/// What the weights move by.
#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    /// How the weights move: `sgd` (gradient descent with momentum, as in ccv: the learning rate is inside
    /// the velocity), `torch-sgd` (as in PyTorch), `adam`, `adamw` (a good choice for networks with
    /// normalization) or `rmsprop`. Files in ccv's form hold `sgd` alone [default: sgd].
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Method::NAMES),
          hide_possible_values = true)]
    optimizer: Option<String>,
    /// The learning rate [default: 0.01, and 0.001 for lenet and for adam, adamw and rmsprop].
    #[arg(long, value_name = "R", value_parser = not_negative::<f32>)]
    learn_rate: Option<f32>,
    /// The momentum, for sgd, torch-sgd and rmsprop [default: 0.9, and 0 for rmsprop].
    #[arg(long, value_name = "M", value_parser = below_1)]
    momentum: Option<f32>,
    /// Nesterov's momentum: gradient descent as in PyTorch that looks at the gradient where the velocity
    /// leads.
    #[arg(long)]
    nesterov: bool,
    /// The decay rates of the averages that adam and adamw keep of the gradient and of its square
    /// [default: 0.9,0.999].
    #[arg(long, value_name = "B1,B2", value_parser = parse_betas)]
    betas: Option<[f64; 2]>,
    /// The decay rate of the average that rmsprop keeps of the squared gradient [default: 0.99].
    #[arg(long, value_name = "A", value_parser = share)]
    alpha: Option<f64>,
    /// What adam, adamw and rmsprop add to the divisor, so that it is never 0 [default: 1e-8].
    #[arg(long, value_name = "E", value_parser = not_negative::<f64>)]
    epsilon: Option<f64>,
    /// How fast weights are pulled toward 0; biases, and scales and shifts of normalization, are not
    /// [default: 0.0005 for sgd and torch-sgd, 0.01 for adamw, else 0].
    #[arg(long, visible_alias = "weight-decay", value_name = "D", value_parser = not_negative::<f32>)]
    decay: Option<f32>,
    /// Pull biases, and scales and shifts of normalization, as weights are pulled.
    #[arg(long)]
    decay_biases: bool,
    /// How learning rates change [default: constant]:
    /// - constant
    /// - steps:30,60,80: a tenth at the beginning of each of these epochs; steps:30,60:0.2: another factor
    /// - exponential:0.95: by this factor each epoch
    /// - cosine: down to 0 over all epochs; cosine:0.01: down to a hundredth
    /// - cosine-restarts:10: down and up again every 10 epochs; cosine-restarts:10:2:0.01: each time twice
    ///   as long, down to a hundredth
    /// - one-cycle: up from a 25th over 30 % of the training, then down to nearly 0; one-cycle:0.2: up over
    ///   20 %
    /// - plateau: a tenth after 10 epochs without a better loss, on the test samples where there are any;
    ///   plateau:5:0.5: a half after 5
    #[arg(
        long,
        value_name = "SCHEDULE",
        value_parser = parse_decay,
        verbatim_doc_comment
    )]
    schedule: Option<Decay>,
    /// Epochs (or a part of one) in which learning rates rise to the full ones: of n mini-batches the
    /// first has 1/n of them [default: 0].
    #[arg(long, visible_alias = "warmup", value_name = "EPOCHS", value_parser = not_negative::<f64>)]
    warm_up: Option<f64>,
    /// Scale the gradients of a step down where their norm, of all together, is larger than this. Such a
    /// step holds all gradients at once.
    #[arg(long, value_name = "N", value_parser = above_0::<f64>, conflicts_with = "clip_value")]
    clip_norm: Option<f64>,
    /// Clip each number of the gradients to the range from -N to N.
    #[arg(long, value_name = "N", value_parser = above_0::<f32>)]
    clip_value: Option<f32>,
    /// Keep an exponential moving average of the weights, with this decay rate (a lower one in the
    /// beginning). The average is what is tested and saved as the model.
    #[arg(long, value_name = "KEEP", value_parser = share)]
    ema: Option<f64>,
    /// What training minimises [default: cross-entropy]:
    /// - cross-entropy: of a softmax, for samples of one class each
    /// - bce: the binary cross-entropy of each class against all others
    /// - mse: the squared distance from 1 for the sample's class and 0 for others
    #[arg(
        long,
        value_name = "LOSS",
        value_parser = PossibleValuesParser::new(Loss::ALL.map(Loss::name)),
        hide_possible_values = true,
        verbatim_doc_comment
    )]
    loss: Option<String>,
    /// Spread this share of each training label over all classes: networks grow less sure of themselves, and
    /// often better.
    #[arg(long, value_name = "SHARE", value_parser = smoothing)]
    label_smoothing: Option<f32>,
    /// What the loss of the training samples of each class is multiplied by: `balanced`, with which all
    /// classes count as much however many samples they have, or numbers with commas.
    #[arg(long, value_name = "WEIGHTS", value_parser = parse_weights)]
    class_weights: Option<ClassWeights>,
    /// Samples of a mini-batch [default: 64].
    #[arg(long, value_name = "N", value_parser = positive::<usize>())]
    mini_batch: Option<usize>,
    /// Mini-batches whose gradients are summed for one step [default: 1]. At the end of an epoch
    /// there is a step for those that are left.
    #[arg(long, value_name = "N", value_parser = positive::<usize>())]
    sgd_frequency: Option<usize>,
    /// Epochs in all [default: 100].
    #[arg(long, value_name = "N")]
    max_epoch: Option<u64>,
    /// End after so many mini-batches in all, where that is earlier. What --sgd-frequency has summed
    /// by then moves the weights.
    #[arg(long, value_name = "N")]
    max_iterations: Option<u64>,
    /// Compute activations twice instead of keeping them: less memory, a third more time, the same
    /// bits.
    #[arg(long)]
    recompute: bool,
    /// All of these in a JSON file, rates of single layers and roles too: an object as `--format json`
    /// prints under `options` at the beginning. Options that are given here too, --seed among them, change
    /// what it says.
    #[arg(long, value_name = "FILE.json")]
    pub(super) options: Option<PathBuf>,
}

/// Weights of classes, as they are given.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ClassWeights {
    /// By the samples that there are.
    Balanced,
    /// These.
    Given(Vec<f32>),
}

impl LearnArgs {
    /// Brings in what follows from the training samples.
    pub(super) fn see(&self, options: &mut TrainOptions, labels: &[u32], classes: usize) {
        if self.class_weights == Some(ClassWeights::Balanced) {
            options.class_weights = TrainOptions::balanced(labels, classes);
        }
    }

    /// What the options file says, or else the defaults; and what is given on the command line.
    pub(super) fn train_options(&self, network: &str, global: &Global) -> Result<TrainOptions> {
        let mut options: TrainOptions = match &self.options {
            None => TrainOptions::default(),
            Some(path) => text::read_json(path, "training options")?,
        };
        let named = self.optimizer.as_deref().and_then(Method::by_name);
        // Rates of one optimizer are of little use to another.
        if let Some(method) = named.filter(|method| method.name() != options.optimizer.name()) {
            options = options.with_optimizer(method);
        }
        let is_sgd = matches!(options.optimizer, Method::Sgd | Method::TorchSgd { .. });
        if let Some(rate) = spec::learn_rate(network).filter(|_| self.options.is_none() && is_sgd) {
            (options.weights.rate, options.biases.rate) = (rate, rate);
        }
        self.change_method(&mut options)?;
        for rates in [&mut options.weights, &mut options.biases] {
            rates.rate = self.learn_rate.unwrap_or(rates.rate);
            rates.momentum = self.momentum.unwrap_or(rates.momentum);
        }
        options.weights.decay = self.decay.unwrap_or(options.weights.decay);
        if self.decay_biases {
            options.biases = Rates { decay: options.weights.decay, ..options.biases };
        }
        if self.nesterov && options.weights.momentum == 0.0 {
            let expected = "'--nesterov' is a way to use momentum, which is 0";
            return Err(Error::Usage(expected.into()));
        }
        if let Some(decay) = &self.schedule {
            options.schedule.decay = decay.clone();
        }
        options.schedule.warm_up = self.warm_up.unwrap_or(options.schedule.warm_up);
        let clip = self.clip_norm.map(|most| Clip::Norm { most });
        let clip = clip.or(self.clip_value.map(|most| Clip::Value { most }));
        options.clip = clip.or(options.clip);
        options.ema = self.ema.or(options.ema);
        options.loss = self.loss.as_deref().and_then(Loss::by_name).unwrap_or(options.loss);
        options.label_smoothing = self.label_smoothing.unwrap_or(options.label_smoothing);
        match &self.class_weights {
            Some(ClassWeights::Given(weights)) => options.class_weights = weights.clone(),
            // Those of a file are of other samples.
            Some(ClassWeights::Balanced) => options.class_weights = Vec::new(),
            None => {}
        }
        options.max_epoch = self.max_epoch.unwrap_or(options.max_epoch);
        options.max_iterations = self.max_iterations.or(options.max_iterations);
        options.mini_batch = self.mini_batch.unwrap_or(options.mini_batch);
        options.sgd_frequency = self.sgd_frequency.unwrap_or(options.sgd_frequency);
        options.recompute |= self.recompute;
        options.seed = global.seed.unwrap_or(options.seed);
        Ok(options)
    }

    /// Brings the numbers of the optimizer in, and refuses those that are of no meaning to it.
    fn change_method(&self, options: &mut TrainOptions) -> Result<()> {
        let name = options.optimizer.name();
        let refuse = |option: &str, of: &str, instead: &str| {
            Err(Error::Usage(format!(
                "'{option}' is of {of}, and the optimizer is {name}{instead}"
            )))
        };
        if self.momentum.is_some_and(|momentum| momentum > 0.0)
            && !options.optimizer.takes_momentum()
        {
            let of = "sgd, torch-sgd and rmsprop";
            return refuse("--momentum", of, ", whose moments --betas says how much to keep of");
        }
        if self.nesterov {
            match options.optimizer {
                Method::Sgd | Method::TorchSgd { .. } => {
                    options.optimizer = Method::TorchSgd { nesterov: true };
                }
                _ => return refuse("--nesterov", "sgd and torch-sgd", ""),
            }
        }
        match &mut options.optimizer {
            Method::Adam { betas, epsilon } | Method::AdamW { betas, epsilon } => {
                *betas = self.betas.unwrap_or(*betas);
                *epsilon = self.epsilon.unwrap_or(*epsilon);
            }
            _ if self.betas.is_some() => return refuse("--betas", "adam and adamw", ""),
            Method::RmsProp { epsilon, .. } => *epsilon = self.epsilon.unwrap_or(*epsilon),
            _ if self.epsilon.is_some() => {
                return refuse("--epsilon", "adam, adamw and rmsprop", "");
            }
            _ => {}
        }
        match &mut options.optimizer {
            Method::RmsProp { alpha, .. } => *alpha = self.alpha.unwrap_or(*alpha),
            _ if self.alpha.is_some() => return refuse("--alpha", "rmsprop", ""),
            _ => {}
        }
        Ok(())
    }
}

fn not_negative<T: FromStr + PartialOrd + Copy + Into<f64> + Default>(
    text: &str,
) -> Result<T, String> {
    number(text, T::default().., "a number of 0 or more")
}

fn above_0<T: FromStr + PartialOrd + Copy + Into<f64> + Default>(text: &str) -> Result<T, String> {
    let expected = "a number above 0";
    number(text, T::default().., expected).and_then(|number| match number > T::default() {
        true => Ok(number),
        false => Err(format!("expected {expected}")),
    })
}

fn below_1(text: &str) -> Result<f32, String> {
    number(text, 0.0..1.0, "a momentum from 0 to less than 1")
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0..1.0, "a number from 0 to less than 1")
}

fn smoothing(text: &str) -> Result<f32, String> {
    number(text, 0.0..1.0, "a share from 0 to less than 1")
}

fn parse_weights(text: &str) -> Result<ClassWeights, String> {
    if text == "balanced" {
        return Ok(ClassWeights::Balanced);
    }
    let expected = "balanced, or a number of 0 or more for each class, with commas";
    let weights = text.split(',').map(|text| number(text.trim(), 0.0f32.., expected));
    Ok(ClassWeights::Given(weights.collect::<Result<_, _>>()?))
}

fn parse_betas(text: &str) -> Result<[f64; 2], String> {
    let (first, second) =
        text.split_once(',').ok_or("expected two numbers with a comma: 0.9,0.999")?;
    Ok([share(first.trim())?, share(second.trim())?])
}

fn parse_decay(text: &str) -> Result<Decay, String> {
    let mut parts = text.split(':').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let factor = |text: &str| number(text, 0.0f64.., "a factor of 0 or more");
    let whole = |text: &str| text.parse::<u64>().map_err(|e| format!("'{text}': {e}"));
    match (kind, &rest[..]) {
        ("constant", []) => Ok(Decay::Constant),
        ("steps", [epochs, more @ ..]) if more.len() <= 1 => {
            let epochs: Result<Vec<u64>, _> = epochs.split(',').map(|e| e.trim().parse()).collect();
            let epochs = epochs.map_err(|e| format!("epochs are numbers with commas: {e}"))?;
            match more {
                [one, ..] => Ok(Decay::Steps { epochs, factor: factor(one)? }),
                [] => Ok(Decay::steps(epochs)),
            }
        }
        ("exponential", [one]) => Ok(Decay::Exponential { factor: factor(one)? }),
        ("cosine", []) => Ok(Decay::Cosine { last: 0.0 }),
        ("cosine", [last]) => Ok(Decay::Cosine { last: factor(last)? }),
        ("cosine-restarts", [epochs, more @ ..]) if more.len() <= 2 => Ok(Decay::CosineRestarts {
            epochs: whole(epochs)?,
            times: more.first().map_or(Ok(1), |times| whole(times))?,
            last: more.get(1).map_or(Ok(0.0), |last| factor(last))?,
        }),
        ("one-cycle", []) => Ok(Decay::one_cycle()),
        ("one-cycle", [part, more @ ..]) if more.len() <= 2 => {
            let Decay::OneCycle { first, last, .. } = Decay::one_cycle() else {
                return Ok(Decay::one_cycle());
            };
            Ok(Decay::OneCycle {
                rise: number(part, 0.0..=1.0, "a share of the training, from 0 to 1")?,
                first: more.first().map_or(Ok(first), |first| factor(first))?,
                last: more.get(1).map_or(Ok(last), |last| factor(last))?,
            })
        }
        ("plateau", []) => Ok(Decay::plateau()),
        ("plateau", [wait, more @ ..]) if more.len() <= 2 => {
            let Decay::Plateau { factor: usual, threshold, .. } = Decay::plateau() else {
                return Ok(Decay::plateau());
            };
            let (patience, below_1) = (whole(wait)?, "a factor from 0 to less than 1");
            let factor = more.first().map_or(Ok(usual), |one| number(one, 0.0..1.0, below_1))?;
            let last = more.get(1).map_or(Ok(0.0), |one| number(one, 0.0..1.0, below_1))?;
            Ok(Decay::Plateau { factor, patience, threshold, last })
        }
        _ => Err(
            "expected constant, cosine or steps:EPOCH,EPOCH,…; or steps:EPOCHS:FACTOR, cosine:LAST, \
             exponential:FACTOR, cosine-restarts:EPOCHS[:TIMES[:LAST]], one-cycle[:RISE[:FIRST[:LAST]]] \
             or plateau[:EPOCHS[:FACTOR[:LAST]]]"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read() {
        assert_eq!(parse_decay("steps:3, 6"), Ok(Decay::steps([3, 6])));
        let decay = Decay::Steps { epochs: vec![3], factor: 0.5 };
        assert_eq!(parse_decay("steps:3:0.5"), Ok(decay));
        let decay = Decay::CosineRestarts { epochs: 4, times: 2, last: 0.25 };
        assert_eq!(parse_decay("cosine-restarts:4:2:0.25"), Ok(decay));
        assert_eq!(parse_decay("one-cycle"), Ok(Decay::one_cycle()));
        assert_eq!(parse_decay("plateau"), Ok(Decay::plateau()));
        let cases = [
            ("linear", "expected constant"),
            ("cosine:1:2", "expected constant"),
            ("steps", "expected constant"),
            ("steps:a", "epochs are numbers"),
            ("exponential:-1", "a factor of 0 or more"),
            ("plateau:5:1.5", "less than 1"),
        ];
        for (text, part) in cases {
            let error = parse_decay(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(parse_betas("0.5, 0.75"), Ok([0.5, 0.75]));
        assert!(parse_betas("0.5").is_err() && parse_betas("0.5,1").is_err());
    }
}
