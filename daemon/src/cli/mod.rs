//! `berth`.
