//! Records of one partition that go to the producer in one call.
//!
//! A bundle is filled while the partition's last one is under way. Keys and values lie behind one another in one buffer, which is used again once the client has copied them, so a record costs no allocation here.

use super::{ErrorCode, Headers};

/// One record of a bundle, without its key and value.
struct Record {
    key_len: Option<usize>,
    value_len: Option<usize>,
    headers: Option<Headers>,
    opaque: u64,
}

/// A record that the client did not take.
pub(crate) struct Rejected<'b> {
    pub(crate) key: Option<&'b [u8]>,
    pub(crate) value: Option<&'b [u8]>,
    pub(crate) headers: Headers,
    pub(crate) opaque: u64,
    pub(crate) code: ErrorCode,
}

/// Records of one partition, in order.
#[derive(Default)]
pub(crate) struct Bundle {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

impl Bundle {
    /// Adds a record; key and value are copied.
    pub(crate) fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, headers: Headers, opaque: u64) {
        for part in [key, value].into_iter().flatten() {
            self.bytes.extend_from_slice(part);
        }
        self.records.push(Record { key_len: key.map(<[u8]>::len), value_len: value.map(<[u8]>::len), headers: Some(headers), opaque });
    }

    /// Records in it.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of keys and values in it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that it can hold before it grows.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The numbers of its records.
    pub(crate) fn opaques(&self) -> impl Iterator<Item = u64> {
        self.records.iter().map(|record| record.opaque)
    }

    /// Takes out the records from `at` on, as a bundle of their own.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let rest = self.records.split_off(at.min(self.records.len()));
        let len: usize = rest.iter().map(|record| record.key_len.unwrap_or(0) + record.value_len.unwrap_or(0)).sum();
        Self { bytes: self.bytes.split_off(self.bytes.len() - len), records: rest }
    }

    /// Takes out the records whose number `is_stale`, and tells the numbers.
    pub(crate) fn forget(&mut self, is_stale: impl Fn(u64) -> bool, gone: &mut Vec<u64>) {
        if !self.records.iter().any(|record| is_stale(record.opaque)) {
            return;
        }
        let mut kept = Self::default();
        self.drain(|key, value, headers, opaque| if is_stale(opaque) { gone.push(opaque) } else { kept.push(key, value, headers, opaque) });
        *self = kept;
    }

    /// Empties it, record by record.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(Option<&[u8]>, Option<&[u8]>, Headers, u64)) {
        let mut at = 0;
        for record in self.records.drain(..) {
            let key = cut(&self.bytes, &mut at, record.key_len);
            let value = cut(&self.bytes, &mut at, record.value_len);
            // A record whose headers are gone is in the client's hands.
            if let Some(headers) = record.headers {
                each(key, value, headers, record.opaque);
            }
        }
        self.bytes.clear();
    }

    /// Key, value and number of each record.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Option<&[u8]>, Option<&[u8]>, u64)> {
        let mut at = 0;
        self.records.iter().map(move |record| {
            let key = cut(&self.bytes, &mut at, record.key_len);
            (key, cut(&self.bytes, &mut at, record.value_len), record.opaque)
        })
    }

    /// The headers of the record at `index`, for the client.
    pub(super) fn take_headers(&mut self, index: usize) -> Option<Headers> {
        self.records.get_mut(index)?.headers.take()
    }

    /// The client has not taken the record at `index`.
    pub(super) fn return_headers(&mut self, index: usize, headers: Headers) {
        self.records[index].headers = Some(headers);
    }

    /// Forgets all records, which the client has.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
    }
}

fn cut<'b>(bytes: &'b [u8], at: &mut usize, len: Option<usize>) -> Option<&'b [u8]> {
    let len = len?;
    let part = &bytes[*at..*at + len];
    *at += len;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key, value and number.
    type Text = (Option<Vec<u8>>, Option<Vec<u8>>, u64);

    fn texts(bundle: &mut Bundle) -> Vec<Text> {
        let mut texts = Vec::new();
        bundle.drain(|key, value, _, opaque| texts.push((key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec), opaque)));
        texts
    }

    fn headers() -> Headers {
        Headers::with_capacity(0)
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut bundle = Bundle::default();
        bundle.push(Some(b"k"), Some(b"value"), headers(), 1);
        bundle.push(None, Some(b""), headers(), 2);
        bundle.push(Some(b""), None, headers(), 3);
        assert_eq!((bundle.len(), bundle.bytes()), (3, 6));
        let expected = vec![(Some(b"k".to_vec()), Some(b"value".to_vec()), 1), (None, Some(Vec::new()), 2), (Some(Vec::new()), None, 3)];
        assert_eq!(texts(&mut bundle), expected);
        assert!(bundle.is_empty() && bundle.bytes() == 0);
    }

    #[test]
    fn what_is_stale_is_taken_out_and_the_rest_keeps_its_order() {
        let mut bundle = Bundle::default();
        for opaque in 0..6 {
            bundle.push(None, Some(&[u8::try_from(opaque).unwrap()]), headers(), opaque);
        }
        let mut gone = Vec::new();
        bundle.forget(|opaque| opaque % 2 == 0, &mut gone);
        assert_eq!(gone, [0, 2, 4]);
        assert_eq!(texts(&mut bundle), [(None, Some(vec![1]), 1), (None, Some(vec![3]), 3), (None, Some(vec![5]), 5)]);
    }

    #[test]
    fn a_bundle_is_cut_in_two() {
        let mut bundle = Bundle::default();
        bundle.push(Some(b"k"), Some(b"one"), headers(), 1);
        bundle.push(None, Some(b"two"), headers(), 2);
        bundle.push(Some(b"key"), None, headers(), 3);
        let mut rest = bundle.split_off(1);
        assert_eq!((bundle.bytes(), rest.bytes()), (4, 6));
        assert_eq!(texts(&mut bundle), [(Some(b"k".to_vec()), Some(b"one".to_vec()), 1)]);
        assert_eq!(texts(&mut rest), [(None, Some(b"two".to_vec()), 2), (Some(b"key".to_vec()), None, 3)]);
    }
}
