//! Which shard owns which partition, and which partition a record is written to.
//!
//! A partition belongs to one shard for the whole of an assignment, so its records meet one thread in their order. The shard with the fewest partitions takes the next one: under a cooperative assignor a member may own any subset, and a fixed rule such as *partition modulo shards* would leave shards idle.

/// Counts partitions per shard.
#[derive(Debug)]
pub(crate) struct Router {
    owned: Vec<u32>,
}

impl Router {
    /// A router over `shards` shards that own nothing.
    pub(crate) fn new(shards: u32) -> Self {
        Self { owned: vec![0; usize::try_from(shards).expect("a shard count fits into memory")] }
    }

    /// Gives a partition to the shard that owns the fewest, the lowest number first.
    pub(crate) fn place(&mut self) -> usize {
        let (shard, owned) = self.owned.iter_mut().enumerate().min_by_key(|(_, owned)| **owned).expect("there is at least one shard");
        *owned += 1;
        shard
    }

    /// Takes a partition from its shard.
    pub(crate) fn release(&mut self, shard: usize) {
        self.owned[shard] = self.owned[shard].saturating_sub(1);
    }
}

/// The partition a record is written to: the source's number where both topics have equally many, so that related results stay together and no key is hashed; otherwise by the key, as Kafka's own clients place it; and without a key by the source's number.
pub(crate) fn destination(key: Option<&[u8]>, source: i32, source_count: i32, count: i32) -> i32 {
    let count = count.max(1);
    match key {
        Some(key) if source_count != count => i32::try_from(murmur2(key) & 0x7fff_ffff).unwrap_or(0) % count,
        _ => source.rem_euclid(count),
    }
}

/// The hash of Kafka's default partitioner: 32-bit MurmurHash2 with Kafka's seed.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_shard_takes_the_next_partition() {
        let mut router = Router::new(2);
        assert_eq!([router.place(), router.place(), router.place(), router.place()], [0, 1, 0, 1]);
        router.release(1);
        router.release(1);
        assert_eq!([router.place(), router.place(), router.place()], [1, 1, 0]);
    }

    #[test]
    fn equal_counts_keep_the_partition() {
        assert_eq!(destination(Some(b"device-1"), 3, 8, 8), 3);
        assert_eq!(destination(None, 7, 8, 3), 1);
    }

    /// The values are those that Kafka's own `Utils.murmur2` is known to give.
    #[test]
    fn unequal_counts_place_by_kafkas_hash() {
        assert_eq!(murmur2(b"21").cast_signed(), -973_932_308);
        assert_eq!(murmur2(b"foobar").cast_signed(), -790_332_482);
        assert_eq!(murmur2(b"a-little-bit-long-string").cast_signed(), -985_981_536);
        assert_eq!(destination(Some(b"foobar"), 0, 8, 3), (-790_332_482_i32 & 0x7fff_ffff) % 3);
    }
}
