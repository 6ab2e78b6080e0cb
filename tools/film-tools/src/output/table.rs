//! Plain tables, and numbers as people read them.

use std::io::Write;

use film_picture::text::{fit, width};

use crate::printer::{BOLD, label, terminal_columns};

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table whose columns are as wide as their widest cell.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [(String, Align); N],
    /// `None` is a rule.
    rows: Vec<Option<[String; N]>>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: &[(&str, Align); N]) -> Self {
        Self { columns: columns.map(|(name, align)| (name.into(), align)), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(Some(cells.map(|cell| label(&cell))));
    }

    pub(crate) fn rule(&mut self) {
        self.rows.push(None);
    }

    /// Prints the table. On a terminal that is narrower, the first column gives way, if that is enough.
    pub(crate) fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        self.print_within(out, terminal_columns().unwrap_or(usize::MAX))
    }

    /// Prints the table in `columns`: what does not fit into the first column is broken behind dots, the last line of it
    /// beside the other cells.
    pub(crate) fn print_wrapped(
        &self,
        out: &mut impl Write,
        columns: usize,
    ) -> std::io::Result<()> {
        let mut widths = self.widths();
        let others = widths[1..].iter().map(|width| width + 2).sum::<usize>();
        widths[0] = widths[0].min(columns.saturating_sub(others).max(12));
        writeln!(out, "{BOLD}{}{BOLD:#}", line(&self.names(), &widths, &self.columns))?;
        for row in self.rows.iter().flatten() {
            let mut cells = row.clone();
            // A line that stands alone may go on under the other columns.
            let alone = cells[1..].iter().all(String::is_empty);
            let mut lines = wrap(&row[0], if alone { columns } else { widths[0] });
            cells[0] = lines.pop().unwrap_or_default();
            for above in lines {
                writeln!(out, "{above}")?;
            }
            match alone {
                true => writeln!(out, "{}", cells[0])?,
                false => writeln!(out, "{}", line(&cells, &widths, &self.columns))?,
            }
        }
        Ok(())
    }

    fn names(&self) -> [String; N] {
        std::array::from_fn(|column| self.columns[column].0.clone())
    }

    /// The widest cell of each column.
    fn widths(&self) -> [usize; N] {
        std::array::from_fn(|column| {
            let cells = self.rows.iter().flatten().map(|row| width(&row[column]));
            cells.chain([width(&self.columns[column].0)]).max().unwrap_or(0)
        })
    }

    fn print_within(&self, out: &mut impl Write, columns: usize) -> std::io::Result<()> {
        let mut widths = self.widths();
        let excess = (widths.iter().sum::<usize>() + 2 * (N - 1)).saturating_sub(columns);
        let room = widths[0].saturating_sub(excess);
        if room >= widths[0].min(12) {
            widths[0] = room;
        }
        writeln!(out, "{BOLD}{}{BOLD:#}", line(&self.names(), &widths, &self.columns))?;
        for row in &self.rows {
            match row {
                Some(cells) => writeln!(out, "{}", line(cells, &widths, &self.columns))?,
                None => {
                    writeln!(out, "{}", "─".repeat(widths.iter().sum::<usize>() + 2 * (N - 1)))?;
                }
            }
        }
        Ok(())
    }
}

/// The cells of a row in columns of these widths.
fn line<const N: usize>(
    cells: &[String; N],
    widths: &[usize; N],
    columns: &[(String, Align); N],
) -> String {
    let cell = |column: usize| {
        let (columns, align) = (widths[column], columns[column].1);
        pad(&fit(&cells[column], columns), columns, align)
    };
    let text: Vec<String> = (0..N).map(cell).collect();
    text.join("  ").trim_end().to_string()
}

fn pad(text: &str, columns: usize, align: Align) -> String {
    let space = " ".repeat(columns.saturating_sub(width(text)));
    match align {
        Align::Left => format!("{text}{space}"),
        Align::Right => format!("{space}{text}"),
    }
}

/// A dotted name in lines no wider than `columns`, broken behind dots; later lines keep the first one's
/// indentation and four columns more. A segment that is wider still loses its middle.
pub(crate) fn wrap(name: &str, columns: usize) -> Vec<String> {
    if width(name) <= columns {
        return vec![name.into()];
    }
    let indent = name.len() - name.trim_start().len();
    let mut lines = vec![String::new()];
    for segment in name.split_inclusive('.') {
        let last = lines.len() - 1;
        if width(&lines[last]) + width(segment) > columns && !lines[last].trim().is_empty() {
            lines.push(" ".repeat(indent + 4));
        }
        let last = lines.len() - 1;
        lines[last].push_str(segment);
    }
    lines.iter().map(|line| fit(line, columns)).collect()
}

/// A count with its thousands set apart.
pub(crate) fn number(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

/// Bytes in the unit that keeps three digits.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [number(0), number(999), number(1000), number(16790528)],
            ["0", "999", "1,000", "16,790,528"]
        );
        assert_eq!(
            [size(0), size(1023), size(1024), size(148816)],
            ["0 B", "1023 B", "1.00 KiB", "145 KiB"]
        );
        assert_eq!([size(1023 * 1024), size(u64::MAX)], ["1.00 MiB", "16.0 EiB"]);
    }

    #[test]
    fn names_are_cut_only_where_that_makes_the_table_fit() {
        let mut table = Table::new(&[("name", Align::Left), ("count", Align::Right)]);
        table.row(["a.very.long.name.of.a.layer".into(), "1,000,000,000,000".into()]);
        let print = |columns| {
            let mut out = vec![];
            table.print_within(&mut out, columns).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(print(usize::MAX).contains("a.very.long.name.of.a.layer"));
        assert!(print(40).contains("…"));
        assert!(print(20).contains("a.very.long.name.of.a.layer"));
    }

    #[test]
    fn long_names_break_behind_dots() {
        assert_eq!(wrap("  ab.cd.ef", 20), ["  ab.cd.ef"]);
        assert_eq!(wrap("  ab.cd.ef", 9), ["  ab.cd.", "      ef"]);
        assert_eq!(wrap("abcdefghi.j", 8), ["abc…ghi.", "    j"]);
    }
}
