//! Each invariant is broken by one history and nearly broken by others: an oracle that cannot fail is none, and one that
//! cries wolf is not listened to.

mod attempts;
mod audit;
mod bounds;
mod outcomes;
mod story;
mod webhooks;
