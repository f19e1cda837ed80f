//! The operator against a real API server and the simulator.

mod answers;
mod answers_uncertain;
mod at_scale;
mod clocks;
mod connections;
mod connections_credentials;
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
mod supervision;
mod supervision_process;
mod supervision_stage;
mod suspend;
mod throttling;
mod webhooks;
mod webhooks_schedule;
mod wrong_address;
