//! Columns as Go's `text/tabwriter` sets them where a [`Table`](crate::table::Table) is too regular:
//! lines of different shapes, and padding with tabs.
//!
//! A cell is what a tab ends; what follows a line's last tab belongs to no column. A column is as
//! wide as the widest of its cells in lines that follow each other.

/// What cells are filled up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Spaces: columns are at least `least` wide and `gap` apart.
    Spaces {
        /// The least width of a cell, spaces behind it included.
        least: usize,
        /// Spaces behind the widest cell.
        gap: usize,
    },
    /// Tabs, one column apart, on stops of eight.
    Tabs,
}

/// The distance of tab stops.
const STOP: usize = 8;

/// Sets lines whose cells are ended by tabs.
pub(crate) fn set(text: &str, fill: Fill) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let widths = widths(&lines, fill);
    let mut out = String::new();
    for (line, widths) in lines.iter().zip(&widths) {
        for (at, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(&width) = widths.get(at) {
                pad(&mut out, cell.chars().count(), width, fill);
            }
        }
        out.push('\n');
    }
    out
}

/// Returns the width of each ended cell of each line.
fn widths(lines: &[Vec<&str>], fill: Fill) -> Vec<Vec<usize>> {
    let (least, gap) = match fill {
        Fill::Spaces { least, gap } => (least, gap),
        Fill::Tabs => (1, 1),
    };
    let ended = |line: &Vec<&str>| line.len() - 1;
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; ended(line)]).collect();
    let columns = lines.iter().map(ended).max().unwrap_or(0);
    for column in 0..columns {
        let mut from = 0;
        while from < lines.len() {
            if ended(&lines[from]) <= column {
                from += 1;
                continue;
            }
            let run = lines[from..].iter().take_while(|line| ended(line) > column).count();
            let cells = lines[from..from + run].iter().map(|line| line[column].chars().count());
            let width = (cells.max().unwrap_or(0) + gap).max(least);
            for line in &mut widths[from..from + run] {
                line[column] = width;
            }
            from += run;
        }
    }
    widths
}

fn pad(out: &mut String, taken: usize, width: usize, fill: Fill) {
    let (with, count) = match fill {
        Fill::Spaces { .. } => (' ', width.saturating_sub(taken)),
        Fill::Tabs => {
            let width = width.div_ceil(STOP) * STOP;
            ('\t', width.saturating_sub(taken).div_ceil(STOP))
        }
    };
    out.extend(std::iter::repeat_n(with, count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_end_where_lines_lack_them() {
        let fill = Fill::Spaces { least: 1, gap: 1 };
        assert_eq!(set("A\tBB\t\nx\ty\n", fill), "A BB \nx y\n");
        assert_eq!(set("Type:\t t\n\ta\tb\n", fill), "Type:  t\n      a b\n");
    }

    #[test]
    fn tabs_reach_the_next_stop() {
        assert_eq!(
            set("REF\tSIZE\t\nlonger-one\t1B\t\n", Fill::Tabs),
            "REF\t\tSIZE\t\nlonger-one\t1B\t\n"
        );
    }
}
