//! Tests of loading and checking whole settings.
