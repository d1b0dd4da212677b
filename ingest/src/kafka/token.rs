//! Tokens for SASL's mechanism OAUTHBEARER: read from a file or the configuration, and given to every client.
//!
//! librdkafka asks for a token by an event in the client's main queue, first when the client is made and again when four fifths of a token's life are over. A client that is asked a question before anybody polls it would wait for that in vain, so each is given its first token right behind its making, with [`give`]; those that are polled answer the events with [`oauth_token`], which reads the file again. Where a token comes from travels in the client's option `sasl.oauthbearer.config`, so that whoever has the options can get in.
//!
//! The token is passed on as it stands. Its time is looked up in it, when it is a JSON Web Token; its signature is the broker's to judge.

#![expect(unsafe_code, reason = "librdkafka's C interface alone gives a token to a client that is not polled")]

use std::error::Error;
use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::ptr;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rdkafka::client::{Client, ClientContext, OAuthToken};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka_sys as sys;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::config::placeholder::read_secret;

/// The mechanism.
pub(crate) const MECHANISM: &str = "OAUTHBEARER";

/// The client's option that a [`TokenSource`] travels in.
pub(crate) const SOURCE_OPTION: &str = "sasl.oauthbearer.config";

/// Whom a token speaks for when it does not say: the client writes it into its own log and nowhere else.
const NAMELESS: &str = "unknown";

/// Where tokens come from. A secret, so it is not `Debug`.
#[derive(Serialize, Deserialize)]
pub(crate) struct TokenSource {
    /// The token itself.
    pub(crate) token: Option<String>,
    /// The file that holds it, read again for each refresh.
    pub(crate) file: Option<PathBuf>,
    /// How long a token lives that does not say so itself.
    pub(crate) lifetime_ms: u64,
}

impl TokenSource {
    /// As the value of [`SOURCE_OPTION`].
    pub(crate) fn option(&self) -> String {
        serde_json::to_string(self).expect("texts and a number can be written")
    }

    fn read(&self, now_ms: u64) -> Result<OAuthToken, String> {
        let token = match (&self.token, &self.file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) => read_secret(file).map_err(|problem| format!("no token: {problem}"))?,
            (None, None) => return Err("no token: neither a token nor a file of one is set".to_owned()),
        };
        let token = token.trim().to_owned();
        // Whatever else may stand in a file, a request takes these only.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("no token: what {} holds is none", self.place()));
        }
        let claims = claims(&token);
        let claim = |name: &str| claims.as_ref().and_then(|claims| claims.get(name));
        let expires_ms = claim("exp").and_then(serde_json::Value::as_f64).map_or_else(|| now_ms.saturating_add(self.lifetime_ms), milliseconds);
        if expires_ms <= now_ms {
            return Err(format!("the token of {} has expired", self.place()));
        }
        let principal_name = claim("sub").and_then(serde_json::Value::as_str).filter(|name| !name.contains('\0')).unwrap_or(NAMELESS).to_owned();
        Ok(OAuthToken { token, principal_name, lifetime_ms: i64::try_from(expires_ms).unwrap_or(i64::MAX / 1_000) })
    }

    fn place(&self) -> String {
        self.file.as_deref().map_or_else(|| "the configuration".to_owned(), |file| format!("the file {}", file.display()))
    }
}

/// What a JSON Web Token claims; `None` for a token of another kind.
fn claims(token: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let base = GeneralPurpose::new(&URL_SAFE, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    let [_, claims, _] = token.split('.').collect::<Vec<_>>()[..] else { return None };
    let mut bytes = vec![0; base64::decoded_len_estimate(claims.len())];
    let count = base.decode_slice(claims, &mut bytes).ok()?;
    serde_json::from_slice(&bytes[..count]).ok()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a token of before 1970 has expired as well as one of 1970"
)]
fn milliseconds(seconds: f64) -> u64 {
    // Beyond the year 9999 every time is as good as another, and the client counts microseconds in 63 bits.
    const MAX: f64 = 253_402_300_799.0;
    (seconds.min(MAX) * 1_000.0) as u64
}

/// The token that a client asks for, by the value of its [`SOURCE_OPTION`].
///
/// # Errors
/// When there is none, or it has expired. The client tells the error and asks again ten seconds later.
pub(crate) fn oauth_token(option: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
    let source: TokenSource = option.and_then(|option| serde_json::from_str(option).ok()).ok_or("no token: kafka.sasl does not say where it is")?;
    Ok(source.read(Clock::start().now().wall_ns / 1_000_000)?)
}

/// Gives a client its token, where its mechanism takes one. What is wrong with the token is told as an error of the client, like a refusal by the broker.
pub(crate) fn give<C: ClientContext>(client: &Client<C>, config: &ClientConfig) {
    let mechanism = config.get("sasl.mechanism").or_else(|| config.get("sasl.mechanisms"));
    if mechanism == Some(MECHANISM) {
        renew(client, config.get(SOURCE_OPTION).unwrap_or_default());
    }
}

