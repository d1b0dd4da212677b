//! From the end of an execution to the closed record: results, dead letters, delivery reports.

use std::sync::Arc;
use std::time::Duration;

use expressway_engine::{Failure, Step};

use super::order::Hold;
use super::record::RecordId;
use super::slots::SlotId;
use super::transact::emit;
use super::{Shard, failures_are_dead};
use crate::clock::Now;
use crate::kafka::Headers;
use crate::pipeline::counters::Count;
use crate::pipeline::dead_letter;
use crate::pipeline::processor::Processor;
use crate::pipeline::router::destination;
use crate::pipeline::sink::{Class as ErrorClass, Outgoing, Refused, To};
use crate::pipeline::{Acknowledged, Class, Reason, header_name};

/// Headers that are added to a dead letter.
const HEADERS: usize = 6;

impl<P: Processor> Shard<P> {
    /// Acts on how a run call ended.
    pub(super) fn conclude(&mut self, record: RecordId, slot: SlotId, step: Step, now: &Now) {
        if !self.effects.list.is_empty() {
            self.perform(record, slot);
        }
        match step {
            Step::Succeeded => {
                self.tally.add(Count::Succeeded, 1);
                self.result(record, slot, Class::Succeeded, "SUCCEEDED");
            }
            Step::Failed => {
                self.tally.add(Count::Failed, 1);
                self.failed(record, slot, "FAILED", now);
            }
            Step::TimedOut => {
                self.tally.add(Count::TimedOut, 1);
                self.failed(record, slot, "TIMED_OUT", now);
            }
            Step::Suspended => return self.suspended(record, slot),
            Step::Yielded => {
                self.slots.push_yielded(slot);
                return self.suspended(record, slot);
            }
        }
        let transitions = self.processor.finish(slot);
        self.tally.add(Count::Transitions, transitions);
        self.slots.release(slot);
    }

    fn perform(&mut self, record: RecordId, slot: SlotId) {
        let place = usize::try_from(slot).expect("a slot number fits into memory");
        if self.generations.len() <= place {
            self.generations.resize(place + 1, 0);
        }
        if let Some(id) = self.effects.list.iter().map(effect_id).next() {
            self.generations[place] = id.generation;
        }
        let open = self.records.find(record).expect("a running execution's record is open");
        let partition = self.partitions[open.partition].as_ref();
        let name = |processor: &P| -> Arc<str> {
            let mut name = Vec::new();
            if !partition.is_some_and(|partition| partition.write_execution(open.offset, &mut name)) {
                name.clear();
                processor.write_name(slot, &mut name);
            }
            Arc::from(String::from_utf8_lossy(&name).as_ref())
        };
        self.outside.perform(&mut self.effects, &self.processor, &mut self.timers, name);
    }

    fn failed(&mut self, record: RecordId, slot: SlotId, status: &'static str, now: &Now) {
        let failure = self.processor.failure(slot);
        if failures_are_dead(&self.rules) {
            let detail = match failure.cause {
                Some(cause) => format!("{}: {cause}", failure.error.unwrap_or("no error name")),
                None => failure.error.unwrap_or("no error name").to_owned(),
            };
            return self.dead_letter(record, Reason::ExecutionFailed, &detail, now);
        }
        self.output.clear();
        write_failure(&failure, &mut self.output);
        self.result(record, slot, Class::Failed, status);
    }

    /// Sends `self.output` as the record's result.
    fn result(&mut self, record: RecordId, slot: SlotId, class: Class, status: &'static str) {
        // The value as it came, about as large; the result; the client's copy of that.
        self.records.weigh(record, 3 * self.output.len());
        let open = self.records.find_mut(record).expect("a running execution's record is open");
        open.class = class;
        let is_told = std::mem::take(&mut open.hold) == Hold::Open;
        let Some(partition) = self.partitions[open.partition].as_mut().filter(|partition| partition.epoch == open.epoch) else {
            // Its partition went while it ran: whoever has it now runs it again.
            self.records.remove(record);
            return;
        };
        self.text.clear();
        if self.result_headers.has_execution() && !partition.write_execution(open.offset, &mut self.text) {
            self.text.clear();
            self.processor.write_name(slot, &mut self.text);
        }
        let execution_end = self.text.len();
        partition.write_position(open.offset, &mut self.text);
        let (execution, source) = self.text.split_at(execution_end);
        let headers = self.result_headers.make(status, execution, self.versions.text(open.version), source);
        let key = open.source.key();
        let to = destination(key, partition.number, partition.count, self.sink.partitions(To::Results));
        if partition.order.keeps_results() {
            return self.keep_result(record, to, headers);
        }
        let outgoing = Outgoing { to: To::Results, partition: to, key, value: Some(&self.output), headers, opaque: record.to_opaque() };
        let beside = open.source.bytes();
        if emit(partition, open.offset, outgoing, beside, &mut self.sink) {
            open.source.copy_out();
        }
        if is_told {
            self.pass_on(record);
        }
    }

