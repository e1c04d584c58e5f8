//! What `striate inspect` says of a training.

use std::collections::BTreeMap;

use striate::nn::{Method, Rates};
use striate::train::{Clip, Decay, Loss, TrainOptions};

use crate::output::grouped;

/// The kinds of tensors that a training keeps, with how many there are of each; tables by their names.
pub(super) fn kinds(names: &[String]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut others = Vec::new();
    for name in names {
        let kind = name.strip_prefix("train.").and_then(|name| name.split_once('.'));
        match kind {
            Some((kind, _)) => *counts.entry(kind).or_default() += 1,
            None => others.push(name.clone()),
        }
    }
    let kind = |(kind, count): (&str, usize)| match count {
        1 => format!("{kind} of 1 parameter"),
        count => format!("{kind} of {} parameters", grouped(count as u64)),
    };
    others.extend(counts.into_iter().map(kind));
    others.join(", ")
}

/// How a training goes on, as facts with names; in JSON where a later version says more than this one
/// knows.
pub(super) fn settings(options: &serde_json::Value) -> Vec<(&'static str, String)> {
    // By way of text, in which numbers stay as short as they were written.
    let Ok(options) = serde_json::from_str::<TrainOptions>(&options.to_string()) else {
        return vec![("settings", options.to_string())];
    };
    let Rates { rate, momentum, decay } = options.weights;
    let mut optimizer = vec![options.optimizer.name().to_owned()];
    match options.optimizer {
        Method::TorchSgd { nesterov: true } => optimizer.push("Nesterov's momentum".into()),
        Method::Adam { betas: [first, second], .. }
        | Method::AdamW { betas: [first, second], .. } => {
            optimizer.push(format!("betas {first} and {second}"));
        }
        Method::RmsProp { alpha, .. } => optimizer.push(format!("alpha {alpha}")),
        Method::Sgd | Method::TorchSgd { .. } => {}
    }
    optimizer.push(format!("learning rate {rate}"));
    if momentum > 0.0 {
        optimizer.push(format!("momentum {momentum}"));
    }
    if decay > 0.0 {
        let biases = if options.biases.decay > 0.0 { ", of biases too" } else { "" };
        optimizer.push(format!("decay {decay}{biases}"));
    }
    let mut schedule = vec![describe(&options.schedule.decay)];
    if options.schedule.warm_up > 0.0 {
        schedule.push(format!("warm-up over {} epochs", options.schedule.warm_up));
    }
    schedule.push(format!("{} epochs", options.max_epoch));
    let mut batch = vec![format!("{} samples", options.mini_batch)];
    if options.sgd_frequency > 1 {
        batch.push(format!("{} of them for a step", options.sgd_frequency));
    }
    let mut more = Vec::new();
    match options.clip {
        Some(Clip::Norm { most }) => more.push(format!("gradients of a norm of at most {most}")),
        Some(Clip::Value { most }) => more.push(format!("gradients from -{most} to {most}")),
        None => {}
    }
    if let Some(ema) = options.ema {
        more.push(format!("an average of the weights that keeps {ema}"));
    }
    if options.loss != Loss::default() {
        more.push(format!("the loss {}", options.loss.name()));
    }
    if options.label_smoothing > 0.0 {
        more.push(format!("label smoothing {}", options.label_smoothing));
    }
    if !options.class_weights.is_empty() {
        more.push("weights of classes".into());
    }
    let mut facts = vec![
        ("optimizer", optimizer.join(", ")),
        ("schedule", schedule.join(", ")),
        ("mini-batch", batch.join(", ")),
    ];
    if !more.is_empty() {
        facts.push(("with", more.join(", ")));
    }
    facts
}

fn describe(decay: &Decay) -> String {
    match decay {
        Decay::Constant => "constant".into(),
        Decay::Steps { epochs, factor } => {
            let epochs: Vec<String> = epochs.iter().map(ToString::to_string).collect();
            format!("times {factor} at epochs {}", epochs.join(", "))
        }
        Decay::Exponential { factor } => format!("times {factor} each epoch"),
        Decay::Cosine { last } => format!("cosine down to {last}"),
        Decay::CosineRestarts { epochs, times, last } => {
            format!(
                "cosine down to {last} and up again after {epochs} epochs, each {times} times as long"
            )
        }
        Decay::OneCycle { rise, .. } => {
            format!("one cycle, up over {} % of the training", rise * 100.0)
        }
        Decay::Plateau { factor, patience, .. } => {
            format!("times {factor} after {patience} epochs without a better loss")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_counted_by_kind_and_tables_are_named() {
        let names = ["train.velocity.layers.0.weight", "train.velocity.layers.0.bias"];
        let names = names.map(str::to_owned);
        assert_eq!(kinds(&names), "velocity of 2 parameters");
        assert_eq!(kinds(&["momentum_data".to_owned()]), "momentum_data");
    }

    #[test]
    fn settings_that_are_not_known_are_shown_as_they_are() {
        let options = serde_json::json!({"optimizer": {"kind": "later"}});
        assert_eq!(settings(&options), [("settings", options.to_string())]);
        let options = TrainOptions::default().with_optimizer(Method::adamw());
        let options = serde_json::to_value(options).unwrap();
        let facts = settings(&options);
        let (name, text) = &facts[0];
        assert_eq!(*name, "optimizer");
        assert!(text.starts_with("adamw, betas 0.9 and 0.999, learning rate 0.001"), "{text}");
    }
}
