//! Metrics: what there is ([`names`]), and how it is written for Prometheus ([`exposition`]). The counting itself is done by the shards, without locks; here their sums are read when somebody scrapes.

pub mod exposition;
pub mod lines;
pub mod names;
