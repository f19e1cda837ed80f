//! The operator against a real API server and the simulator.

mod answers;
mod answers_stage;
mod answers_uncertain;
mod at_scale;
mod connections;
mod connections_credentials;
mod deadlines;
mod deletion;
mod happy_path;
mod intents;
mod lifecycle;
mod lifecycle_stage;
mod outage;
mod process;
mod suspend;
mod throttling;
mod webhooks;
mod wrong_address;
