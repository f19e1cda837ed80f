//! guest-termination-operator: ends Genesys Cloud web-messaging guest sessions declared as `GuestTermination` objects.
