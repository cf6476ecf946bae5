//! A map that takes no memory of its own while it has one entry.
//!
//! There is one for each instrument that was ever traded. In most of them one agent has one order, and a table or a tree for it would take several
//! times its size.

use std::collections::BTreeMap;

/// A map in the order of its keys.
#[derive(Debug)]
pub enum SmallMap<K, V> {
    /// One entry at most.
    One(Option<(K, V)>),
    /// Any number of entries: there were two.
    Many(BTreeMap<K, V>),
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self::One(None)
    }
}

impl<K: Ord + Clone, V: Default> SmallMap<K, V> {
    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::One(entry) => entry.is_none(),
            Self::Many(entries) => entries.is_empty(),
        }
    }

    /// Returns the value under a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::One(Some((known, value))) if known == key => Some(value),
            Self::One(_) => None,
            Self::Many(entries) => entries.get(key),
        }
    }

    /// Returns the value under a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::One(Some((known, value))) if known == key => Some(value),
            Self::One(_) => None,
            Self::Many(entries) => entries.get_mut(key),
        }
    }

    /// Returns the value under a key, to be changed. If there is none, a default value is put there.
    pub fn get_or_default(&mut self, key: &K) -> &mut V {
        if let Self::One(entry) = self
            && entry.as_ref().is_some_and(|(known, _)| known != key)
        {
            *self = Self::Many(entry.take().into_iter().collect());
        }
        match self {
            Self::One(entry) => &mut entry.get_or_insert_with(|| (key.clone(), V::default())).1,
            Self::Many(entries) => entries.entry(key.clone()).or_default(),
        }
    }

    /// Removes the entry under a key.
    pub fn remove(&mut self, key: &K) {
        match self {
            Self::One(entry) => {
                if entry.as_ref().is_some_and(|(known, _)| known == key) {
                    *entry = None;
                }
            }
            Self::Many(entries) => {
                entries.remove(key);
            }
        }
    }

    /// Returns the keys, the least first.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        let (one, many) = match self {
            Self::One(entry) => (entry.as_ref(), None),
            Self::Many(entries) => (None, Some(entries)),
        };
        let many = many.into_iter().flat_map(BTreeMap::keys);
        one.map(|(key, _)| key).into_iter().chain(many)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u8..4, 0_u8..3, any::<u32>()), 0..40)) {
            let mut map: SmallMap<u8, u32> = SmallMap::default();
            let mut expected: BTreeMap<u8, u32> = BTreeMap::new();
            for (key, step, value) in steps {
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
                        let (found, other) = (map.get_or_default(&key), expected.entry(key).or_default());
                        prop_assert_eq!(*found, *other);
                        *found = value;
                        *other = value;
                    }
                }
                prop_assert_eq!(map.is_empty(), expected.is_empty());
                prop_assert!(map.keys().eq(expected.keys()));
                for key in 0..4 {
                    prop_assert_eq!(map.get(&key), expected.get(&key));
                }
            }
        }
    }
}
