//! What the clients are set for: two sets of options, each explained in its file under `configs/profiles`.

use crate::config::yaml;

/// A named set of client options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// As many records a second as processors and broker give.
    #[default]
    Throughput,
    /// Each result as early as the broker takes it.
    Latency,
}

impl Profile {
    /// The profile of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Throughput, Self::Latency].into_iter().find(|profile| profile.name() == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
        }
    }

    /// Its options, under librdkafka's names, without those that are among `set`, be it under another name.
    ///
    /// # Panics
    /// Never: the files are compiled in.
    #[must_use]
    pub fn options_below<'s>(self, set: impl Iterator<Item = &'s str> + Clone) -> Vec<(String, String)> {
        let mut options = self.options();
        options.retain(|(option, _)| !set.clone().any(|name| is_same(name, option)));
        options
    }

    fn options(self) -> Vec<(String, String)> {
        let text = match self {
            Self::Throughput => include_str!("../../../configs/profiles/throughput.yaml"),
            Self::Latency => include_str!("../../../configs/profiles/latency.yaml"),
        };
        let tree = yaml::parse(text).expect("the profiles are compiled in, and a test parses them");
        let options = tree["kafka"]["client_options"].as_object().expect("a profile is a map of client options");
        options.iter().map(|(option, value)| (option.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect()
    }
}

/// Options that librdkafka knows under two names. Of two values under both names, which one counts would be chance.
const ALIASES: [(&str, &str); 2] = [("linger.ms", "queue.buffering.max.ms"), ("compression.type", "compression.codec")];

fn is_same(one: &str, other: &str) -> bool {
    one == other || ALIASES.iter().any(|(name, alias)| (one == *name && other == *alias) || (one == *alias && other == *name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn profiles_set_the_same_options() {
        let names = |profile: Profile| profile.options().into_iter().map(|(option, _)| option).collect::<BTreeSet<_>>();
        assert_eq!(names(Profile::Throughput), names(Profile::Latency));
        assert!(names(Profile::Throughput).contains("linger.ms"));
    }

    #[test]
    fn an_option_that_is_set_under_either_name_stays() {
        let set = ["queue.buffering.max.ms", "batch.size", "client.id"];
        let names: Vec<_> = Profile::Latency.options_below(set.into_iter()).into_iter().map(|(option, _)| option).collect();
        assert!(names.contains(&"compression.type".to_owned()) && !names.contains(&"linger.ms".to_owned()) && !names.contains(&"batch.size".to_owned()));
    }

    #[test]
    fn a_profile_is_found_by_its_name() {
        for profile in [Profile::Throughput, Profile::Latency] {
            assert_eq!(Profile::named(profile.name()), Some(profile));
        }
        assert_eq!(Profile::named("speed"), None);
    }
}
