//! A table on the terminal and the raw numbers in a file.

use serde::Serialize;
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
}

impl Report {
    /// An empty report.
    pub fn new(name: &'static str, columns: &[&'static str]) -> Self {
        Self { name, columns: columns.to_vec(), rows: Vec::new(), raw: Vec::new() }
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
