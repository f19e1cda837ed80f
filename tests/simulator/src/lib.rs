//! A program that plays the vendor and a webhook receiver.
