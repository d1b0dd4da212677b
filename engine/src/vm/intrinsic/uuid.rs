//! UUID.

use super::Failure;
use crate::value::Value;
use crate::vm::Slot;

impl Slot {
    /// `States.UUID()`: version 4 (RFC 9562 §5.4), from the execution's random numbers.
    pub(super) fn uuid(&mut self) -> Result<Value, Failure> {
        let mut bytes = [0_u8; 16];
        bytes[..8].copy_from_slice(&self.random().to_be_bytes());
        bytes[8..].copy_from_slice(&self.random().to_be_bytes());
        Ok(self.memory.add_quoted(&written(bytes), false)?)
    }
}

fn written(mut bytes: [u8; 16]) -> [u8; 36] {
    bytes[6] = bytes[6] & 0xf | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    uuid_text(bytes)
}

/// A UUID in its usual form.
pub(in crate::vm) fn uuid_text(bytes: [u8; 16]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|place| ![8, 13, 18, 23].contains(place));
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    for (place, digit) in places.zip(digits) {
        text[place] = DIGITS[usize::from(digit)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_variant_are_set() {
        assert_eq!(&written([0xff; 16]), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(&written([0; 16]), b"00000000-0000-4000-8000-000000000000");
    }
}
