//! What is in the engine for certain, so that it need not be sent again.

use std::collections::BTreeSet;

use berth_format::image::Platform;
use berth_format::{Digest, Release};

use crate::engine::ImageStore;

/// Layers of images that were fetched whole and are still there.
#[derive(Debug, Clone, Default)]
pub struct Known {
    layers: BTreeSet<Digest>,
    chains: BTreeSet<Digest>,
}

impl Known {
    /// Nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a release whose images the journal marks as fetched, and all of which are there.
    pub fn add(&mut self, release: &Release, platform: &Platform) {
        for image in release.images.values() {
            if let Some(here) = image.platforms.get(platform) {
                self.layers.extend(&here.layers);
                self.chains.extend(chains(&here.layers));
            }
        }
    }

    /// The layers of an image that must be sent.
    ///
    /// A graph driver keeps a layer on top of those below it: the same bytes on others are
    /// another layer to it. The containerd image store keeps the blobs themselves.
    pub(super) fn missing(&self, store: ImageStore, layers: &[Digest]) -> Vec<Digest> {
        let known = |(layer, chain): (&Digest, &Digest)| match store {
            ImageStore::GraphDriver => self.chains.contains(chain),
            ImageStore::Containerd => self.layers.contains(layer),
        };
        layers
            .iter()
            .zip(&chains(layers))
            .filter(|pair| !known(*pair))
            .map(|(layer, _)| *layer)
            .collect()
    }
}

/// The chain id of each layer.
///
/// Format: <https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md#layer-chainid>.
fn chains(layers: &[Digest]) -> Vec<Digest> {
    let mut below = None;
    layers
        .iter()
        .map(|layer| {
            let chain = match below {
                None => *layer,
                Some(below) => Digest::of(format!("{below} {layer}").as_bytes()),
            };
            below = Some(chain);
            chain
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(layers: &[Digest]) -> Known {
        Known {
            layers: layers.iter().copied().collect(),
            chains: chains(layers).into_iter().collect(),
        }
    }

    #[test]
    fn a_layer_is_known_to_a_graph_driver_only_with_all_that_is_below_it() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|x| Digest::of(x));
        let known = known(&[a, b]);
        let graph = |layers: &[Digest]| known.missing(ImageStore::GraphDriver, layers);
        assert!(graph(&[a, b]).is_empty());
        assert_eq!(graph(&[a, b, c]), [c]);
        assert_eq!(graph(&[c, b]), [c, b]);
        assert_eq!(graph(&[b]), [b]);
        let containerd = |layers: &[Digest]| known.missing(ImageStore::Containerd, layers);
        assert_eq!(containerd(&[c, b]), [c]);
    }

    #[test]
    fn the_chain_is_the_one_of_the_specification() {
        let layers = [1, 2].map(|n| Digest::of(&[n]));
        let chain = Digest::of(format!("{} {}", layers[0], layers[1]).as_bytes());
        assert_eq!(chains(&layers), [layers[0], chain]);
    }
}
