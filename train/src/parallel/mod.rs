//! Training on many devices and many machines.
mod collective;
mod exchange;
mod local;

pub use collective::{Collective, Counters, Incoming, Outgoing, Traffic, Transport};
pub use exchange::{Exchange, ExchangeReport, Lost, Pending};
pub use local::Local;

#[cfg(test)]
mod tests;