    /// Sends a record to the dead letters, as it came, with the reason.
    #[cold]
    pub(super) fn dead_letter(&mut self, record: RecordId, reason: Reason, detail: &str, now: &Now) {
        let Some(open) = self.records.find_mut(record) else { return };
        (open.class, open.to) = (Class::DeadLettered, To::DeadLetters);
        let is_told = std::mem::take(&mut open.hold) == Hold::Open;
        let Some(partition) = self.partitions[open.partition].as_mut().filter(|partition| partition.epoch == open.epoch) else {
            self.records.remove(record);
            return;
        };
        let mut headers = open.source.take_headers().unwrap_or_else(|| Headers::with_capacity(HEADERS));
        headers.add(header_name::REASON, reason.code().as_bytes());
        headers.add(header_name::DETAIL, dead_letter::detail(detail).as_bytes());
        self.text.clear();
        partition.write_position(open.offset, &mut self.text);
        headers.add(header_name::SOURCE, &self.text);
        headers.add(header_name::DEFINITION, self.rules.definition.as_bytes());
        headers.add(header_name::VERSION, self.versions.text(open.version).as_bytes());
        headers.add(header_name::TIME, dead_letter::time_text(now.timestamp).as_bytes());
        self.tally.dead_letter(reason);
        let bytes = 3 * open.source.bytes();
        let (key, value) = (open.source.key(), open.source.value());
        let to = destination(key, partition.number, partition.count, self.sink.partitions(To::DeadLetters));
        let outgoing = Outgoing { to: To::DeadLetters, partition: to, key, value, headers, opaque: record.to_opaque() };
        if emit(partition, open.offset, outgoing, 0, &mut self.sink) {
            open.source.copy_out();
        }
        self.records.weigh(record, bytes);
        if is_told {
            self.pass_on(record);
        }
    }

    /// A result that the broker will never take becomes a dead letter.
    #[cold]
    pub(super) fn refused(&mut self, refused: Refused, now: &Now) {
        let reason = if refused.class == ErrorClass::TooLarge { Reason::ResultTooLarge } else { Reason::ResultRejected };
        let detail = format!("the broker does not take the result: {}", refused.code);
        self.dead_letter(RecordId::from_opaque(refused.opaque), reason, &detail, now);
    }

    /// Serves delivery reports, waiting up to `wait` for the first.
    pub(super) fn reports(&mut self, wait: Duration) {
        if self.sink.in_flight() == 0 {
            // Log lines and errors of the producer come the same way.
            self.sink.idle();
            return;
        }
        let now_ns = self.clock.now().monotonic_ns;
        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        let mut refused = std::mem::take(&mut self.refused);
        let (records, partitions) = (&self.records, &self.partitions);
        let find = |opaque| {
            let open = records.find(RecordId::from_opaque(opaque))?;
            let is_live = partitions[open.partition].as_ref().is_some_and(|partition| partition.epoch == open.epoch);
            is_live.then_some(open.class)
        };
        self.sink.reports(wait, now_ns, &mut acknowledged, &mut refused, &mut self.result_headers, find);
        if !acknowledged.is_empty() || !refused.is_empty() {
            let now = self.clock.now();
            for opaque in acknowledged.drain(..) {
                self.close(RecordId::from_opaque(opaque), &now);
            }
            for refused in refused.drain(..) {
                self.refused(refused, &now);
            }
            self.send_audit();
        }
        self.acknowledged = acknowledged;
        self.refused = refused;
    }

    /// Hands results to the producer, where it is free.
    pub(super) fn dispatch(&mut self, now: &Now) {
        let mut refused = std::mem::take(&mut self.refused);
        self.sink.dispatch(now.monotonic_ns, &mut refused);
        for refused in refused.drain(..) {
            self.refused(refused, now);
        }
        self.refused = refused;
    }

    /// A record is finished: acknowledged, or passed over.
    pub(super) fn close(&mut self, record: RecordId, now: &Now) {
        let Some(open) = self.records.remove(record) else { return self.tally.add(Count::StaleReports, 1) };
        let partition = self.partitions[open.partition].as_mut().filter(|partition| partition.epoch == open.epoch);
        let Some(partition) = partition else { return self.tally.add(Count::StaleReports, 1) };
        let was_open = partition.window.complete(open.offset);
        debug_assert!(was_open, "a record of this epoch is closed once");
        partition.books.close(open.class);
        self.marks_dirty = true;
        self.tally.add(Count::Acknowledged, 1);
        let latency_ns = now.wall_ns.saturating_sub(open.since_ns);
        self.latency.saturating_record(latency_ns);
        if self.rules.audit.is_some() {
            self.audit.push(Acknowledged { topic: partition.topic, partition: partition.number, offset: open.offset, class: open.class, latency_ns });
        }
    }

    /// Passes on what was acknowledged. Waits when nobody reads: the audit is for uses where a gap would be worse.
    pub(super) fn send_audit(&mut self) {
        if self.audit.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.audit);
        let gone = self.rules.audit.as_ref().is_none_or(|audit| audit.send(batch).is_err());
        if gone {
            self.rules.audit = None;
        }
    }
}

fn effect_id(effect: &expressway_engine::Effect) -> expressway_engine::EffectId {
    use expressway_engine::Effect;
    match effect {
        Effect::Call { id, .. } | Effect::Sleep { id, .. } | Effect::Cancel { id } => *id,
    }
}

/// `{"Error":…,"Cause":…}`, with the parts that there are.
pub(crate) fn write_failure(failure: &Failure<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(error) = failure.error {
        out.extend_from_slice(b"\"Error\":");
        write_string(error, out);
    }
    if let Some(cause) = failure.cause {
        out.extend_from_slice(if failure.error.is_some() { b",\"Cause\":" } else { b"\"Cause\":" });
        write_string(cause, out);
    }
    out.push(b'}');
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: Option<&str>, cause: Option<&str>) -> String {
        let mut out = Vec::new();
        write_failure(&Failure { error, cause }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn failures_are_json_with_the_parts_there_are() {
        assert_eq!(failure(Some("E"), Some("why")), r#"{"Error":"E","Cause":"why"}"#);
        assert_eq!(failure(None, Some("why")), r#"{"Cause":"why"}"#);
        assert_eq!(failure(None, None), "{}");
    }

    #[test]
    fn failures_are_escaped() {
        let cause = "\"quoted\"\\\n\u{1}é";
        let text = failure(Some("E"), Some(cause));
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["Cause"], cause);
    }
}
