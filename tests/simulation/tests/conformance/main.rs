//! The model of the API server against the real one: the same requests, the same answers.

mod compare;
mod pair;
mod plan;
mod random;
mod scenarios;
mod values;
