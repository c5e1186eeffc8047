//! The one task that turns decisions into events and moves the head.
