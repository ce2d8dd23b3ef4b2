//! A figure over the runs of an experiment: its values, its levels, and where they change.

use super::axis::{Axis, Scale, Tick};
use super::{Body, Chart, Dash, Draw, Flags, Lines, Look, Marker, Panel, Point, Series, lines, text};
use crate::analysis::history::{Course, FEW, History, PastValue};
use crate::analysis::words;
use crate::metrics::{self, Unit};

/// Most ticks of the axis of runs.
const TICKS: usize = 8;

/// A chart for each figure of a history, or several where it has more cells than panels have room:
/// a panel for each cell.
#[must_use]
pub fn history(history: &History) -> Vec<Chart> {
    history.by_metric().flat_map(|courses| of_metric(history, courses)).collect()
}

fn of_metric(history: &History, courses: &[Course]) -> Vec<Chart> {
    let Some(metric) = courses.first().map(|c| c.metric.clone()) else { return Vec::new() };
    let name = words::metric_name(&metric.metric, &metric.stat);
    let unit = metrics::metric(&metric.metric).map_or("", |m| m.unit.label());
    let panels: Vec<Panel> = courses
        .iter()
        .map(|course| Panel {
            title: if courses.len() > 1 { course.cell.clone() } else { String::new() },
            series: series(history, course),
        })
        .collect();
    let heights = lines::heights(&panels);
    let y = match metrics::metric(&metric.metric).map(|m| m.unit) {
        Some(Unit::Ms) => Axis::latency(&name, unit, &heights),
        _ => Axis::from_zero(&name, unit, &heights),
    };
    let x = runs_axis(history);
    lines::figures(panels, &|panels, id, title| {
        let shown: Vec<&Course> = courses
            .iter()
            .filter(|c| courses.len() == 1 || panels.iter().any(|p| p.title == c.cell))
            .collect();
        Chart {
            id: format!("history-{}{id}", metric.to_string().replace('_', "-")),
            title: format!("{} over the runs of {}{title}", lines::upper_first(&name), history.name),
            subtitle: format!(
                "Each point is a run, by when it began ({}); the dashed line is the level between changes.",
                history.span()
            ),
            caption: caption(history, &shown),
            body: Body::Lines(Lines { x: x.clone(), y: y.clone(), panels, references: Vec::new() }),
        }
    })
}

/// Runs by number, with the days of some of them; with times where all are of one day.
fn runs_axis(history: &History) -> Axis {
    let runs = &history.runs;
    let one_day = runs.windows(2).all(|pair| pair[0].day() == pair[1].day());
    let one_year = runs.windows(2).all(|pair| pair[0].day().get(..4) == pair[1].day().get(..4));
    let text = |i: usize| {
        let (began, day) = (runs[i].started_at.as_str(), runs[i].day());
        let short = if one_day {
            began.get(11..16)
        } else if one_year {
            day.get(5..)
        } else {
            None
        };
        short.unwrap_or(day).to_owned()
    };
    let step = runs.len().div_ceil(TICKS).max(1);
    let ticks = (0..runs.len()).step_by(step).map(|i| Tick { at: (i + 1) as f64, text: text(i) }).collect();
    let day = runs.first().map_or("", |run| run.day());
    let label = if one_day {
        format!("run, by the time it began (UTC) on {day}")
    } else if one_year {
        format!("run, by the day it began (UTC) in {}", day.get(..4).unwrap_or(day))
    } else {
        "run, by the day it began (UTC)".to_owned()
    };
    let range = (0.4, runs.len().max(1) as f64 + 0.6);
    Axis { label, unit: String::new(), scale: Scale::Linear, range, ticks }
}

/// What is drawn first lies on top.
fn series(history: &History, course: &Course) -> Vec<Series> {
    let (blue, orange) = (Look::nth(0), Look { colour: 1, dash: Dash::Dashed, marker: Marker::Diamond });
    let of = |invalid: bool| -> Vec<Point> {
        course.points.iter().filter(|p| p.invalid == invalid).map(|p| point(history, course, p)).collect()
    };
    let all = [
        ("change of level", orange, Draw::Dots, changes(history, course)),
        ("level", orange, Draw::Line, levels(course)),
        ("run", blue, Draw::LineAndMarkers, of(false)),
        ("", blue, Draw::Dots, of(true)),
    ];
    let series = |(name, look, draw, points): (&str, Look, Draw, Vec<Point>)| Series {
        name: name.to_owned(),
        look,
        draw,
        points,
    };
    all.into_iter().map(series).collect()
}

fn point(history: &History, course: &Course, past: &PastValue) -> Point {
    let run = &history.runs[past.run];
    let mut note = format!("{}, run {}", run.day(), run.id);
    if past.repeats > 1 {
        note.push_str(&format!(", mean of {} repeats", past.repeats));
    }
    if past.invalid {
        note.push_str(&format!("; INVALID: {}", text::list(&past.reasons, 2)));
    }
    if past.overloaded {
        note.push_str("; overloaded");
    }
    let spread = past.repeats > 1 && course.points.len() <= 30;
    Point {
        x: (past.run + 1) as f64,
        y: past.value,
        low: spread.then_some(past.low),
        high: spread.then_some(past.high),
        note,
        tag: String::new(),
        flags: Flags { invalid: past.invalid, overloaded: past.overloaded },
    }
}

fn plain(x: f64, y: f64) -> Point {
    Point { x, y, low: None, high: None, note: String::new(), tag: String::new(), flags: Flags::default() }
}

