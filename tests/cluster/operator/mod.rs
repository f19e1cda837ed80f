//! The operator against a real API server and the simulator.

mod happy_path;
