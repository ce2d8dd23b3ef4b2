//! Lengths that a file gives: what empirical distributions are drawn from.
//!
//! The file is a number a line, or a CSV whose header names the column of the lengths and, if
//! it has one, that of their weights.

/// Longest prompt or answer that can be asked for, in tokens.
pub const MAX_TOKENS: u32 = 10_000_000;

/// Columns that hold weights when none is named.
const WEIGHTS: [&str; 2] = ["count", "weight"];

/// Lengths in tokens, each with its weight. Never empty; the weights add up to more than 0.
#[derive(Debug, Clone, PartialEq)]
pub struct LengthTable {
    lengths: Vec<u32>,
    /// The weights of this length and all before it.
    up_to: Vec<f64>,
}

/// What is wrong with a file of lengths, and in which line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", line.map(|n| format!("line {n}: ")).unwrap_or_default())]
pub struct LengthTableError {
    /// From 1; `None` where the whole file is meant.
    pub line: Option<u64>,
    pub problem: String,
}

impl LengthTableError {
    fn at(line: u64, problem: impl Into<String>) -> Self {
        Self { line: Some(line), problem: problem.into() }
    }
}

impl LengthTable {
    /// Reads the content of a file. Without `column`, a CSV has to have one column beside the
    /// weights; without `weight`, a column called `count` or `weight` holds them.
    ///
    /// # Errors
    /// When it is neither of the two forms, or holds something that is no length.
    pub fn parse(text: &str, column: Option<&str>, weight: Option<&str>) -> Result<Self, LengthTableError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let first = text.lines().map(str::trim).find(|line| is_content(line)).unwrap_or_default();
        if first.is_empty() {
            return Self::of(&[]);
        }
        let headless = first.parse::<f64>().is_ok();
        let rows = match (headless, column.or(weight)) {
            (true, Some(named)) => {
                let problem = format!("there is no column {named:?}: the file has no header");
                return Err(LengthTableError { line: None, problem });
            }
            (true, None) => plain(text)?,
            (false, _) => with_header(text, column, weight)?,
        };
        Self::of(&rows)
    }

    fn of(rows: &[(u32, f64)]) -> Result<Self, LengthTableError> {
        let mut sum = 0.0;
        let up_to: Vec<f64> = rows
            .iter()
            .map(|(_, weight)| {
                sum += weight;
                sum
            })
            .collect();
        let whole = |problem: &str| Err(LengthTableError { line: None, problem: problem.to_owned() });
        if rows.is_empty() {
            return whole("there is no length in it");
        }
        if sum <= 0.0 || !sum.is_finite() {
            return whole("the weights don't add up to a number above 0");
        }
        Ok(Self { lengths: rows.iter().map(|(length, _)| *length).collect(), up_to })
    }

    /// The length at `u` in [0, 1) of the weights.
    #[must_use]
    pub fn at(&self, u: f64) -> u32 {
        let total = self.up_to.last().copied().unwrap_or(1.0);
        let place = self.up_to.partition_point(|up_to| *up_to <= u * total);
        // Rounding may lead to the end, but no further than to the last that has any weight.
        let last = self.up_to.partition_point(|up_to| *up_to < total);
        self.lengths[place.min(last)]
    }

    /// The mean, by the weights.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let mut before = 0.0;
        let mut sum = 0.0;
        for (length, up_to) in self.lengths.iter().zip(&self.up_to) {
            sum += f64::from(*length) * (up_to - before);
            before = *up_to;
        }
        sum / before
    }
}

/// The line of `text` in which the record at a reader's position stands: the reader has not yet
/// left out the blank lines and comments before it.
pub(crate) fn line_of(text: &str, position: &csv::Position) -> u64 {
    let rest = usize::try_from(position.byte()).ok().and_then(|at| text.get(at..)).unwrap_or_default();
    position.line() + rest.lines().take_while(|line| !is_content(line.trim())).count() as u64
}

fn is_content(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

/// A number a line.
fn plain(text: &str) -> Result<Vec<(u32, f64)>, LengthTableError> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| is_content(line)).map(|(n, line)| Ok((length(n, line)?, 1.0))).collect()
}

fn length(line: u64, text: &str) -> Result<u32, LengthTableError> {
    let found = text.trim();
    match found.parse::<u32>() {
        Ok(tokens) if (1..=MAX_TOKENS).contains(&tokens) => Ok(tokens),
        _ => {
            let problem = format!("not a length in tokens; found {found:?}. Allowed: 1 to {MAX_TOKENS}");
            Err(LengthTableError::at(line, problem))
        }
    }
}

