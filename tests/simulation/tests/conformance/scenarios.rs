//! What needs an order of its own.
