//! Maps that can be written in one way only.
//!
//! serde takes the last of two entries under one key, other readers take the first. A signed file
//! that means two things is refused instead.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

/// A map whose keys stand in ascending order, each once, as [`crate::canonical`] writes them.
pub(crate) fn ordered<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct Ordered<K, V>(PhantomData<(K, V)>);

    impl<'de, K, V> Visitor<'de> for Ordered<K, V>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map whose keys stand in order, each once")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = BTreeMap::new();
            while let Some(key) = map.next_key::<K>()? {
                if all.last_key_value().is_some_and(|(last, _)| *last >= key) {
                    return Err(A::Error::custom(
                        "a key stands twice, or not in the order of the keys",
                    ));
                }
                let value = map.next_value()?;
                all.insert(key, value);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_map(Ordered(PhantomData))
}
