//! The `guest-termination-operator` program.
fn main() {}
