//! The operator against a real API server and the simulator.

mod answers;
mod answers_uncertain;
mod at_scale;
mod connections;
mod connections_credentials;
mod happy_path;
mod outage;
mod throttling;
mod wrong_address;
