//! Fixtures for the tests on real Docker.
