//! What only a real API server can show. One etcd and one API server for the whole process, a namespace for each test.

// `cfg(test)` is always true here. It tells clippy that helpers, too, may end a test by `unwrap`.
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod kstatus;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod stage;
