//! The KV cache: a fixed number of blocks, some in use, some free, some free but still
//! holding a prompt's block that a later prompt may begin with.
//!
//! Free blocks form a list in the order in which they will be taken: those without content
//! first, then those with content, longest unused first.

use std::collections::HashMap;

use super::tokens::hash;

type Id = u32;
const NONE: Id = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Block {
    /// Chained hash of the prompt up to and with this block.
    hash: Option<u64>,
    users: u32,
    prev: Id,
    next: Id,
}

/// The cache's blocks.
#[derive(Debug)]
pub(super) struct KvCache {
    blocks: Vec<Block>,
    by_hash: HashMap<u64, Id>,
    head: Id,
    tail: Id,
    free: u32,
    reuse: bool,
}

impl KvCache {
    pub fn new(blocks: u32, reuse: bool) -> Self {
        let empty = Block { hash: None, users: 0, prev: NONE, next: NONE };
        let mut cache = Self {
            blocks: vec![empty; blocks as usize],
            by_hash: HashMap::new(),
            head: NONE,
            tail: NONE,
            free: 0,
            reuse,
        };
        (0..blocks).for_each(|id| cache.push_back(id));
        cache
    }

    /// Blocks that no sequence uses.
    #[cfg(test)]
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Blocks that a sequence uses.
    pub fn used(&self) -> u32 {
        self.blocks.len() as u32 - self.free
    }

    /// Take the longest run of leading blocks that are cached. They count as used.
    pub fn take_cached(&mut self, hashes: &[u64]) -> Vec<Id> {
        let mut taken = Vec::new();
        if !self.reuse {
            return taken;
        }
        for h in hashes {
            let Some(&id) = self.by_hash.get(h) else { break };
            if self.blocks[id as usize].users == 0 {
                self.unlink(id);
            }
            self.blocks[id as usize].users += 1;
            taken.push(id);
        }
        taken
    }

    /// Take `n` blocks, forgetting what the longest unused held; or none when there are
    /// not that many.
    pub fn take(&mut self, n: u32, into: &mut Vec<Id>) -> bool {
        if n > self.free {
            return false;
        }
        for _ in 0..n {
            let id = self.head;
            self.unlink(id);
            if let Some(h) = self.blocks[id as usize].hash.take() {
                self.by_hash.remove(&h);
            }
            self.blocks[id as usize].users = 1;
            into.push(id);
        }
        true
    }

    /// A block has been computed and holds the prompt up to `hash`. Where another block
    /// already does, this one stays private.
    pub fn publish(&mut self, id: Id, hash: u64) {
        if self.reuse && self.blocks[id as usize].hash.is_none() && !self.by_hash.contains_key(&hash) {
            self.by_hash.insert(hash, id);
            self.blocks[id as usize].hash = Some(hash);
        }
    }

    /// Give a sequence's blocks back, its last first, so that a prompt's end is forgotten
    /// before its beginning.
    pub fn give_back(&mut self, blocks: &mut Vec<Id>) {
        for id in blocks.drain(..).rev() {
            let block = &mut self.blocks[id as usize];
            block.users -= 1;
            if block.users == 0 {
                if block.hash.is_some() { self.push_back(id) } else { self.push_front(id) }
            }
        }
    }

    /// Forget all that is cached, unless a sequence uses any block. Whether it was done.
    pub fn forget(&mut self) -> bool {
        if self.used() > 0 {
            return false;
        }
        self.by_hash.clear();
        self.blocks.iter_mut().for_each(|b| b.hash = None);
        true
    }

    fn unlink(&mut self, id: Id) {
        let Block { prev, next, .. } = self.blocks[id as usize];
        if prev == NONE {
            self.head = next
        } else {
            self.blocks[prev as usize].next = next
        }
        if next == NONE {
            self.tail = prev
        } else {
            self.blocks[next as usize].prev = prev
        }
        self.free -= 1;
    }

    fn push_back(&mut self, id: Id) {
        let tail = self.tail;
        let block = &mut self.blocks[id as usize];
        (block.prev, block.next) = (tail, NONE);
        if tail == NONE {
            self.head = id
        } else {
            self.blocks[tail as usize].next = id
        }
        self.tail = id;
        self.free += 1;
    }

    fn push_front(&mut self, id: Id) {
        let head = self.head;
        let block = &mut self.blocks[id as usize];
        (block.prev, block.next) = (NONE, head);
        if head == NONE {
            self.tail = id
        } else {
            self.blocks[head as usize].prev = id
        }
        self.head = id;
        self.free += 1;
    }
}

/// The chained hash of each whole block of a prompt.
pub(super) fn block_hashes(tokens: &[u64], block_size: u32) -> Vec<u64> {
    let mut chain = 0;
    tokens
        .chunks_exact(block_size as usize)
        .map(|block| {
            chain = hash(chain, block);
            chain
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prompt_s_beginning_is_found_again_and_its_end_forgotten_first() {
        let mut kv = KvCache::new(4, true);
        let mut a = Vec::new();
        assert!(kv.take(3, &mut a));
        for (id, h) in a.iter().zip([11, 12, 13]) {
            kv.publish(*id, h);
        }
        kv.give_back(&mut a);
        assert_eq!(kv.free(), 4);
        // The empty block goes first, then the end of the prompt.
        let mut b = Vec::new();
        assert!(kv.take(2, &mut b));
        let mut again = kv.take_cached(&[11, 12, 13]);
        assert_eq!(again.len(), 2);
        assert_eq!(kv.used(), 4);
        kv.give_back(&mut again);
        kv.give_back(&mut b);
        assert!(kv.forget());
        assert!(kv.take_cached(&[11]).is_empty());
    }

    #[test]
    fn a_shared_block_is_freed_by_its_last_user() {
        let mut kv = KvCache::new(2, true);
        let mut a = Vec::new();
        kv.take(1, &mut a);
        kv.publish(a[0], 5);
        let mut b = kv.take_cached(&[5]);
        kv.give_back(&mut a);
        assert_eq!((kv.used(), kv.forget()), (1, false));
        kv.give_back(&mut b);
        assert_eq!(kv.used(), 0);
    }

    #[test]
    fn without_reuse_nothing_is_found() {
        let mut kv = KvCache::new(2, false);
        let mut a = Vec::new();
        kv.take(1, &mut a);
        kv.publish(a[0], 5);
        assert!(kv.take_cached(&[5]).is_empty());
    }

    #[test]
    fn hashes_are_chained() {
        let a = block_hashes(&[1, 2, 3, 4, 5], 2);
        let b = block_hashes(&[9, 2, 3, 4], 2);
        assert_eq!(a.len(), 2);
        assert_ne!(a[1], b[1], "the same block after another beginning");
    }

    proptest! {
        #[test]
        fn blocks_are_neither_lost_nor_made(ops in prop::collection::vec((0u32..4, 0u64..6), 0..200)) {
            let mut kv = KvCache::new(8, true);
            let mut held: Vec<Vec<Id>> = Vec::new();
            for (n, h) in ops {
                match n {
                    0 => if let Some(mut blocks) = held.pop() { kv.give_back(&mut blocks) },
                    1 => held.push(kv.take_cached(&[h, h + 1])),
                    _ => {
                        let mut blocks = Vec::new();
                        let had = kv.free();
                        prop_assert_eq!(kv.take(n, &mut blocks), n <= had);
                        if let Some(id) = blocks.first() { kv.publish(*id, h) }
                        held.push(blocks);
                    }
                }
                let mut distinct: Vec<_> = held.iter().flatten().copied().collect();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(kv.used() as usize, distinct.len());
            }
        }
    }
}
