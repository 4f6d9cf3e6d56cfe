//! How listings are printed.

use super::{Done, Failure};
use clap::ValueEnum;
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// Flags of every listing.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Output {
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORM")]
    pub(super) output: Form,
    /// Leave the headings of tables out
    #[arg(long)]
    pub(super) no_headers: bool,
}

/// Form of the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Form {
    /// For people
    Table,
    /// JSON with stable names
    Json,
    /// YAML with the same names
    Yaml,
}

impl Output {
    /// Prints a value in the form asked for; `table` gives headings and rows.
    pub(super) fn print<T: Serialize>(
        self,
        value: &T,
        table: impl FnOnce() -> (Vec<&'static str>, Vec<Vec<String>>),
    ) -> Done {
        if self.output != Form::Table {
            return self.data(value);
        }
        let (headings, rows) = table();
        let headings: Vec<String> = headings.into_iter().map(String::from).collect();
        let all: Vec<Vec<String>> = (!self.no_headers).then_some(headings).into_iter().chain(rows).collect();
        put(&columns(&all))
    }

    /// Prints a value as JSON or YAML.
    pub(super) fn data<T: Serialize>(self, value: &T) -> Done {
        let text = match self.output {
            Form::Yaml => serde_saphyr::to_string(value).map_err(|e| Failure::Problem(e.to_string()))?,
            _ => serde_json::to_string_pretty(value).map_err(|e| Failure::Problem(e.to_string()))? + "\n",
        };
        put(&text)
    }
}

/// Writes to standard output; a reader that has gone away (`| head`) is no failure.
pub(super) fn put(text: &str) -> Done {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Problem(format!("standard output: {e}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Lays rows out in columns, three blanks between them and none at the end of a line.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}   "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["ID".into(), "Frontend".into(), "X".into()], vec!["10".into(), "é".into(), String::new()]];
        assert_eq!(columns(&rows), "ID   Frontend   X\n10   é\n");
    }
}
