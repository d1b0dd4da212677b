//! The two protocols by which a group shares out its partitions, and which options belong to which.
//!
//! *Classic*: a member of the group computes the assignment, eager or cooperative; times and assignors are options of the client. *Consumer* (KIP-848): the broker assigns, step by step; times and assignors are settings of the broker, and the client refuses to be made with the classic ones.
//!
//! Which of the two a broker has cannot be asked through librdkafka: its answer to `ApiVersions` stays inside, and a broker may know the request while the feature `group.version` is off. So [`GroupProtocol::Auto`] joins by the new protocol, and where the broker refuses that (`UNSUPPORTED_VERSION`, or no such request at all, both of which the client reports as a fatal error before it is a member), the client is made anew for the classic one.

use rdkafka::config::ClientConfig;

use super::ErrorCode;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupProtocol {
    /// Members assign among themselves.
    #[default]
    Classic,
    /// The broker assigns (KIP-848).
    Consumer,
    /// The broker's best: `consumer` where it has it, `classic` otherwise.
    Auto,
}

/// What a client is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    Classic,
    Consumer,
}

/// Options of the classic protocol alone, with what stands in their place.
pub(crate) const CLASSIC_ONLY: [(&str, &str); 4] = [
    ("session.timeout.ms", "the broker's group.consumer.session.timeout.ms counts"),
    ("heartbeat.interval.ms", "the broker's group.consumer.heartbeat.interval.ms counts"),
    ("partition.assignment.strategy", "the broker assigns; group.remote.assignor picks how"),
    ("group.protocol.type", "there is nothing in its place"),
];

/// Options of the new protocol alone, with what stands in their place.
pub(crate) const CONSUMER_ONLY: [(&str, &str); 1] = [("group.remote.assignor", "partition.assignment.strategy picks how members assign")];

impl GroupProtocol {
    /// What is tried first.
    pub(crate) fn first(self) -> Joining {
        if self == Self::Classic { Joining::Classic } else { Joining::Consumer }
    }

    /// What is tried when the broker has refused `joining` with `code`; `None` when that is final.
    pub(crate) fn after(self, joining: Joining, code: ErrorCode) -> Option<Joining> {
        let is_unknown = matches!(code, ErrorCode::UnsupportedVersion | ErrorCode::UnsupportedFeature);
        (self == Self::Auto && joining == Joining::Consumer && is_unknown).then_some(Joining::Classic)
    }
}

impl Joining {
    /// Its name, as in `group.protocol`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }

    /// The options among those given that this protocol does not know, with what stands in their place.
    pub(crate) fn clashing(self, options: &[(String, String)]) -> impl Iterator<Item = (&str, &'static str)> {
        options.iter().filter_map(move |(option, _)| Some((option.as_str(), self.unknown().iter().find(|(name, _)| name == option)?.1)))
    }

    /// Makes a consumer's configuration one of this protocol.
    pub(crate) fn apply(self, config: &mut ClientConfig) {
        config.set("group.protocol", self.name());
        for (option, _) in self.unknown() {
            config.remove(option);
        }
    }

    /// The options of the other protocol.
    fn unknown(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Classic => &CONSUMER_ONLY,
            Self::Consumer => &CLASSIC_ONLY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(names: &[&str]) -> Vec<(String, String)> {
        names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect()
    }

    #[test]
    fn auto_begins_with_the_best_and_falls_back_once() {
        let auto = GroupProtocol::Auto;
        assert_eq!(auto.first(), Joining::Consumer);
        for code in [ErrorCode::UnsupportedVersion, ErrorCode::UnsupportedFeature] {
            assert_eq!(auto.after(Joining::Consumer, code), Some(Joining::Classic));
            assert_eq!(auto.after(Joining::Classic, code), None);
            assert_eq!(GroupProtocol::Consumer.after(Joining::Consumer, code), None, "what was asked for by name is not replaced");
        }
        assert_eq!(auto.after(Joining::Consumer, ErrorCode::GroupAuthorizationFailed), None);
    }

    #[test]
    fn options_of_the_other_protocol_are_told_and_dropped() {
        let given = options(&["session.timeout.ms", "linger.ms", "group.remote.assignor"]);
        let clashing = |joining: Joining| joining.clashing(&given).map(|(option, _)| option.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            (clashing(Joining::Consumer), clashing(Joining::Classic)),
            (vec!["session.timeout.ms".to_owned()], vec!["group.remote.assignor".to_owned()])
        );
        for (joining, gone, left) in
            [(Joining::Consumer, "session.timeout.ms", "group.remote.assignor"), (Joining::Classic, "group.remote.assignor", "session.timeout.ms")]
        {
            let mut config = ClientConfig::from_iter(given.clone());
            joining.apply(&mut config);
            assert_eq!((config.get(gone), config.get(left), config.get("group.protocol")), (None, Some("1"), Some(joining.name())));
        }
    }
}
