//! The model of the API server against the real one: the same requests, the same answers.

// `cfg(test)` is always true here. It tells clippy that helpers, too, may end a test by `unwrap`.
#[cfg(test)]
mod compare;
#[cfg(test)]
mod definitions;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod random;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod values;
