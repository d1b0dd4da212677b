//! The end of a process that has used TLS: OpenSSL is not taken apart while threads of clients may still be at work with it.

#![expect(unsafe_code, reason = "OpenSSL tells of its own end in its C interface only")]

use std::ffi::c_int;
use std::process::{Command, exit};

use expressway_ingest::cli;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;

/// Set in the process whose end is looked at.
const ENDING: &str = "TEST_OF_EXIT";

/// Its exit code when it has ended as it should; a test's own way out has another.
const ENDED: c_int = 93;

/// Its exit code when OpenSSL was taken apart.
const TAKEN_APART: c_int = 94;

unsafe extern "C" {
    /// Has `handler` called when OpenSSL is taken apart.
    fn OPENSSL_atexit(handler: extern "C" fn()) -> c_int;
}

extern "C" fn tell() {
    // SAFETY: ends the process at once, and is the only thing done here.
    unsafe { libc::_exit(TAKEN_APART) }
}

/// What the program does: its command line, and with that a client, whose threads live on as the process ends.
fn end_with_a_client() -> ! {
    assert_eq!(cli::run(["expressway", "--version"].map(Into::into), &[]), 0);
    let client = ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").set("security.protocol", "ssl").create();
    let _client: BaseConsumer = client.expect("a client needs no broker to be made");
    // SAFETY: OpenSSL is in use by now, and the handler may be called at any time.
    assert_eq!(unsafe { OPENSSL_atexit(tell) }, 1);
    exit(ENDED)
}

#[test]
fn openssl_is_not_taken_apart_while_clients_live() {
    if std::env::var_os(ENDING).is_some() {
        end_with_a_client();
    }
    let itself = std::env::current_exe().expect("a test is a file");
    let ended = Command::new(itself).arg("--quiet").env(ENDING, "1").output().expect("a test can be run");
    assert_eq!(ended.status.code(), Some(ENDED), "{TAKEN_APART} if OpenSSL was taken apart: {}", String::from_utf8_lossy(&ended.stderr));
}
