//! Which data plane runs which snapshot.
