//! The operator against a real API server and the simulator.

mod answers;
mod answers_uncertain;
mod connections;
mod connections_credentials;
mod happy_path;
mod throttling;
mod wrong_address;
