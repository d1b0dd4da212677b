//! Base64Encode and Base64Decode.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Argument, Failure, because};
use crate::program::Program;
use crate::value::Value;
use crate::vm::Slot;

/// The alphabet of RFC 4648 §4 with padding; a decoder like Java's, which takes a text without padding too and does not look at left-over bits.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true));

impl Slot {
    /// `States.Base64Encode(text)`: of its UTF-8 form.
    pub(super) fn base64_encode(&mut self, program: &Program, text: Argument) -> Result<Value, Failure> {
        self.with_text(|slot, buffer| {
            slot.short_string_into(program, text, buffer)?;
            let length = buffer.len();
            buffer.resize(length + length.div_ceil(3) * 4, 0);
            let (plain, coded) = buffer.split_at_mut(length);
            let written = BASE64.encode_slice(&*plain, coded).expect("four bytes for each three or part of them are enough");
            Ok(slot.memory.add_quoted(&coded[..written], false)?)
        })
    }

    /// `States.Base64Decode(text)`: to UTF-8; what is none becomes U+FFFD, as in Java.
    pub(super) fn base64_decode(&mut self, program: &Program, text: Argument) -> Result<Value, Failure> {
        self.with_text(|slot, buffer| {
            slot.short_string_into(program, text, buffer)?;
            let length = buffer.len();
            buffer.resize(length + base64::decoded_len_estimate(length), 0);
            let (coded, plain) = buffer.split_at_mut(length);
            match BASE64.decode_slice(&*coded, plain) {
                Ok(written) => Ok(slot.memory.add_string(String::from_utf8_lossy(&plain[..written]).as_bytes())?),
                Err(_) => because(format_args!("Argument 1 is not Base64")),
            }
        })
    }
}