fn with_header(
    text: &str,
    column: Option<&str>,
    weight: Option<&str>,
) -> Result<Vec<(u32, f64)>, LengthTableError> {
    let broken = |e: csv::Error| {
        let line = e.position().map(|position| line_of(text, position));
        LengthTableError { line, problem: format!("not CSV: {e}") }
    };
    let mut reader =
        csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().map_err(broken)?.iter().map(str::to_owned).collect();
    let (column, weight) = columns(&header, column, weight)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(0, |position| line_of(text, position));
        let tokens = length(line, record.get(column).unwrap_or_default())?;
        let weight = match weight {
            None => 1.0,
            Some(place) => {
                let found = record.get(place).unwrap_or_default();
                let weight = found.parse::<f64>().ok().filter(|w| w.is_finite() && *w >= 0.0);
                weight.ok_or_else(|| {
                    let problem = format!("not a weight; found {found:?}. Allowed: a number, 0 or more");
                    LengthTableError::at(line, problem)
                })?
            }
        };
        rows.push((tokens, weight));
    }
    Ok(rows)
}

/// Places of the lengths and of the weights.
fn columns(
    header: &[String],
    column: Option<&str>,
    weight: Option<&str>,
) -> Result<(usize, Option<usize>), LengthTableError> {
    let listed = || header.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let wrong = |problem: String| LengthTableError { line: None, problem };
    let find = |name: &str| {
        let place = header.iter().position(|found| found == name);
        place.ok_or_else(|| wrong(format!("there is no column {name:?}; there are {}", listed())))
    };
    let usual = |(_, name): &(usize, &String)| WEIGHTS.contains(&name.to_lowercase().as_str());
    let weight = match weight {
        Some(name) => Some(find(name)?),
        None => {
            let found = header.iter().enumerate().find(usual).map(|(place, _)| place);
            // What holds the lengths holds no weights.
            found.filter(|place| column != Some(header[*place].as_str()))
        }
    };
    if let Some(name) = column {
        return Ok((find(name)?, weight));
    }
    match (0..header.len()).filter(|place| Some(*place) != weight).collect::<Vec<_>>()[..] {
        [only] => Ok((only, weight)),
        _ => Err(wrong(format!("column = \"…\" has to say which holds the lengths; there are {}", listed()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, column: Option<&str>, weight: Option<&str>) -> Result<LengthTable, String> {
        LengthTable::parse(text, column, weight).map_err(|e| e.to_string())
    }

    #[test]
    fn lines_of_numbers_and_tables() {
        let plain = parse("# prompts\n10\n\n 20 \r\n30\n", None, None).unwrap();
        assert_eq!((plain.mean(), plain.at(0.0), plain.at(0.5), plain.at(0.999)), (20.0, 10, 20, 30));
        let one = parse("tokens\n5\n7\n", None, None).unwrap();
        assert_eq!(one.mean(), 6.0);
        let weighted = parse("\u{feff}tokens,count\n10,3\n50,1\n90,0\n", None, None).unwrap();
        assert_eq!((weighted.mean(), weighted.at(0.74), weighted.at(0.76)), (20.0, 10, 50));
        assert_eq!(weighted.at(1.0 - f64::EPSILON / 2.0), 50, "what has no weight is never drawn");
        let text = "id,in,out,share\na,1,4,0.5\nb,3,8,1.5\n";
        assert_eq!(parse(text, Some("out"), Some("share")).unwrap().mean(), 7.0);
        assert_eq!(parse(text, Some("in"), None).unwrap().mean(), 2.0);
        assert_eq!(parse("count\n4\n6\n", Some("count"), None).unwrap().mean(), 5.0);
    }

    #[test]
    fn mistakes_name_line_and_find() {
        for (text, column, weight, part) in [
            ("10\nten\n", None, None, "line 2: not a length in tokens; found \"ten\". Allowed: 1 to "),
            ("10\n0\n", None, None, "line 2: not a length in tokens; found \"0\""),
            ("10\n20\n", Some("a"), None, "there is no column \"a\": the file has no header"),
            ("", None, None, "there is no length"),
            (
                "a,b\n1,2\n",
                None,
                None,
                "column = \"…\" has to say which holds the lengths; there are \"a\", \"b\"",
            ),
            ("a,b\n1,2\n", Some("c"), None, "there is no column \"c\"; there are \"a\", \"b\""),
            ("a,b\n1,2\n", Some("a"), Some("w"), "there is no column \"w\""),
            ("a,count\n1,2\n\n3,-1\n", None, None, "line 4: not a weight; found \"-1\""),
            ("a,count\n1,0\n", None, None, "the weights don't add up"),
            ("a,b\n1,2,3\n", Some("a"), None, "not CSV"),
            ("a\n", None, None, "there is no length"),
        ] {
            let found = parse(text, column, weight).expect_err(text);
            assert!(found.contains(part), "{text:?}: {found}");
        }
    }
}
