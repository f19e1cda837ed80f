//! What the operator relies on, and what it could trip over. The conformance test compares much more with a real server.

mod bench;
mod faults;
mod reads;
mod watches;
mod writes;
