//! `--growth`: what the models cost with 1 to 10,000 connections, as tables and as pictures.
//!
//! What a single connection costs belongs into `comparison`.

pub(crate) mod chart;
pub(crate) mod measure;
pub(crate) mod report;
