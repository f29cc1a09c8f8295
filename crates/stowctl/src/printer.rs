//! Where everything that is printed goes through: data to standard output, the rest to standard
//! error.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use stowd_core::{Error, Result};

use crate::cli::Global;
use crate::table::{Layout, Table};

/// The program's output.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    format: Format,
    debug: bool,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// As tables and lines, for people.
    Text,
    /// As JSON, for programs.
    Json,
}

/// A line of a table, which is an object in JSON.
pub(crate) trait Row: Serialize {
    /// The table's columns.
    const COLUMNS: &'static [&'static str];

    /// Returns what stands in each column.
    fn cells(&self) -> Vec<String>;
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Self {
        let format = if global.json { Format::Json } else { Format::Text };
        Self { format, debug: global.debug }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Prints a table, or with `--json` an array.
    pub(crate) fn rows<R: Row>(&self, layout: Layout, rows: &[R]) -> Result<()> {
        match self.format {
            Format::Json => self.json(rows),
            Format::Text => {
                let mut table = Table::new(layout, R::COLUMNS);
                for row in rows {
                    table.add(row.cells());
                }
                self.bytes(table.to_string().as_bytes())
            }
        }
    }

    /// Prints a value as JSON, indented.
    pub(crate) fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::internal(format_args!("encode JSON: {error}")))?;
        text.push(b'\n');
        self.bytes(&text)
    }

    /// Prints a value as JSON as ctr does: indented by four spaces, safe inside HTML.
    pub(crate) fn ctr_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let mut text = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        value
            .serialize(&mut serde_json::Serializer::with_formatter(&mut text, format))
            .map_err(|error| Error::internal(format_args!("encode JSON: {error}")))?;
        self.line(for_html(&String::from_utf8_lossy(&text)))
    }

    /// Prints a line of data.
    pub(crate) fn line(&self, line: impl fmt::Display) -> Result<()> {
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// Prints a line of data without end; says whether anybody still reads.
    pub(crate) fn line_while_read(&self, line: impl fmt::Display) -> Result<bool> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Error::io("write to standard output", &error)),
            Ok(()) => Ok(true),
        }
    }

    /// Writes data as it is.
    pub(crate) fn bytes(&self, data: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(data).and_then(|()| out.flush()) {
            // The reader has seen enough, as in `… | head -n 1`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| Error::io("write to standard output", &error)),
        }
    }

    /// Prints a line about what happens.
    pub(crate) fn note(&self, line: impl fmt::Display) {
        // There is nowhere to report to that standard error is gone.
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Prints a line that only `--debug` asks for.
    pub(crate) fn debug(&self, line: impl fmt::Display) {
        if self.debug {
            self.note(line);
        }
    }

    /// Says whether people watch: progress is only drawn then.
    pub(crate) fn is_watched(&self) -> bool {
        self.format == Format::Text && io::stderr().is_terminal()
    }
}

/// Escapes what Go's encoder escapes; outside of strings JSON has none of these.
pub(crate) fn for_html(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
