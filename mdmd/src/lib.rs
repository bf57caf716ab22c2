//! mdmd