fn changes(history: &History, course: &Course) -> Vec<Point> {
    let point = |change: &crate::analysis::history::LevelChange| {
        let run = &history.runs[change.run];
        let effect = change.effect_text();
        let note = format!("{effect} from {} on, run {}", run.day(), run.id);
        Point { note, tag: effect, ..plain((change.run + 1) as f64, change.after) }
    };
    course.changes.iter().map(point).collect()
}

/// The means between changes, as one line with steps; nothing where there is no change.
fn levels(course: &Course) -> Vec<Point> {
    let valid: Vec<usize> = course.points.iter().filter(|p| !p.invalid).map(|p| p.run).collect();
    let (Some(&first), Some(&last)) = (valid.first(), valid.last()) else { return Vec::new() };
    let mut from = first as f64 + 1.0;
    let mut points = Vec::new();
    for change in &course.changes {
        // The step lies between the last run of the old level and the first of the new one.
        let step = change.run as f64 + 0.5;
        points.extend([plain(from, change.before), plain(step, change.before)]);
        from = step;
    }
    if let Some(change) = course.changes.last() {
        points.extend([plain(from, change.after), plain(last as f64 + 1.0, change.after)]);
    }
    points
}

fn caption(history: &History, courses: &[&Course]) -> String {
    let several = courses.len() > 1;
    let told: Vec<String> = courses
        .iter()
        .flat_map(|course| course.changes.iter().map(move |change| (course, change)))
        .map(|(course, change)| {
            let cell = if several { format!("{}: ", course.cell) } else { String::new() };
            let value = |v| words::value_with_unit(&course.metric.metric, v);
            format!(
                "{cell}{} from {} on ({} → {})",
                change.effect_text(),
                history.runs[change.run].day(),
                value(change.before),
                value(change.after)
            )
        })
        .collect();
    let valid = courses.iter().map(|c| c.valid().len()).max().unwrap_or(0);
    let mut out = match told.as_slice() {
        [] if valid < FEW => format!("{valid} valid runs are too few to tell a change from noise."),
        [] => format!("No change of level in {valid} valid runs."),
        told => format!("Changes of level: {}.", text::list(told, 4)),
    };
    if courses.iter().any(|c| c.points.iter().any(|p| p.invalid)) {
        out.push_str(" Hollow: invalid, and left out of the search for changes.");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::history::{LevelChange, PastRun};
    use crate::experiment::Quantity;

    fn value(run: usize, value: f64, invalid: bool) -> PastValue {
        PastValue {
            run,
            value,
            low: value - 1.0,
            high: value + 1.0,
            repeats: 2,
            invalid,
            overloaded: false,
            reasons: if invalid { vec!["late".to_owned()] } else { Vec::new() },
        }
    }

    fn course(cell: &str, changes: Vec<LevelChange>) -> Course {
        let points = (0..10).map(|i| value(i, if i < 5 { 100.0 } else { 120.0 }, i == 7)).collect();
        Course {
            metric: Quantity::new("ttft", "p95"),
            cell_id: cell.into(),
            cell: cell.into(),
            points,
            changes,
        }
    }

    fn past(courses: Vec<Course>) -> History {
        let run = |i: usize| PastRun {
            id: format!("r{i}"),
            started_at: format!("2026-11-{:02}T10:15:00Z", i + 1),
            plimsoll: "0.1.0".into(),
            target: "sim:".into(),
        };
        History { name: "nightly".into(), runs: (0..10).map(run).collect(), courses }
    }

    fn step() -> LevelChange {
        LevelChange { run: 5, before: 100.0, after: 120.0, effect: Some(0.2), p: 1e-9, worse: true }
    }

    #[test]
    fn a_change_is_a_tagged_point_and_a_step_and_a_sentence() {
        let charts = history(&past(vec![course("4 users", vec![step()])]));
        let [chart] = charts.as_slice() else { panic!("{} charts", charts.len()) };
        assert_eq!(chart.id, "history-ttft-p95");
        assert_eq!(
            chart.caption,
            "Changes of level: +20.0 % from 2026-11-06 on (100 ms → 120 ms). Hollow: invalid, and left out of the search for changes."
        );
        let Body::Lines(lines) = &chart.body else { panic!("no lines") };
        let series = &lines.panels[0].series;
        assert_eq!(series.iter().map(|s| s.points.len()).collect::<Vec<_>>(), [1, 4, 9, 1]);
        assert_eq!((series[0].points[0].x, series[0].points[0].tag.as_str()), (6.0, "+20.0 %"));
        assert!(series[3].points[0].flags.invalid && series[3].points[0].note.contains("late"));
        let levels: Vec<(f64, f64)> = series[1].points.iter().map(|p| (p.x, p.y)).collect();
        assert_eq!(levels, [(1.0, 100.0), (5.5, 100.0), (5.5, 120.0), (10.0, 120.0)]);
        assert_eq!(lines.x.label, "run, by the day it began (UTC) in 2026");
        assert_eq!(
            lines.x.ticks.iter().map(|t| t.text.as_str()).collect::<Vec<_>>(),
            ["11-01", "11-03", "11-05", "11-07", "11-09"]
        );
    }

    #[test]
    fn cells_have_panels_and_many_have_several_figures() {
        let names: Vec<String> = (0..8).map(|i| format!("{i} users")).collect();
        let charts = history(&past(names.iter().map(|n| course(n, Vec::new())).collect()));
        assert_eq!(
            charts.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(),
            ["history-ttft-p95-1", "history-ttft-p95-2"]
        );
        assert!(
            charts[1].caption.starts_with("No change of level in 9 valid runs."),
            "{}",
            charts[1].caption
        );
        assert!(history(&past(Vec::new())).is_empty());
    }
}
