//! The tests of this crate, as one program: they share one control plane.

// `cfg(test)` is always set here; it tells clippy that helpers may panic as tests may.
#[cfg(test)]
mod api_server;
#[cfg(test)]
mod build;
#[cfg(test)]
mod disturbed;
#[cfg(test)]
mod lifetime;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod process;
