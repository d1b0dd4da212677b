//! Finds partitions that stand still: records to read, a shard that waits for some, and none that comes.
//!
//! Two witnesses must agree. Ours: the broker has named an end above the position that the shard has reached, and since the last record the shard has looked for more, with room for them, and found its queue empty. So neither a shard that is busy or blocked nor a partition that is paused counts as standing, and a broker that does not answer is no reason to blame the client. And the client's, by statistics that it has told after it had as much time as is allowed: it has not read past that position, or it holds records that do not come out. A client that has read past it and holds nothing has found nothing there: end markers of transactions, records that were given up with one, offsets that compaction has emptied.
//!
//! Pure: no clock, no client.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

/// Between two looks there is a fraction of a second; after more than this the process, or the thread that looks, was held up, and time counts for nobody.
pub(super) const LOOK_LATE_NS: u64 = 2_000_000_000;

/// A partition, as (index into the source topics, partition).
pub(super) type Key = (u32, i32);

/// What is known of an assigned partition at one look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    pub(super) key: Key,
    /// Tells assignments apart.
    pub(super) epoch: u32,
    /// Records begun since the assignment.
    pub(super) read: u64,
    /// The offset from which the shard expects the next record.
    pub(super) next: i64,
    /// The end that a broker has named, and when, on the monotonic clock.
    pub(super) end: Option<(i64, u64)>,
    /// When its shard last looked for records and found none.
    pub(super) found_none_ns: u64,
    /// Whether we have stopped the reading ourselves.
    pub(super) is_held: bool,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    epoch: u32,
    read: u64,
    since_ns: u64,
}

/// Remembers since when each partition has stood.
#[derive(Debug)]
pub(super) struct Watch {
    timeout_ns: u64,
    looked_ns: u64,
    seen: HashMap<Key, Seen>,
}

/// A partition that stands still by our own witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) key: Key,
    pub(super) next: i64,
    pub(super) end: i64,
    pub(super) since_ns: u64,
    pub(super) seconds: u64,
}

impl Watch {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout_ns: u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX), looked_ns: 0, seen: HashMap::new() }
    }

    /// The partitions that have stood still for as long as is allowed.
    pub(super) fn look(&mut self, now_ns: u64, sights: &[Sight]) -> Vec<Standing> {
        let passed_ns = now_ns.saturating_sub(std::mem::replace(&mut self.looked_ns, now_ns));
        if passed_ns > LOOK_LATE_NS {
            self.seen.values_mut().for_each(|seen| seen.since_ns = seen.since_ns.saturating_add(passed_ns));
        }
        self.seen.retain(|key, _| sights.iter().any(|sight| sight.key == *key));
        sights.iter().filter_map(|sight| self.look_at(now_ns, sight)).collect()
    }

    fn look_at(&mut self, now_ns: u64, sight: &Sight) -> Option<Standing> {
        let fresh = Seen { epoch: sight.epoch, read: sight.read, since_ns: now_ns };
        let seen = self.seen.entry(sight.key).or_insert(fresh);
        let end = sight.end.filter(|(end, _)| *end > sight.next);
        let (Some((end, asked_ns)), false, true) = (end, sight.is_held, (seen.epoch, seen.read) == (sight.epoch, sight.read)) else {
            *seen = fresh;
            return None;
        };
        // An end that was named before the partition came to a stand says nothing, nor does a queue that was empty before.
        let is_witnessed = asked_ns > seen.since_ns && sight.found_none_ns > seen.since_ns;
        let stood_ns = now_ns.saturating_sub(seen.since_ns);
        (is_witnessed && stood_ns >= self.timeout_ns).then_some(Standing {
            key: sight.key,
            next: sight.next,
            end,
            since_ns: seen.since_ns,
            seconds: stood_ns / 1_000_000_000,
        })
    }

    /// Whether statistics told at that time can speak about what stands still since then.
    pub(super) fn may_speak(&self, told_ns: u64, standing: &Standing) -> bool {
        told_ns >= standing.since_ns.saturating_add(self.timeout_ns)
    }

    /// Begins anew, for all partitions.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
    }
}

/// What the client says of itself.
pub(super) struct Statistics(Value);

impl Statistics {
    /// From the client's JSON.
    pub(super) fn parse(json: &[u8]) -> Self {
        Self(serde_json::from_slice(json).unwrap_or_default())
    }

    fn partition(&self, topic: &str, partition: i32) -> &Value {
        &self.0["topics"][topic]["partitions"][partition.to_string()]
    }

    /// Whether the client has read past `next` and holds nothing back, so that there was nothing to deliver.
    pub(super) fn has_read_past(&self, topic: &str, partition: i32, next: i64) -> bool {
        let partition = self.partition(topic, partition);
        partition["next_offset"].as_i64().is_some_and(|fetched| fetched > next) && partition["fetchq_cnt"].as_i64() == Some(0)
    }

