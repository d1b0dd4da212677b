//! Hash.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::{Argument, Failure, because};
use crate::program::Program;
use crate::value::Value;
use crate::vm::Slot;

impl Slot {
    /// `States.Hash(data, algorithm)`: in lower-case hexadecimal digits.
    pub(super) fn hash(&mut self, program: &Program, data: Argument, algorithm: Argument) -> Result<Value, Failure> {
        self.with_text(|slot, buffer| {
            slot.short_string_into(program, data, buffer)?;
            let length = buffer.len();
            slot.string_into(program, algorithm, buffer)?;
            let (data, algorithm) = buffer.split_at(length);
            match algorithm {
                b"MD5" => slot.hexadecimal(&Md5::digest(data)),
                b"SHA-1" => slot.hexadecimal(&Sha1::digest(data)),
                b"SHA-256" => slot.hexadecimal(&Sha256::digest(data)),
                b"SHA-384" => slot.hexadecimal(&Sha384::digest(data)),
                b"SHA-512" => slot.hexadecimal(&Sha512::digest(data)),
                other => because(format_args!(
                    "The algorithm '{}' is not one of MD5, SHA-1, SHA-256, SHA-384, SHA-512",
                    String::from_utf8_lossy(other).chars().take(80).collect::<String>()
                )),
            }
        })
    }

    /// A string of the digits of at most 64 bytes.
    fn hexadecimal(&mut self, digest: &[u8]) -> Result<Value, Failure> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 128];
        for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xf)];
        }
        Ok(self.memory.add_quoted(&text[..digest.len() * 2], false)?)
    }
}
