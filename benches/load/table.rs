//! The table on the terminal, and the same as JSON.

use serde_json::{Value, json};

use super::peers::Outcome;
use super::rows::{Bar, Reading, Row};

/// The middle value, of any order.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    super::latency::quantile(&values, 0.5)
}

/// A row as taken: its readings of every repeat, and what the peers took.
pub struct Taken {
    pub row: &'static Row,
    pub repeats: Vec<Vec<Reading>>,
    pub peers: Vec<(&'static str, Outcome)>,
}

/// A reading over all repeats.
struct Line<'a> {
    first: &'a Reading,
    median: f64,
    least: f64,
    most: f64,
    bar: Option<f64>,
}

impl Taken {
    fn oha(&self) -> Option<f64> {
        self.peers.iter().find_map(|(name, outcome)| match outcome {
            Outcome::Took(us) if *name == "oha" => Some(*us),
            _ => None,
        })
    }

    fn lines(&self) -> Vec<Line<'_>> {
        let readings = self.repeats.first().map_or(&[][..], Vec::as_slice);
        let line = |(i, first): (usize, &'_ Reading)| {
            let values: Vec<f64> = self.repeats.iter().map(|r| r[i].value).collect();
            let bar = match readings[i].bar {
                Some(Bar::AtMost(bar)) => Some(bar),
                Some(Bar::TimesOha(times)) => self.oha().map(|us| us * times),
                None => None,
            };
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (i, first.what, median(values), least, most, bar)
        };
        let lines = readings.iter().enumerate().map(line);
        lines
            .map(|(i, _, median, least, most, bar)| Line { first: &readings[i], median, least, most, bar })
            .collect()
    }

    /// Print the row: a line a reading, a line a peer, notes below.
    pub fn print(&self) {
        for line in self.lines() {
            let Reading { what, unit, note, .. } = line.first;
            let (bar, ratio, verdict) = match line.bar {
                // A bar of nothing has no ratio.
                Some(bar) if bar == 0.0 => (number(bar), String::new(), line.median <= bar),
                Some(bar) => (number(bar), format!("{:.2}", line.median / bar), line.median <= bar),
                None => (String::from("-"), String::new(), true),
            };
            let verdict = if line.bar.is_none() {
                ""
            } else if verdict {
                "holds"
            } else {
                "MISSED"
            };
            let range = if self.repeats.len() > 1 {
                format!("{} to {}", number(line.least), number(line.most))
            } else {
                String::new()
            };
            println!(
                "{what:<30} {:>9} {unit:<3} {bar:>8} {ratio:>6} {verdict:<7} {range}",
                number(line.median)
            );
            if !note.is_empty() {
                println!("    {note}");
            }
        }
        let ours = self.lines().first().map_or(f64::NAN, |l| l.median);
        for (name, outcome) in &self.peers {
            match outcome {
                Outcome::NotInstalled => println!("    {name:<26} not installed"),
                Outcome::Took(us) => {
                    println!("    {name:<26} {:>9} us   plimsoll takes {:.2} x of it", number(*us), ours / us)
                }
                Outcome::Failed(why) => println!("    {name:<26} failed: {why}"),
            }
        }
    }

    /// Every reading of every repeat.
    pub fn json(&self) -> Value {
        let readings: Vec<Value> = self
            .lines()
            .iter()
            .enumerate()
            .map(|(i, line)| {
                let values: Vec<f64> = self.repeats.iter().map(|r| r[i].value).collect();
                let notes: Vec<&str> = self.repeats.iter().map(|r| r[i].note.as_str()).collect();
                json!({
                    "what": line.first.what, "unit": line.first.unit, "bar": line.bar,
                    "median": line.median, "values": values, "notes": notes,
                    "holds": line.bar.map(|bar| line.median <= bar),
                })
            })
            .collect();
        let peers: serde_json::Map<String, Value> = self
            .peers
            .iter()
            .map(|(name, outcome)| {
                let value = match outcome {
                    Outcome::NotInstalled => json!("not installed"),
                    Outcome::Took(us) => json!({ "us": us }),
                    Outcome::Failed(why) => json!({ "failed": why }),
                };
                ((*name).to_owned(), value)
            })
            .collect();
        json!({ "row": self.row.name, "readings": readings, "peers": peers })
    }
}

/// What stands above the columns that [`Taken::print`] fills.
pub fn print_header() {
    println!(
        "{:<30} {:>9} {:<3} {:>8} {:>6} {:<7} least to most of the repeats",
        "row (median)", "value", "", "bar", "of bar", ""
    );
}

/// Three significant digits.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}
