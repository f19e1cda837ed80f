//! Shows the main job on a real API server.
fn main() {}