/// Gives a client that asks for it a token, by the value of its [`SOURCE_OPTION`].
pub(crate) fn renew<C: ClientContext>(client: &Client<C>, option: &str) {
    let given = oauth_token(Some(option)).map_err(|error| error.to_string()).and_then(|token| set(client, token));
    if let Err(problem) = given {
        refuse(client, &problem);
    }
}

fn set<C: ClientContext>(client: &Client<C>, token: OAuthToken) -> Result<(), String> {
    let text = |text: String| CString::new(text).map_err(|error| error.to_string());
    let (value, principal) = (text(token.token)?, text(token.principal_name)?);
    let mut problem: [std::ffi::c_char; 256] = [0; 256];
    // SAFETY: the client is alive, the texts and the buffer live through the call, and there are no extensions.
    let code = unsafe {
        sys::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            problem.as_mut_ptr(),
            problem.len(),
        )
    };
    if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    // SAFETY: the call has written a C string.
    let problem = unsafe { CStr::from_ptr(problem.as_ptr()) };
    // In 2.12.1 the words hold the token where it has a character that a request does not take, which `read` has refused by then; otherwise they hold two times. The binding's own refresh of a polled client passes them on likewise.
    Err(format!("the client does not take the token: {}", problem.to_string_lossy()))
}

fn refuse<C: ClientContext>(client: &Client<C>, problem: &str) {
    let problem = CString::new(problem.replace('\0', " ")).expect("there is no null character left");
    // SAFETY: the client is alive and the text lives through the call.
    unsafe { sys::rd_kafka_oauthbearer_set_token_failure(client.native_ptr(), problem.as_ptr()) };
}

/// The context of a producer whose reports nobody reads.
pub(crate) struct Unheard;

impl ClientContext for Unheard {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, option: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        oauth_token(option)
    }
}

impl ProducerContext for Unheard {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn encoded(text: &str) -> String {
        let mut out = vec![0; 4 * text.len()];
        let count = URL_SAFE_NO_PAD.encode_slice(text, &mut out).unwrap();
        out.truncate(count);
        String::from_utf8(out).unwrap()
    }

    fn token(claims: &str) -> String {
        format!("{}.{}.c2ln", encoded(r#"{"alg":"RS256"}"#), encoded(claims))
    }

    fn read(token: &str) -> Result<(String, i64), String> {
        let source = TokenSource { token: Some(token.to_owned()), file: None, lifetime_ms: 300_000 };
        source.read(NOW_MS).map(|token| (token.principal_name, token.lifetime_ms))
    }

    #[test]
    fn a_web_token_says_its_end_and_whom_it_speaks_for() {
        let text = token(r#"{"sub":"fleet","exp":1700000060}"#);
        assert_eq!(read(&text), Ok(("fleet".to_owned(), 1_700_000_060_000)));
        assert_eq!(read(&format!("{text}=\n ")), Ok(("fleet".to_owned(), 1_700_000_060_000)), "the signature is not looked at");
        assert_eq!(read(&token(r#"{"exp":1700000060.5}"#)), Ok((NAMELESS.to_owned(), 1_700_000_060_500)));
        assert_eq!(read(&token(r#"{"sub":"fleet","exp":1e300}"#)).unwrap().1, 253_402_300_799_000);
    }

    #[test]
    fn other_tokens_live_as_long_as_the_configuration_says() {
        for text in ["opaque", "a.b.c", "a.b", &token("[]"), &token("{}"), &token(r#"{"exp":"soon"}"#)] {
            assert_eq!(read(text), Ok((NAMELESS.to_owned(), 1_700_000_300_000)), "{text}");
        }
    }

    #[test]
    fn what_is_no_token_or_has_expired_is_refused_and_not_shown() {
        for (text, part) in [
            ("", "is none"),
            ("two words", "is none"),
            ("gr\u{fc}n", "is none"),
            (&token(r#"{"exp":1700000000}"#), "has expired"),
            (&token(r#"{"exp":-5}"#), "has expired"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(part) && (text.is_empty() || !problem.contains(text)), "{problem}");
        }
    }

    #[test]
    fn a_file_is_read_each_time() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("token");
        let option = TokenSource { token: None, file: Some(file.clone()), lifetime_ms: 60_000 }.option();
        let problem = oauth_token(Some(&option)).err().unwrap().to_string();
        assert!(problem.contains("cannot be read") && problem.contains("token"), "{problem}");
        for text in ["first", "second"] {
            std::fs::write(&file, format!("{text}\n")).unwrap();
            assert_eq!(oauth_token(Some(&option)).unwrap().token, text);
        }
        assert!(oauth_token(None).is_err() && oauth_token(Some("principal=x")).is_err());
    }
}
