//! An image's config, which the release names by digest, and which Docker gets verbatim.
//!
//! - What is accepted is, to another reader, for this platform and of these layers.

use berth_format::Digest;
use berth_format::bundle::check_config;
use berth_format::image::{Blob, Platform, PlatformImage};

pub fn check(data: &[u8]) {
    let layers = vec![Digest::of(b"base"), Digest::of(b"program")];
    let config = Blob {
        digest: Digest::of(data),
        size: data.len() as u64,
    };
    let image = PlatformImage {
        config,
        manifest: Digest::of(b"not asked for"),
        layers: layers.clone(),
    };
    if check_config(data, &Platform::linux("amd64"), &image).is_ok() {
        let value: serde_json::Value = serde_json::from_slice(data).unwrap();
        assert_eq!(value["os"], "linux");
        assert_eq!(value["architecture"], "amd64");
        assert_eq!(value["rootfs"]["diff_ids"], serde_json::json!(layers));
    }
}
