//! What was read beside a cell's requests: the server's own figures, and those of its machine.

/// What a reading's value means over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadingKind {
    /// Only grows, but for a restart of who counts.
    Counter,
    Gauge,
    /// A part of a histogram: `…_bucket`, `…_sum` or `…_count`, each of which only grows.
    Histogram,
    /// A part of a summary: a quantile, `…_sum` or `…_count`.
    Summary,
    /// Who told it didn't say.
    Unknown,
}

impl ReadingKind {
    /// The word for it in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "unknown",
        }
    }
}

/// One value of one series, as a source tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Such as `vllm:num_requests_running`.
    pub name: String,
    /// What tells series of one name apart, as Prometheus writes it between its braces:
    /// `engine="0",model_name="m"`. Empty for none. See [`labels`].
    pub labels: String,
    pub kind: ReadingKind,
    /// In the unit that the name says.
    pub value: f64,
}

impl Reading {
    /// A gauge. Values of labels are escaped as needed.
    #[must_use]
    pub fn gauge(name: &str, labels: &[(&str, &str)], value: f64) -> Self {
        Self { name: name.to_owned(), labels: self::labels(labels), kind: ReadingKind::Gauge, value }
    }

    /// A counter. Values of labels are escaped as needed.
    #[must_use]
    pub fn counter(name: &str, labels: &[(&str, &str)], value: f64) -> Self {
        Self { kind: ReadingKind::Counter, ..Self::gauge(name, labels, value) }
    }
}

/// Labels as [`Reading::labels`] has them.
#[must_use]
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let all: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    all.join(",")
}

/// All that was read beside one cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Names of the sources; others name them by their place here.
    pub sources: Vec<String>,
    /// Each time that a source told something, in order.
    pub looks: Vec<ObservedLook>,
    /// Every series that came up.
    pub series: Vec<ObservedSeries>,
    /// What a person should know, a sentence each: such as that a source could not be read.
    pub notes: Vec<String>,
    /// CPU time that the reading took, in microseconds.
    pub cpu_us: u64,
}

/// One time that one source was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedLook {
    /// The middle between asking and answer, in microseconds since the cell's epoch: below 0 before
    /// it.
    pub at_us: i64,
    /// Place in [`Observed::sources`].
    pub source: usize,
}

/// One series of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedSeries {
    /// Place in [`Observed::sources`].
    pub source: usize,
    pub name: String,
    /// As [`Reading::labels`].
    pub labels: String,
    pub kind: ReadingKind,
    /// Only where it changed: the look at which it had this value first. `None`: it was not told
    /// any more.
    pub changes: Vec<(usize, Option<f64>)>,
}

impl Observed {
    /// Every value of a series, one for each look in which it was told: time in microseconds since
    /// the cell's epoch, and value.
    pub fn values<'a>(&'a self, series: &'a ObservedSeries) -> impl Iterator<Item = (i64, f64)> + 'a {
        let mut changes = series.changes.iter().peekable();
        let mut now = None;
        let looks = self.looks.iter().enumerate().filter(|(_, look)| look.source == series.source);
        looks.filter_map(move |(i, look)| {
            while let Some((_, value)) = changes.next_if(|(at, _)| *at <= i) {
                now = *value;
            }
            now.map(|value| (look.at_us, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_a_value_for_each_look_in_which_it_was_told() {
        let look = |at_us, source| ObservedLook { at_us, source };
        let series = |changes| ObservedSeries {
            source: 1,
            name: "x".into(),
            labels: String::new(),
            kind: ReadingKind::Gauge,
            changes,
        };
        let observed = Observed {
            sources: vec!["a".into(), "b".into()],
            looks: vec![look(-5, 0), look(-4, 1), look(10, 0), look(11, 1), look(21, 1), look(31, 1)],
            ..Observed::default()
        };
        let one = series(vec![(1, Some(2.0)), (4, None), (5, Some(7.0))]);
        assert_eq!(observed.values(&one).collect::<Vec<_>>(), [(-4, 2.0), (11, 2.0), (31, 7.0)]);
        let late = series(vec![(4, Some(f64::INFINITY))]);
        assert_eq!(observed.values(&late).count(), 2);
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(labels(&[("a", "x\"\\\n"), ("b", "y")]), "a=\"x\\\"\\\\\\n\",b=\"y\"");
        assert_eq!(Reading::gauge("g", &[], 1.0).labels, "");
    }
}
