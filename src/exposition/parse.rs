//! Reads Prometheus' text form 0.0.4 and OpenMetrics 1.0.

use crate::record::{Reading, ReadingKind};

/// Endings of the series that belong to one family.
const ENDINGS: [&str; 8] = ["_total", "_bucket", "_sum", "_count", "_created", "_info", "_gsum", "_gcount"];
/// Characters of a line that is told.
const TOLD: usize = 60;

/// What a text holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// In the order of the text. Samples' own time stamps and exemplars are left out.
    pub readings: Vec<Reading>,
    /// The first line that can't be read: its number, from 1, and its beginning. The others are
    /// read all the same.
    pub bad: Option<(usize, String)>,
}

/// Read a text. Names in quotes, as Prometheus 3 writes those of other than ASCII letters, are
/// understood too.
#[must_use]
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut family = ("", ReadingKind::Unknown);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            if let Some(told) = comment.trim_start().strip_prefix("TYPE ") {
                family = type_of(told);
            }
            if comment.trim() == "EOF" {
                break;
            }
        } else if !line.is_empty() {
            match sample(line) {
                Some((name, labels, value)) => parsed.readings.push(Reading {
                    name: name.to_owned(),
                    labels: labels.to_owned(),
                    kind: kind_of(name, family),
                    value,
                }),
                None if parsed.bad.is_none() => {
                    parsed.bad = Some((number + 1, line.chars().take(TOLD).collect()));
                }
                None => {}
            }
        }
    }
    parsed
}

/// `name kind` of a line of type.
fn type_of(told: &str) -> (&str, ReadingKind) {
    let mut words = told.split_whitespace();
    let name = words.next().unwrap_or_default().trim_matches('"');
    let kind = match words.next() {
        Some("counter") => ReadingKind::Counter,
        Some("gauge" | "info" | "stateset") => ReadingKind::Gauge,
        Some("histogram" | "gaugehistogram") => ReadingKind::Histogram,
        Some("summary") => ReadingKind::Summary,
        _ => ReadingKind::Unknown,
    };
    (name, kind)
}

/// The kind of a series after the line of type of this family.
fn kind_of(name: &str, (family, kind): (&str, ReadingKind)) -> ReadingKind {
    match name.strip_prefix(family) {
        // When a counter was made is no count.
        Some("_created") => ReadingKind::Gauge,
        Some(ending) if ending.is_empty() || ENDINGS.contains(&ending) => kind,
        _ => ReadingKind::Unknown,
    }
}

/// Name, labels without their braces, and value of a line such as
/// `name{label="a b"} 1.5 1700000000 # {trace_id="1"} 0.5`.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let (name, labels, rest) = if let Some(rest) = line.strip_prefix('{') {
        // The name in quotes is the first thing between the braces.
        let end = labels_end(rest)?;
        let (inside, after) = (rest[..end].trim(), &rest[end + 1..]);
        let quoted = inside.strip_prefix('"')?;
        let close = closing_quote(quoted)?;
        let labels = quoted[close + 1..].trim_start().trim_start_matches(',');
        (&quoted[..close], labels, after)
    } else {
        let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
        let (name, rest) = line.split_at(end);
        if !is_name(name) {
            return None;
        }
        match rest.trim_start().strip_prefix('{') {
            Some(inside) => {
                let end = labels_end(inside)?;
                (name, &inside[..end], &inside[end + 1..])
            }
            None => (name, "", rest),
        }
    };
    let labels = labels.trim().trim_end_matches(',').trim_end();
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    // A time stamp, or an exemplar, may follow; nothing else.
    let rest_fits = match words.next() {
        None => true,
        Some(word) => word.starts_with('#') || word.parse::<f64>().is_ok(),
    };
    (rest_fits && !name.is_empty()).then_some((name, labels, value))
}

fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    name.bytes().all(fits) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// Where labels end: at the first `}` that is not inside a quoted value.
fn labels_end(labels: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Where the value that a quote opened ends.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// The labels of a [`Reading`] as names and values, escapes undone.
pub fn label_pairs(labels: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = labels;
    std::iter::from_fn(move || {
        let (name, after) = rest.split_once('=')?;
        let value = after.trim_start().strip_prefix('"')?;
        let end = closing_quote(value)?;
        rest = value[end + 1..].trim_start().trim_start_matches(',').trim_start();
        Some((name.trim().trim_matches('"'), unescaped(&value[..end])))
    })
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some(c @ ('\\' | '"')) => out.push(c),
                // Not an escape that is known: it stays as it is.
                Some(c) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            (c, false) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReadingKind::{Counter, Gauge, Histogram, Summary, Unknown};

    fn read(text: &str) -> Vec<(String, String, ReadingKind, f64)> {
        let parsed = parse(text);
        assert_eq!(parsed.bad, None, "{text}");
        parsed.readings.into_iter().map(|r| (r.name, r.labels, r.kind, r.value)).collect()
    }

    fn row(name: &str, labels: &str, kind: ReadingKind, value: f64) -> (String, String, ReadingKind, f64) {
        (name.into(), labels.into(), kind, value)
    }

    #[test]
    fn every_form_of_a_sample() {
        let text = "# HELP a_total Help with \\n and \"quotes\".\n# TYPE a_total counter\n\
            a_total 1\na_total{x=\"y\"} 2.5e3 1700000000000\n  a_total{ x = \"} \\\" \\\\\" , } +Inf  \n\n\
            # TYPE h histogram\nh_bucket{le=\"+Inf\"} 3 # {trace_id=\"1\"} 0.5 1.0\nh_sum NaN\nh_count 3\n\
            # TYPE s summary\ns{quantile=\"0.5\"} -Inf\n# just words\nalone{} 7\n{\"with.dots\",a=\"b\"} 8\n";
        let rows = read(text);
        assert_eq!(
            rows[..4],
            [
                row("a_total", "", Counter, 1.0),
                row("a_total", "x=\"y\"", Counter, 2500.0),
                row("a_total", "x = \"} \\\" \\\\\"", Counter, f64::INFINITY),
                row("h_bucket", "le=\"+Inf\"", Histogram, 3.0),
            ]
        );
        assert!(rows[4].0 == "h_sum" && rows[4].3.is_nan());
        assert_eq!(
            rows[5..],
            [
                row("h_count", "", Histogram, 3.0),
                row("s", "quantile=\"0.5\"", Summary, f64::NEG_INFINITY),
                row("alone", "", Unknown, 7.0),
                row("with.dots", "a=\"b\"", Unknown, 8.0),
            ]
        );
    }

    #[test]
    fn open_metrics_names_its_family_without_the_ending() {
        let text = "# TYPE c counter\n# UNIT c seconds\nc_total 1\nc_created 1.7e9\n# TYPE i info\n\
            i_info{v=\"1\"} 1\n# TYPE c_other gauge\nc_other 2\n# EOF\nafter the end\n";
        assert_eq!(
            read(text),
            [
                row("c_total", "", Counter, 1.0),
                row("c_created", "", Gauge, 1.7e9),
                row("i_info", "v=\"1\"", Gauge, 1.0),
                row("c_other", "", Gauge, 2.0),
            ]
        );
    }

    #[test]
    fn labels_are_taken_apart() {
        let pairs: Vec<_> = label_pairs("a=\"x,\\\"}\\\\\\n\", b = \"é=1\",\"c.d\"=\"\\t\"").collect();
        let want = [("a", "x,\"}\\\n"), ("b", "é=1"), ("c.d", "\\t")];
        assert_eq!(pairs, want.map(|(n, v)| (n, v.to_owned())));
        assert_eq!(label_pairs("").count(), 0);
        assert_eq!(label_pairs("broken=1").count(), 0);
    }

    #[test]
    fn lines_that_cannot_be_read_are_told_and_the_others_are_read() {
        for bad in ["<html>", "9a 1", "a", "a{b=\"c\" 1", "a b", "a 1 x", "{} 1", "{\"\"} 1", "a-b 2"] {
            let parsed = parse(&format!("x 1\n{bad}\ny 2\n"));
            assert_eq!(parsed.bad, Some((2, bad.to_owned())), "{bad}");
            assert_eq!(parsed.readings.len(), 2, "{bad}");
        }
    }

    /// What real servers answered.
    #[test]
    fn real_answers() {
        let body = |file: &str| {
            let path = format!("{}/tests/testdata/metrics/{file}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        };
        let llama = read(&body("llama-server.txt"));
        assert_eq!(llama.len(), 15);
        assert!(llama.contains(&row("llamacpp:prompt_seconds_total", "", Counter, 0.10386)));
        let vllm = read(&body("vllm.txt"));
        assert_eq!(vllm.len(), 19);
        assert!(vllm.iter().all(|(_, _, kind, _)| *kind != Unknown));
        let labels = "engine=\"0\",model_name=\"tiny\"";
        assert!(vllm.contains(&row("vllm:estimated_flops_per_gpu_total", labels, Counter, 0.0)));
    }
}
