//! What hybrid mode promises, as a user of its documentation reads it; names and comments quote it.
mod compatible;
mod managing;
mod node;
mod standing_alone;
mod starting;
mod trusting;
mod validating;
