//! A table on the terminal and the raw numbers in a file.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The outcome of one bench.
#[derive(Serialize)]
pub struct Report {
    /// Its name, and that of its file.
    pub name: &'static str,
    /// What the columns are.
    pub columns: Vec<&'static str>,
    /// One row a case, as printed.
    pub rows: Vec<Vec<String>>,
    /// Every single measurement, by case.
    pub raw: Vec<(String, Vec<f64>)>,
    /// Where the measurements are many: by case, how many of them rounded to each whole number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<(String, BTreeMap<u64, u64>)>,
    /// Kernel version, without what its builder appends.
    pub kernel: String,
    /// CPUs that this program may use.
    pub cpus: usize,
}

impl Report {
    /// An empty report.
    pub fn new(name: &'static str, columns: &[&'static str]) -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let version = |c: &char| c.is_ascii_digit() || *c == '.';
        Self {
            name,
            columns: columns.to_vec(),
            rows: Vec::new(),
            raw: Vec::new(),
            counted: Vec::new(),
            kernel: release.chars().take_while(version).collect(),
            cpus: std::thread::available_parallelism().map_or(0, Into::into),
        }
    }

    /// Keeps a case's measurements as counts.
    pub fn count(&mut self, case: String, measurements: &[f64]) {
        let mut counts = BTreeMap::new();
        for value in measurements {
            *counts.entry(value.round() as u64).or_default() += 1;
        }
        self.counted.push((case, counts));
    }

    /// Prints the table and keeps the raw results in `benches/results/NAME.json`.
    pub fn finish(&self) -> anyhow::Result<()> {
        let cell = |row: &[String], i: usize| row.get(i).map_or(0, |c| c.chars().count());
        let width = |i: usize| {
            let heading = self.columns[i].chars().count();
            self.rows.iter().map(|row| cell(row, i)).chain([heading]).max().unwrap_or(heading)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: Vec<String>| {
            let padded: Vec<String> = cells.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect();
            println!("{}", padded.join("   ").trim_end());
        };
        println!("\n{}", self.name);
        line(self.columns.iter().map(ToString::to_string).collect());
        for row in &self.rows {
            line(row.clone());
        }
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{}.json", self.name)), serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }
}