    /// The client's state of a partition, for the log.
    pub(super) fn describe(&self, topic: &str, partition: i32) -> String {
        let (group, own) = (&self.0["cgrp"], self.partition(topic, partition));
        if own.is_null() {
            return "the client does not know the partition".to_owned();
        }
        let leader = self.0["brokers"].as_object().and_then(|brokers| brokers.values().find(|broker| broker["nodeid"] == own["leader"]));
        let leader = leader.map_or("unknown", |leader| leader["state"].as_str().unwrap_or("unknown"));
        format!(
            "fetch {}, fetched up to {} of {}, {} records in its queue, leader {} {leader}, group {} {}",
            own["fetch_state"].as_str().unwrap_or("unknown"),
            own["next_offset"],
            own["ls_offset"],
            own["fetchq_cnt"],
            own["leader"],
            group["state"].as_str().unwrap_or("unknown"),
            group["join_state"].as_str().unwrap_or("unknown"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Assigned at second 1, with records to read and a shard that waits for them.
    fn sight(at: u64) -> Sight {
        Sight { key: (0, 1), epoch: 7, read: 0, next: 10, end: Some((20, at * SECOND)), found_none_ns: at * SECOND, is_held: false }
    }

    /// Looks at seconds 1 to 20 and says when the partition was found first.
    fn found(sight_at: impl Fn(u64) -> Sight) -> Option<u64> {
        let mut watch = Watch::new(Duration::from_secs(10));
        (1..=20).find(|at| !watch.look(at * SECOND, &[sight_at(*at)]).is_empty())
    }

    #[test]
    fn a_partition_that_delivers_nothing_is_found_after_the_timeout() {
        assert_eq!(found(sight), Some(11));
        let mut watch = Watch::new(Duration::from_secs(1));
        assert!((1..=2).all(|at| watch.look(at * SECOND, &[sight(at)]).is_empty() == (at == 1)));
        assert_eq!(watch.look(3 * SECOND, &[sight(3)]), [Standing { key: (0, 1), next: 10, end: 20, since_ns: SECOND, seconds: 2 }]);
    }

    #[test]
    fn what_has_a_reason_to_stand_is_not_found() {
        assert_eq!(found(|at| Sight { next: 20, ..sight(at) }), None, "nothing to read");
        assert_eq!(found(|at| Sight { end: None, ..sight(at) }), None, "no broker has answered");
        assert_eq!(found(|at| Sight { end: Some((20, SECOND)), ..sight(at) }), None, "no broker has answered since");
        assert_eq!(found(|at| Sight { found_none_ns: SECOND, ..sight(at) }), None, "the shard has not looked, or was never done with what it had");
        assert_eq!(found(|at| Sight { is_held: true, ..sight(at) }), None, "paused by us");
        assert_eq!(found(|at| Sight { read: at / 5, ..sight(at) }), None, "it moves");
        assert_eq!(found(|at| Sight { epoch: u32::try_from(at / 5).unwrap(), ..sight(at) }), None, "assigned anew");
    }

    #[test]
    fn time_counts_from_the_last_record() {
        assert_eq!(found(|at| Sight { read: at.min(5), ..sight(at) }), Some(15));
    }

    #[test]
    fn a_new_client_has_its_own_time() {
        let mut watch = Watch::new(Duration::from_secs(1));
        watch.look(SECOND, &[sight(1)]);
        watch.forget();
        assert!(watch.look(2 * SECOND, &[sight(2)]).is_empty());
        assert!(!watch.look(3 * SECOND, &[sight(3)]).is_empty());
    }

    #[test]
    fn statistics_speak_once_the_client_had_its_time() {
        let watch = Watch::new(Duration::from_secs(10));
        let standing = Standing { key: (0, 1), next: 10, end: 20, since_ns: SECOND, seconds: 12 };
        assert!(watch.may_speak(11 * SECOND, &standing));
        assert!(!watch.may_speak(10 * SECOND, &standing), "told before");
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let mut watch = Watch::new(Duration::from_secs(10));
        (1..=5).for_each(|at| assert!(watch.look(at * SECOND, &[sight(at)]).is_empty()));
        // Stopped for a minute.
        let found = (65..=75).find(|at| !watch.look(at * SECOND, &[sight(*at)]).is_empty());
        assert_eq!(found, Some(71), "four seconds before, six after");
    }

    #[test]
    fn the_client_knows_where_there_was_nothing_to_deliver() {
        let of = |next: i64, queued: i64| {
            let json = serde_json::json!({"topics": {"t": {"partitions": {"3": {"next_offset": next, "fetchq_cnt": queued, "fetch_state": "active"}}}}});
            Statistics::parse(json.to_string().as_bytes())
        };
        assert!(of(20, 0).has_read_past("t", 3, 10));
        assert!(!of(10, 0).has_read_past("t", 3, 10), "it fetches nothing");
        assert!(!of(20, 4).has_read_past("t", 3, 10), "fetched, and nobody gets it");
        assert!(!of(20, 0).has_read_past("t", 4, 10), "another partition");
        assert!(!Statistics::parse(b"").has_read_past("t", 3, 10), "it has said nothing");
        assert!(of(12, 0).describe("t", 3).starts_with("fetch active, fetched up to 12"));
        assert_eq!(Statistics::parse(b"{").describe("t", 3), "the client does not know the partition");
    }
}
