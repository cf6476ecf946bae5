//! A hash table in parts, each of which grows by itself.
//!
//! A table that is full is moved into one of twice the size in one step. With a million entries that takes a tenth of a second, and nothing is decided
//! meanwhile. A part has one of 256 entries: it is moved in a fraction of a millisecond, and stays in the caches while it is.
//!
//! The keys come from outside, so their hashes depend on random numbers.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

/// As many as a byte of a hash tells apart.
const PARTS: usize = 256;

/// A map in parts.
#[derive(Debug)]
pub struct PartedMap<K, V> {
    hasher: RandomState,
    parts: Box<[Part<K, V>; PARTS]>,
}

type Part<K, V> = HashTable<Entry<K, V>>;

/// An entry. Its hash is kept, so that a part is moved without a look at what the keys refer to.
#[derive(Debug)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<K: Eq, V> Entry<K, V> {
    fn has_key(&self, hash: u64, key: &K) -> bool {
        self.hash == hash && self.key == *key
    }
}

impl<K, V> Default for PartedMap<K, V> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            parts: Box::new(std::array::from_fn(|_| HashTable::new())),
        }
    }
}

impl<K: Hash + Eq + Clone, V: Default> PartedMap<K, V> {
    /// Returns the value under a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        let part = &self.parts[part_of(hash)];
        let entry = part.find(hash, |entry| entry.has_key(hash, key))?;
        Some(&entry.value)
    }

    /// Returns the value under a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.hasher.hash_one(key);
        let part = &mut self.parts[part_of(hash)];
        let entry = part.find_mut(hash, |entry| entry.has_key(hash, key))?;
        Some(&mut entry.value)
    }

    /// Returns the value under a key, to be changed. If there is none, a default value is put there.
    pub fn get_or_default(&mut self, key: &K) -> &mut V {
        let hash = self.hasher.hash_one(key);
        let part = &mut self.parts[part_of(hash)];
        let place = part.entry(hash, |entry| entry.has_key(hash, key), |entry| entry.hash);
        let entry = place.or_insert_with(|| Entry {
            hash,
            key: key.clone(),
            value: V::default(),
        });
        &mut entry.into_mut().value
    }

    /// Removes the entry under a key.
    pub fn remove(&mut self, key: &K) {
        let hash = self.hasher.hash_one(key);
        let part = &mut self.parts[part_of(hash)];
        if let Ok(entry) = part.find_entry(hash, |entry| entry.has_key(hash, key)) {
            entry.remove();
        }
    }
}

/// Returns the number of the part for a hash: its second byte. The bits of the first tell entries of a part apart, and the last ones give their places.
fn part_of(hash: u64) -> usize {
    usize::from(hash.to_be_bytes()[1])
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u16..2_000, 0_u8..4, any::<u32>()), 0..4_000)) {
            let mut map: PartedMap<String, u32> = PartedMap::default();
            let mut expected: HashMap<String, u32> = HashMap::new();
            for (key, step, value) in steps {
                let key = key.to_string();
                match step {
                    0 => {
                        map.remove(&key);
                        expected.remove(&key);
                    }
                    1 => {
                        prop_assert_eq!(map.get_mut(&key).copied(), expected.get(&key).copied());
                        if let (Some(found), Some(other)) = (map.get_mut(&key), expected.get_mut(&key)) {
                            *found = value;
                            *other = value;
                        }
                    }
                    _ => {
                        let (found, other) = (map.get_or_default(&key), expected.entry(key.clone()).or_default());
                        prop_assert_eq!(*found, *other);
                        *found = value;
                        *other = value;
                    }
                }
                prop_assert_eq!(map.get(&key), expected.get(&key));
            }
            for key in 0..2_000_u16 {
                let key = key.to_string();
                prop_assert_eq!(map.get(&key), expected.get(&key));
            }
        }
    }

    #[test]
    fn every_part_is_used() {
        let mut map: PartedMap<u64, u32> = PartedMap::default();
        for key in 0..20_000 {
            *map.get_or_default(&key) += 1;
        }
        // A part has 78 entries on average; that one has fewer than 20 is out of the question.
        assert!(map.parts.iter().all(|part| part.len() >= 20));
    }
}
