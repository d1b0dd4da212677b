//! Tokens, which the model's brokers ask for none of.

use std::error::Error;

use rdkafka::client::OAuthToken;
use rdkafka::config::ClientConfig;

pub(crate) fn oauth_token(_: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
    Err("the model's brokers ask for no token".into())
}

pub(crate) fn give<C>(_: C, _: &ClientConfig) {}
