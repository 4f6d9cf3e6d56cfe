//! Small samples, summed up.

/// A sample in ascending order.
pub struct Sample(Vec<f64>);

impl Sample {
    /// Takes measurements in any order; at least one.
    pub fn new(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a sample has measurements");
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The smallest value that at least this share (0 to 1) of the sample does not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    /// The middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}
