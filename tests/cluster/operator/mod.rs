//! The operator against a real API server and the simulator.

mod at_scale;
mod deadlines;
mod deletion;
mod happy_path;
mod intents;
mod intents_fence;
mod lifecycle;
mod lifecycle_faults;
mod lifecycle_stage;
mod outage;
mod process;
mod suspend;
mod webhooks;
mod webhooks_schedule;
