//! Simulated devices: seeded messages for the demo, the benchmarks and the tests.
//!
//! The message is the project's canonical one: always the same members in the same order, 90 % heartbeats, 9 % alerts, 1 % of a type that nobody knows, a battery between 0 and 100, the device's id as the key. The same seed gives the same messages. On request some records are broken in one of the ways that senders break them.

use std::fmt::Write as _;

use crate::clock;
use crate::random::Random;

/// When the first message is dated, in seconds.
const FIRST_SECOND: u64 = clock::EXAMPLE.0 / 1_000;

/// Firmware versions in the field.
const FIRMWARE: [&str; 4] = ["1.4.2", "1.4.1", "1.3.9", "2.0.0"];

/// Zones of a site.
const ZONES: [char; 4] = ['a', 'b', 'c', 'd'];

/// What the devices do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Devices with ids of their own, at least 1; they take turns.
    pub devices: u32,
    /// Records per 10,000 that are broken.
    pub broken_per_10000: u32,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { devices: 10_000, broken_per_10000: 0, seed: 1 }
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Not JSON.
    Malformed,
    /// Ends inside a value.
    Truncated,
    /// Bytes in a string that are not UTF-8.
    NotUtf8,
    /// No bytes.
    Empty,
    /// No value at all.
    Null,
}

/// One record of a device, borrowed from the generator until the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'d> {
    /// Number of the device, below [`Settings::devices`].
    pub device: u32,
    /// The key: the device's id.
    pub key: &'d str,
    /// The message; `None` for a record without a value.
    pub value: Option<&'d [u8]>,
    /// Whether and how it is broken.
    pub broken: Option<Broken>,
}

/// The generator.
#[derive(Debug, Clone)]
pub struct Devices {
    settings: Settings,
    random: Random,
    sequence: u64,
    /// The device whose turn it is.
    turn: u32,
    key: String,
    value: String,
    bytes: Vec<u8>,
}

