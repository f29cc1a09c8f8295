//! Tables as Go's `text/tabwriter` sets them, since scripts cut ctr's by columns.

use std::fmt;

/// How wide cells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The least width of a cell, spaces behind it included.
    pub(crate) least: usize,
    /// Spaces behind the widest cell of a column.
    pub(crate) gap: usize,
    /// How the last column is set.
    pub(crate) last: Last,
}

/// How the last column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// As it is: lines end with their text.
    Ragged,
    /// Filled up with spaces, as where ctr writes a tab at the end of each line.
    Filled,
    /// Filled up in the head alone, where ctr writes that tab only there. The column's other cells
    /// are then not part of it, and do not make it wider.
    FilledHead,
}

impl Layout {
    /// ctr's most common one: `tabwriter.NewWriter(os.Stdout, 4, 8, 4, ' ', 0)`.
    pub(crate) const WIDE: Self = Self { least: 4, gap: 4, last: Last::Filled };
    /// ctr's other one: `tabwriter.NewWriter(os.Stdout, 1, 8, 1, ' ', 0)`.
    pub(crate) const NARROW: Self = Self { least: 1, gap: 1, last: Last::Filled };

    /// Returns the same layout with lines that end with their text.
    pub(crate) const fn ragged(self) -> Self {
        Self { last: Last::Ragged, ..self }
    }
}

/// Lines of cells. `Display` sets them.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    layout: Layout,
    lines: Vec<Vec<String>>,
}

impl Table {
    /// Begins a table with its head; an empty head is left out.
    pub(crate) fn new(layout: Layout, head: &[&str]) -> Self {
        let mut lines = Vec::new();
        if !head.is_empty() {
            lines.push(head.iter().map(|&cell| cell.to_owned()).collect());
        }
        Self { layout, lines }
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, cells: Vec<String>) {
        self.lines.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or(0);
        let width_of = |column: usize| {
            let head_only = self.layout.last == Last::FilledHead && column + 1 == columns;
            let lines = &self.lines[..if head_only { 1 } else { self.lines.len() }];
            let widest = lines.iter().filter_map(|line| line.get(column));
            let widest = widest.map(|cell| cell.chars().count()).max().unwrap_or(0);
            (widest + self.layout.gap).max(self.layout.least)
        };
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        for (number, line) in self.lines.iter().enumerate() {
            let ragged = match self.layout.last {
                Last::Ragged => true,
                Last::Filled => false,
                Last::FilledHead => number > 0,
            };
            for (column, cell) in line.iter().enumerate() {
                if column + 1 == line.len() && ragged {
                    f.write_str(cell)?;
                } else {
                    write!(f, "{cell:<width$}", width = widths[column])?;
                }
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(Layout::NARROW.ragged(), &["NAME", "LABELS"]);
        table.add(vec!["default".into(), "a=b".into()]);
        table.add(vec!["x".into(), String::new()]);
        assert_eq!(table.to_string(), "NAME    LABELS\ndefault a=b\nx       \n");
    }

    #[test]
    fn the_last_column_may_be_filled_in_the_head_alone() {
        let mut table = Table::new(Layout { last: Last::FilledHead, ..Layout::WIDE }, &["A", "B"]);
        table.add(vec!["x".into(), "long enough".into()]);
        assert_eq!(table.to_string(), "A    B    \nx    long enough\n");
    }

    #[test]
    fn the_last_column_may_be_filled() {
        let mut table = Table::new(Layout::WIDE, &["CONTAINER", "IMAGE"]);
        table.add(vec!["c".into(), "-".into()]);
        assert_eq!(table.to_string(), "CONTAINER    IMAGE    \nc            -        \n");
    }
}
