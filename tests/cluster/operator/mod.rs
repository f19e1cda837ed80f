//! The operator against a real API server and the simulator.

mod at_scale;
mod happy_path;
mod outage;
