//! How far repeated measurements lie apart.

use std::time::Duration;

use serde_json::{Value, json};

/// Least, middle and greatest of several measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one; the mean of the two middle ones of an even number.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of `measured`.
    ///
    /// # Panics
    /// Nothing was measured.
    #[must_use]
    pub fn of(measured: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = measured.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { panic!("nothing was measured") };
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Self { min, median, max }
    }

    /// As JSON, each number with so many `decimals`.
    #[must_use]
    pub fn to_json(self, decimals: usize) -> Value {
        json!({"min": number(self.min, decimals), "median": number(self.median, decimals), "max": number(self.max, decimals)})
    }
}

/// A JSON number with so many decimals; no more digits than mean something, and no exponent.
#[must_use]
pub fn number(value: f64, decimals: usize) -> Value {
    serde_json::from_str(&format!("{value:.decimals$}")).unwrap_or(Value::Null)
}

/// `count` in `elapsed`, by the second.
#[must_use]
pub fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
    }

    #[test]
    fn numbers_have_the_digits_asked_for() {
        assert_eq!(Spread::of([1_234_567.89]).to_json(0).to_string(), r#"{"min":1234568,"median":1234568,"max":1234568}"#);
        assert_eq!(number(0.123_45, 3).to_string(), "0.123");
        assert_eq!(number(f64::NAN, 3), Value::Null);
    }
}
