//! What a data plane serves: a snapshot compiled into router, chains and services.
