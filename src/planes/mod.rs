//! The planes: where everything is built, started, and stopped.
