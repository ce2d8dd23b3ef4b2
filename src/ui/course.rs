//! A cell's figures over time, in bounded memory.

use serde::Serialize;
use serde_json::{Map, Value};

/// Most points of a cell. When they are reached, every other one goes.
pub(super) const MOST: usize = 600;

/// Least distance of points at first, in seconds.
const STEP_S: f64 = 0.5;

/// Figures of a look that are no course: they only grow, or tell of the time itself.
const NOT_DRAWN: [&str; 2] = ["elapsed_s", "left_s"];

/// Figures over time by name, all at the same times. What isn't known at a time is null.
#[derive(Debug, Clone)]
pub(super) struct Course {
    /// Seconds since the cell's start.
    times: Vec<f64>,
    names: Vec<String>,
    /// By time, then by name; rows may be shorter than `names`, which only grows.
    rows: Vec<Vec<Option<f64>>>,
    step_s: f64,
    /// Changes whenever points go.
    pub(super) generation: u64,
}

/// Points for a page, by name.
#[derive(Debug, Serialize)]
pub(super) struct Points {
    pub generation: u64,
    /// Place of the first among all of the generation.
    pub from: usize,
    pub t: Vec<f64>,
    pub series: Map<String, Value>,
}

impl Course {
    pub(super) fn new(generation: u64) -> Self {
        Self { times: Vec::new(), names: Vec::new(), rows: Vec::new(), step_s: STEP_S, generation }
    }

    /// Add a look: every number in it, those in tables of it under `table.name`.
    pub(super) fn add(&mut self, at_s: f64, look: &Value) {
        if self.times.last().is_some_and(|last| at_s - last < self.step_s * 0.9) {
            return;
        }
        let mut row = vec![None; self.names.len()];
        self.numbers("", look, &mut row);
        self.times.push(at_s);
        self.rows.push(row);
        if self.times.len() > MOST {
            self.thin_out();
        }
    }

    fn numbers(&mut self, under: &str, look: &Value, row: &mut Vec<Option<f64>>) {
        for (name, value) in look.as_object().into_iter().flatten() {
            let path = if under.is_empty() { name.clone() } else { format!("{under}.{name}") };
            match value {
                Value::Number(number) if !NOT_DRAWN.contains(&path.as_str()) => {
                    let place = self.place(path);
                    row.resize(self.names.len().max(row.len()), None);
                    if let Some(field) = place.and_then(|place| row.get_mut(place)) {
                        *field = number.as_f64();
                    }
                }
                Value::Object(_) if under.is_empty() => self.numbers(&path, value, row),
                _ => {}
            }
        }
    }

    /// The place of a name, if there is room for it.
    fn place(&mut self, name: String) -> Option<usize> {
        const MOST_NAMES: usize = 100;
        let known = self.names.iter().position(|n| *n == name);
        known.or_else(|| {
            (self.names.len() < MOST_NAMES).then(|| {
                self.names.push(name);
                self.names.len() - 1
            })
        })
    }

    /// Keep every other point, and take in half as many from now on.
    fn thin_out(&mut self) {
        let mut keep = [true, false].iter().cycle();
        self.times.retain(|_| *keep.next().unwrap_or(&true));
        let mut keep = [true, false].iter().cycle();
        self.rows.retain(|_| *keep.next().unwrap_or(&true));
        self.step_s *= 2.0;
        self.generation += 1;
    }

    /// The points behind the first `from`, and all where those are of another generation.
    pub(super) fn since(&self, (generation, from): (u64, usize)) -> Points {
        let from = if generation == self.generation { from.min(self.times.len()) } else { 0 };
        let column = |i: usize| {
            let values = self.rows[from..].iter().map(|row| row.get(i).copied().flatten().into());
            Value::Array(values.collect())
        };
        Points {
            generation: self.generation,
            from,
            t: self.times[from..].to_vec(),
            series: self.names.iter().enumerate().map(|(i, name)| (name.clone(), column(i))).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_cell_needs_no_more_memory() {
        let mut course = Course::new(0);
        for i in 0..40_000 {
            let at = f64::from(i) * 0.25;
            course.add(at, &json!({ "elapsed_s": at, "sent": i, "errors": { "503": 2 } }));
            assert!(course.len() <= MOST);
        }
        let all = course.since((0, 0));
        assert!(all.t.len() > MOST / 3 && all.generation > 3, "{} points", all.t.len());
        assert!(all.t.is_sorted() && all.t[0] == 0.0);
        assert!(*all.t.last().unwrap() > 9_900.0, "it reaches to the end: {:?}", all.t.last());
        assert_eq!(all.series.keys().collect::<Vec<_>>(), ["sent", "errors.503"]);
    }

    #[test]
    fn what_is_not_known_is_null_and_names_may_come_later() {
        let mut course = Course::new(7);
        course.add(0.0, &json!({ "ttft_p50_ms": null, "in_flight": 1 }));
        course.add(1.0, &json!({ "ttft_p50_ms": 20.5, "in_flight": 2 }));
        let all = course.since((6, 9));
        assert_eq!(all.series["ttft_p50_ms"], json!([null, 20.5]));
        assert_eq!(all.series["in_flight"], json!([1.0, 2.0]));
        let new = course.since((7, 1));
        assert_eq!((new.from, new.t), (1, vec![1.0]));
    }
}
