//! The operator against a real API server and the simulator.

mod at_scale;
mod deadlines;
mod deletion;
mod happy_path;
mod intents;
mod lifecycle;
mod lifecycle_stage;
mod outage;
mod process;
mod suspend;
mod webhooks;
