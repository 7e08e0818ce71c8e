//! The vendor side.
