//! Damaged logs, for tests: batches as they lie in a log, written past every client, for none would make them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// What is wrong with a batch of one record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    /// Its checksum is another one. The client looks only with `check.crcs`, and stays before it.
    Checksum,
    /// It is of a format that nobody knows. The client goes on behind the offset that it says to have.
    Format,
}

/// Appends a whole batch of `kept` records to a partition whose log ends at `end`, and a damaged one of one record behind it, which `says` its offset. They go in one request, for the mock cluster looks at the first alone. Every value is `{}`.
pub(crate) fn append(brokers: &str, topic: &str, partition: i32, end: i64, kept: u8, (damage, says): (Damage, i64)) {
    let (format, checksum): (u8, fn(&[u8]) -> u32) = match damage {
        Damage::Checksum => (2, |body| !crc32c(body)),
        Damage::Format => (3, crc32c),
    };
    // The mock cluster takes the first batch's word for how many records came.
    let batches = [batch(end, kept, kept + 1, 2, crc32c), batch(says, 1, 1, format, checksum)].concat();
    let text = |text: &str| [&i16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let mut request = Vec::new();
    // Produce in its version 3: correlation, no client's name, no transaction, acknowledged by the leader within a second; one topic, one partition.
    [0_i16, 3, 0, 1, -1, -1, 1, 0, 1_000, 0, 1].iter().for_each(|number| request.extend(number.to_be_bytes()));
    request.extend(text(topic));
    [1, partition, i32::try_from(batches.len()).unwrap()].iter().for_each(|number| request.extend(number.to_be_bytes()));
    request.extend(batches);
    let mut broker = TcpStream::connect(brokers.split(',').next().unwrap()).unwrap();
    broker.write_all(&[&u32::try_from(request.len()).unwrap().to_be_bytes(), &*request].concat()).unwrap();
    // Length, correlation, topics, the topic's name, its partitions, the partition; then the error.
    let mut answer = vec![0; 4 + 4 + 4 + text(topic).len() + 4 + 4 + 2];
    broker.read_exact(&mut answer).unwrap();
    assert!(answer.ends_with(&[0, 0]), "the broker refuses it: {answer:?}");
}

/// `records` records that say of themselves to be `counted`.
fn batch(base: i64, records: u8, counted: u8, format: u8, checksum: fn(&[u8]) -> u32) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend((i32::from(records) - 1).to_be_bytes());
    // Times; then producer, its epoch and its sequence, which are none.
    body.extend([0; 16]);
    body.extend([0xff; 14]);
    body.extend(i32::from(counted).to_be_bytes());
    // Length, attributes, time, offset, no key, the value and its length, no headers; numbers are twice themselves.
    (0..records).for_each(|record| body.extend([16, 0, 0, record * 2, 1, 4, b'{', b'}', 0]));
    let mut batch = base.to_be_bytes().to_vec();
    batch.extend(i32::try_from(4 + 1 + 4 + body.len()).unwrap().to_be_bytes());
    batch.extend([0, 0, 0, 0, format]);
    batch.extend(checksum(&body).to_be_bytes());
    batch.extend(body);
    batch
}

/// CRC-32C (Castagnoli).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
