//! A table of plain text.

/// Where a column's text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Rows as lines, the first as the head with a rule below it. Every line ends in a newline.
pub(super) fn table(sides: &[Side], rows: &[Vec<String>]) -> String {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..sides.len()).map(width).collect();
    let mut out = String::new();
    for (n, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(sides.iter().zip(&widths));
        let line: Vec<String> = cells
            .map(|(text, (side, w))| match side {
                Side::Left => format!("{text:<w$}"),
                Side::Right => format!("{text:>w$}"),
            })
            .collect();
        out.push_str(&format!("  {}\n", line.join("  ").trim_end()));
        if n == 0 {
            let whole = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
            out.push_str(&format!("  {}\n", "─".repeat(whole)));
        }
    }
    out
}
