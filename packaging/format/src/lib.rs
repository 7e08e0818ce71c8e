//! Shared by the vendor and the appliance: what a release is, byte for byte.