impl Devices {
    /// A generator at its first message.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let settings = Settings { devices: settings.devices.max(1), ..settings };
        Self { settings, random: Random::new(settings.seed), sequence: 0, turn: 0, key: String::new(), value: String::new(), bytes: Vec::new() }
    }

    /// The next record. Nothing is allocated once the buffers have grown.
    pub fn next_record(&mut self) -> Record<'_> {
        let device = self.turn;
        self.turn = (self.turn + 1) % self.settings.devices;
        self.write_key(device);
        self.write_value(device);
        self.sequence += 1;
        let broken = (self.random.below(10_000) < u64::from(self.settings.broken_per_10000)).then(|| self.random.one_of(&BREAKS));
        let value = match broken {
            None => Some(self.value.as_bytes()),
            Some(Broken::Null) => None,
            Some(broken) => {
                self.bytes.clear();
                self.bytes.extend_from_slice(self.value.as_bytes());
                damage(&mut self.bytes, broken);
                Some(self.bytes.as_slice())
            }
        };
        Record { device, key: &self.key, value, broken }
    }

    fn write_key(&mut self, device: u32) {
        self.key.clear();
        write_to(&mut self.key, format_args!("dev-{device:06}"));
    }

    fn write_value(&mut self, device: u32) {
        let random = &mut self.random;
        let kind = match random.below(100) {
            0..90 => "heartbeat",
            90..99 => "alert",
            _ => "probe",
        };
        // Every device reports once in a turn of all, and a turn takes a second.
        let second = FIRST_SECOND + self.sequence / u64::from(self.settings.devices);
        let (battery, rssi, site) = (random.below(101), 30 + random.below(70), device % 64);
        let (fw, zone) = (random.one_of(&FIRMWARE), random.one_of(&ZONES));
        let (cpu, mem, temp) = (random.below(100), random.below(100), random.below(800));
        let out = &mut self.value;
        out.clear();
        write_to(out, format_args!(r#"{{"deviceId":"{}","type":"{kind}","ts":""#, self.key));
        write_timestamp(out, second);
        write_to(out, format_args!(r#"","battery":{battery},"rssi":-{rssi},"fw":"{fw}","seq":{},"site":{{"id":"s-{site}","zone":"{zone}"}}"#, self.sequence));
        write_to(out, format_args!(r#","metrics":{{"cpu":0.{cpu:02},"mem":0.{mem:02},"temp":{}.{}}}}}"#, temp / 10, temp % 10));
    }
}

const BREAKS: [Broken; 5] = [Broken::Malformed, Broken::Truncated, Broken::NotUtf8, Broken::Empty, Broken::Null];

fn damage(bytes: &mut Vec<u8>, broken: Broken) {
    match broken {
        // The colon behind the first key becomes an equals sign.
        Broken::Malformed => bytes[11] = b'=',
        Broken::Truncated => bytes.truncate(bytes.len() / 2),
        // Inside the device's id.
        Broken::NotUtf8 => bytes[15] = 0xFF,
        Broken::Empty | Broken::Null => bytes.clear(),
    }
}

/// Writing to a string cannot fail.
fn write_to(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a String takes all text");
}

/// The instant as `2026-11-20T12:00:00Z`; days to dates by Hinnant's `civil_from_days`, for years from 1970.
fn write_timestamp(out: &mut String, second: u64) {
    let (days, rest) = (second / 86_400 + 719_468, second % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    write_to(out, format_args!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    const EXAMPLE: &str = r#"{"deviceId":"dev-000123","type":"heartbeat","ts":"2026-11-20T12:00:00Z","battery":57,"rssi":-71,"fw":"1.4.2","seq":123456,"site":{"id":"s-17","zone":"b"},"metrics":{"cpu":0.31,"mem":0.62,"temp":41.5}}"#;

    fn shape(value: &Value) -> String {
        match value {
            Value::Object(members) => members.iter().map(|(key, value)| format!("{key}({})", shape(value))).collect(),
            Value::String(_) => "text".to_owned(),
            Value::Number(_) => "number".to_owned(),
            other => other.to_string(),
        }
    }

    #[test]
    fn messages_have_the_shape_of_the_canonical_one() {
        let mut devices = Devices::new(Settings::default());
        let expected = shape(&serde_json::from_str(EXAMPLE).expect("JSON"));
        for _ in 0..1_000 {
            let record = devices.next_record();
            let text = std::str::from_utf8(record.value.expect("value")).expect("UTF-8");
            let value: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(shape(&value), expected);
            assert_eq!(value.to_string(), text, "compact");
            assert_eq!(value["deviceId"], record.key);
            assert!((0..=100).contains(&value["battery"].as_i64().expect("number")));
        }
    }

    #[test]
    fn types_come_in_their_shares() {
        let mut devices = Devices::new(Settings { seed: 7, ..Settings::default() });
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..100_000 {
            let record = devices.next_record();
            let value: Value = serde_json::from_slice(record.value.expect("value")).expect("JSON");
            *counts.entry(value["type"].as_str().expect("text").to_owned()).or_default() += 1;
        }
        let near = |kind: &str, expected: u32| counts[kind].abs_diff(expected) < expected / 10 + 100;
        assert!(near("heartbeat", 90_000) && near("alert", 9_000) && near("probe", 1_000), "{counts:?}");
    }

    #[test]
    fn same_seed_gives_the_same_records() {
        let settings = Settings { devices: 3, broken_per_10000: 2_000, seed: 5 };
        let (mut one, mut other) = (Devices::new(settings), Devices::new(settings));
        for _ in 0..500 {
            assert_eq!(one.next_record(), other.next_record());
        }
        let mut different = Devices::new(Settings { seed: 6, ..settings });
        assert_ne!(one.next_record().value, different.next_record().value);
    }

    #[test]
    fn broken_records_are_broken_in_every_way() {
        let mut devices = Devices::new(Settings { devices: 10, broken_per_10000: 10_000, seed: 3 });
        let mut seen = Vec::new();
        for _ in 0..200 {
            let record = devices.next_record();
            let broken = record.broken.expect("all are broken");
            let fault = record.value.map(|value| serde_json::from_slice::<Value>(value).is_err());
            assert_eq!(fault, if broken == Broken::Null { None } else { Some(true) }, "{broken:?}");
            if broken == Broken::NotUtf8 {
                assert!(std::str::from_utf8(record.value.expect("value")).is_err());
            }
            if !seen.contains(&broken) {
                seen.push(broken);
            }
        }
        assert_eq!(seen.len(), BREAKS.len());
    }

    #[test]
    fn devices_take_turns_and_time_goes_on() {
        let mut devices = Devices::new(Settings { devices: 2, ..Settings::default() });
        let mut seen = Vec::new();
        for _ in 0..4 {
            let record = devices.next_record();
            let value: Value = serde_json::from_slice(record.value.expect("value")).expect("JSON");
            seen.push((record.device, value["ts"].as_str().expect("text").to_owned()));
        }
        let at = |device, second| (device, format!("2026-11-20T12:00:0{second}Z"));
        assert_eq!(seen, [at(0, 0), at(1, 0), at(0, 1), at(1, 1)]);
    }

    #[test]
    fn timestamps_cross_months_and_leap_days() {
        let text = |second| {
            let mut out = String::new();
            write_timestamp(&mut out, second);
            out
        };
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(text(1_709_251_200), "2024-03-01T00:00:00Z");
    }
}
