//! What the engine refuses, in whose order and words, and what it shows.
