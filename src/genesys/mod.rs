//! Genesys Cloud, or what stands in its place: where it is, how to ask it, and what its answers mean.

pub mod classify;
mod client;
mod endpoints;
#[cfg(test)]
mod fuzz;
mod oauth;
#[cfg(test)]
mod tests;
mod token_answer;
mod web_messaging_guests;

pub use client::{Target, VendorClient};
pub use endpoints::{EndpointError, Endpoints};
pub use oauth::{AccessToken, Credentials, InvalidCredentials, Tokens};
pub use token_answer::{TokenError, TokenFailure, Unavailable};
