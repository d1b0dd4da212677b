//! Header lists, as plain lists.

/// The headers of one record, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers {
    pub(crate) list: Vec<(String, Vec<u8>)>,
}

impl Headers {
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { list: Vec::with_capacity(count) }
    }

    pub(crate) fn add(&mut self, name: &str, value: &[u8]) {
        self.list.push((name.to_owned(), value.to_vec()));
    }

    pub(crate) fn prefetch(&self) {}

    pub(crate) fn value(&self, index: usize) -> Option<&[u8]> {
        self.list.get(index).map(|(_, value)| value.as_slice())
    }

    /// Only a value as long is written over, as in the service.
    pub(crate) fn overwrite(&mut self, index: usize, value: &[u8]) -> bool {
        let Some((_, old)) = self.list.get_mut(index).filter(|(_, old)| old.len() == value.len()) else { return false };
        old.copy_from_slice(value);
        true
    }
}
