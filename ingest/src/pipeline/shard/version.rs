//! The versions of the definition that a shard has run: each open record knows under which of them it began.

use std::sync::Arc;

/// One of a shard's versions. Two bytes, which fit into the room that an open record has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionId(u16);

/// All versions so far, each once. A version is a few bytes and comes when somebody deploys, so none is forgotten.
#[derive(Debug)]
pub(crate) struct Versions {
    texts: Vec<Arc<str>>,
    current: VersionId,
}

impl Versions {
    /// The version that the shard begins with.
    pub(crate) fn new(first: &Arc<str>) -> Self {
        Self { texts: vec![Arc::clone(first)], current: VersionId(0) }
    }

    /// The version under which executions begin.
    #[inline]
    pub(crate) fn current(&self) -> VersionId {
        self.current
    }

    /// Makes `version` the current one; `false`, with nothing changed, when there have been 65,536 others.
    pub(crate) fn add(&mut self, version: &str) -> bool {
        let known = self.texts.iter().position(|text| **text == *version);
        let Ok(id) = u16::try_from(known.unwrap_or(self.texts.len())) else { return false };
        if known.is_none() {
            self.texts.push(Arc::from(version));
        }
        self.current = VersionId(id);
        true
    }

    /// A version as headers name it.
    #[inline]
    pub(crate) fn text(&self, id: VersionId) -> &Arc<str> {
        &self.texts[usize::from(id.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_comes_back_is_the_same_one() {
        let mut versions = Versions::new(&Arc::from("a"));
        let first = versions.current();
        assert!(versions.add("b"));
        let second = versions.current();
        assert!(versions.add("a"));
        assert_eq!(versions.current(), first);
        assert_eq!((&**versions.text(first), &**versions.text(second)), ("a", "b"));
    }

    #[test]
    fn there_are_65_536_versions_at_most() {
        let mut versions = Versions::new(&Arc::from("0"));
        versions.texts.extend((1..u16::MAX).map(|number| Arc::from(number.to_string())));
        assert!(versions.add("65535"));
        let last = versions.current();
        assert!(!versions.add("one too many"));
        assert_eq!((versions.current(), &**versions.text(last)), (last, "65535"));
        assert!(versions.add("0"));
    }
}
