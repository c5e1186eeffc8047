//! Tests of promotion.
