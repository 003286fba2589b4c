// SPDX-License-Identifier: GPL-2.0-only

//! What several descriptors share, found by a key, for as long as one of them holds it.

use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    rbtree::{RBTree, RBTreeNode},
    sync::Arc,
};

/// Something shared, and how many hold it.
pub(crate) struct Shared<V> {
    value: Arc<V>,
    holders: usize,
}

/// An entry of a registry.
pub(crate) type Entry<K, V> = RBTreeNode<K, Shared<V>>;

/// A new entry with one holder. May sleep.
pub(crate) fn entry<K, V>(key: K, value: Arc<V>) -> Result<Entry<K, V>> {
    RBTreeNode::new(key, Shared { value, holders: 1 }, GFP_KERNEL_ACCOUNT)
}

/// What is shared. Whoever has it in a lock allocates and frees entries outside that.
pub(crate) struct Registry<K: Ord, V> {
    // No tree can be made in a constant, which is what a static begins with.
    entries: Option<RBTree<K, Shared<V>>>,
}

impl<K: Ord, V> Registry<K, V> {
    pub(crate) const fn new() -> Self {
        Self { entries: None }
    }

    fn entries(&mut self) -> &mut RBTree<K, Shared<V>> {
        self.entries.get_or_insert_with(RBTree::new)
    }

    /// One more holder of what has this key, if there is something.
    pub(crate) fn hold(&mut self, key: &K) -> Option<Arc<V>> {
        let shared = self.entries().get_mut(key)?;
        shared.holders += 1;
        Some(shared.value.clone())
    }

    /// Adds an entry whose key is not there.
    pub(crate) fn add(&mut self, entry: Entry<K, V>) -> Option<Entry<K, V>> {
        self.entries().insert(entry)
    }

    /// One holder less of what has this key. The last one gets the entry, for freeing.
    pub(crate) fn release(&mut self, key: &K) -> Option<Entry<K, V>> {
        let entries = self.entries();
        let shared = entries.get_mut(key)?;
        shared.holders -= 1;
        if shared.holders == 0 {
            entries.remove_node(key)
        } else {
            None
        }
    }
}
