//! What the API server accepts and refuses, and how it words it; what it fills in, selects and prints.

mod connection_rows;
mod connections;
mod gate;
mod promises;
mod termination_rows;
mod terminations;
mod views;
