//! The state on a screen of any size.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Axis, Block, Borders, Chart, Dataset, Gauge, GraphType, Paragraph, Row, Sparkline, Table,
};

use super::state::{Row as Finished, Sample, State};
use crate::event::{Live, Stage};
use crate::progress::text;

/// Of the two lines of a chart.
const COLOURS: [Color; 2] = [Color::Cyan, Color::Magenta];
/// From here on a chart has axes; below it is a strip of bars.
const AXES: (u16, u16) = (34, 8);
/// A screen smaller than this has words only.
const SMALLEST: (u16, u16) = (44, 12);

const KEYS: &str = "q or Ctrl-C ends and keeps, again drops what is in flight · Ctrl-Z suspends";

/// A chart: its title, its two figures now, what of each look its lines draw, and how a figure is
/// written.
struct Panel {
    title: &'static str,
    now: fn(&Live) -> [Option<String>; 2],
    lines: [fn(&Sample) -> Option<f64>; 2],
    /// Which of the two lines a strip shows, which has room for one.
    strip: usize,
    words: fn(f64) -> String,
}

const PANELS: [Panel; 6] = [
    Panel {
        title: "req/s",
        now: |live| {
            let (done, sent) = (text::rate(live.completed_rps), text::rate(live.sent_rps));
            [Some(format!("{done} done")), Some(format!("{sent} sent"))]
        },
        lines: [|s| Some(s.completed), |s| Some(s.sent)],
        strip: 0,
        words: text::rate,
    },
    Panel {
        title: "tok/s",
        now: |live| [Some(text::rate(live.output_tps)), None],
        lines: [|s| Some(s.tokens), |_| None],
        strip: 0,
        words: text::rate,
    },
    Panel {
        title: "in flight",
        now: |live| [Some(live.in_flight.to_string()), None],
        lines: [|s| Some(s.in_flight), |_| None],
        strip: 0,
        words: text::rate,
    },
    Panel {
        title: "TTFT",
        now: |live| quantiles(live.ttft_p50_ms, live.ttft_p95_ms),
        lines: [|s| s.ttft[0], |s| s.ttft[1]],
        strip: 1,
        words: text::latency,
    },
    Panel {
        title: "TPOT",
        now: |live| quantiles(live.tpot_p50_ms, live.tpot_p95_ms),
        lines: [|s| s.tpot[0], |s| s.tpot[1]],
        strip: 1,
        words: text::latency,
    },
    Panel {
        title: "E2E",
        now: |live| quantiles(live.e2e_p50_ms, live.e2e_p95_ms),
        lines: [|s| s.e2e[0], |s| s.e2e[1]],
        strip: 1,
        words: text::latency,
    },
];

fn quantiles(p50: Option<f64>, p95: Option<f64>) -> [Option<String>; 2] {
    [Some(format!("p50 {}", text::opt_ms(p50))), Some(format!("p95 {}", text::opt_ms(p95)))]
}

/// Draw all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        return words(frame, area, state);
    }
    // Of what a screen is too low for, the notices go first, then the second row of charts.
    let panels = match area.height {
        0..17 => 4,
        17..34 => 8,
        tall => (tall / 5).clamp(8, 14) * 2,
    };
    let notices = match area.height {
        0..20 => 0,
        20..34 => 3,
        tall => tall / 6,
    };
    let rows = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(panels),
        Constraint::Length(2),
        Constraint::Min(2),
        Constraint::Length(notices),
        Constraint::Length(1),
    ])
    .split(area);
    head(frame, rows[0], state);
    charts(frame, rows[1], state, if panels > 4 { 2 } else { 1 });
    health(frame, rows[2], state);
    finished(frame, rows[3], state);
    log(frame, rows[4], state);
    frame.render_widget(Paragraph::new(KEYS).style(dim()), rows[5]);
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// A screen that has no room but for words.
fn words(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let mut lines = vec![title(state), doing(state)];
    if let Some(live) = &state.live {
        lines.extend([text::live_load(live), text::live_latency(live)]);
    }
    lines.extend(state.notices.back().cloned());
    lines.truncate(usize::from(area.height.saturating_sub(1)));
    let mut lines: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    lines.push(Line::styled("q: end", bold()));
    frame.render_widget(Paragraph::new(lines), area);
}

/// `12 cells, 3 finished, 2m 08s, about 10m 00s left`.
fn title(state: &State) -> String {
    let done = state.finished_before + state.done;
    let left =
        state.left_s().map(|s| format!(", about {} left", text::duration(s.round()))).unwrap_or_default();
    format!("{done} of {} cells · {}{left}", state.of, text::duration(state.elapsed_s.round()))
}

/// What the running cell is at, or what is done between two.
fn doing(state: &State) -> String {
    let Some(live) = state.live.as_ref().filter(|_| !state.doing.starts_with("cooling")) else {
        return state.doing.clone();
    };
    let elapsed = text::duration(live.elapsed_s.round());
    let stage = match (live.stage, live.left_s) {
        // How long answers take can't be told; how many are still to come can.
        (Stage::Drain, _) => format!("drain {elapsed}, {} still in flight", live.in_flight),
        (stage, Some(left)) => {
            format!("{} {elapsed}, {} left", text::stage(stage), text::duration(left.round()))
        }
        (stage, None) => format!("{} {elapsed}", text::stage(stage)),
    };
    format!("{} · {stage}", state.doing)
}

fn head(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let rows = Layout::vertical([Constraint::Length(1); 3]).split(area);
    let name = Line::from(vec![Span::styled("Plimsoll ", bold()), Span::raw(state.run.clone())]);
    frame.render_widget(Paragraph::new(name), rows[0]);
    bar(frame, rows[1], ("sweep", Color::Blue), state.share(), title(state));
    let share = state.live.as_ref().and_then(|live| {
        let left = live.left_s?;
        Some(live.elapsed_s / (live.elapsed_s + left).max(f64::MIN_POSITIVE))
    });
    let words = if state.doing.is_empty() { "getting ready".to_owned() } else { doing(state) };
    bar(frame, rows[2], ("cell", Color::Cyan), share.unwrap_or(0.0).clamp(0.0, 1.0), words);
}

/// A bar of a fifth of the width, then words.
fn bar(frame: &mut Frame<'_>, area: Rect, (name, colour): (&str, Color), share: f64, words: String) {
    let cells = Layout::horizontal([
        Constraint::Length(6),
        Constraint::Length((area.width / 5).clamp(8, 30)),
        Constraint::Length(1),
        Constraint::Min(1),
    ])
    .split(area);
    frame.render_widget(Paragraph::new(name), cells[0]);
    let gauge = Gauge::default().ratio(share).label("").use_unicode(true);
    frame.render_widget(gauge.gauge_style(Style::new().fg(colour).bg(Color::DarkGray)), cells[1]);
    frame.render_widget(Paragraph::new(words), cells[3]);
}

fn charts(frame: &mut Frame<'_>, area: Rect, state: &State, rows: usize) {
    let heights = vec![Constraint::Fill(1); rows];
    let bands = Layout::vertical(heights).split(area);
    for (band, panels) in bands.iter().zip(PANELS.chunks(3)) {
        let places = Layout::horizontal([Constraint::Fill(1); 3]).spacing(1).split(*band);
        for (place, panel) in places.iter().zip(panels) {
            chart(frame, *place, panel, state);
        }
    }
}

fn chart(frame: &mut Frame<'_>, area: Rect, panel: &Panel, state: &State) {
    let axes = area.width >= AXES.0 && area.height >= AXES.1;
    let samples = &state.course.samples;
    let line = |read: fn(&Sample) -> Option<f64>| -> Vec<(f64, f64)> {
        samples.iter().filter_map(|s| Some((s.t, read(s)?))).collect()
    };
    let lines = panel.lines.map(line);
    let top = lines.iter().flatten().map(|(_, y)| *y).fold(0.0, f64::max);
    let shown = panel.strip;
    let block = Block::new().borders(Borders::TOP).border_style(dim());
    let block = block.title(heading(panel, state, area.width));
    if !axes || top <= 0.0 {
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let bars = buckets(samples, &lines[shown], usize::from(inner.width));
        let strip = Sparkline::default().data(bars).max(scaled(top).max(1));
        return frame.render_widget(strip.style(Style::new().fg(COLOURS[shown])), inner);
    }
    let end = samples.last().map_or(1.0, |s| s.t).max(1.0);
    let sets = lines.iter().zip(COLOURS).rev().filter(|(points, _)| !points.is_empty());
    let sets = sets.map(|(points, colour)| {
        let set = Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line);
        set.style(Style::new().fg(colour)).data(points)
    });
    let top = top * 1.1;
    let x = Axis::default().bounds([0.0, end]).labels(["0s".to_owned(), text::duration(end)]).style(dim());
    let y = Axis::default().bounds([0.0, top]).labels(["0".to_owned(), (panel.words)(top)]).style(dim());
    let chart = Chart::new(sets.collect()).block(block).x_axis(x).y_axis(y);
    frame.render_widget(chart.legend_position(None), area);
}

/// A chart's title, with its figures in the colours of their lines; where there is no room for both,
/// with that of the strip.
fn heading<'a>(panel: &Panel, state: &State, width: u16) -> Line<'a> {
    let figures = state.live.as_ref().map_or([Some("–".to_owned()), None], panel.now);
    let of = |alone: Option<usize>| {
        let mut spans = vec![Span::styled(panel.title, bold()), Span::raw(" ")];
        for (n, (figure, colour)) in figures.iter().zip(COLOURS).enumerate() {
            if let Some(text) = figure.as_ref().filter(|_| alone.is_none_or(|alone| alone == n)) {
                spans.extend([Span::styled(text.clone(), Style::new().fg(colour)), Span::raw(" ")]);
            }
        }
        Line::from(spans)
    };
    let whole = of(None);
    // The last blank may go.
    if whole.width() <= usize::from(width) + 1 { whole } else { of(Some(panel.strip)) }
}

/// Bars are whole numbers: thousandths.
fn scaled(value: f64) -> u64 {
    (value.max(0.0) * 1e3) as u64
}

/// The greatest of each of `width` stretches of the cell; nothing where nothing was known.
fn buckets(samples: &[Sample], points: &[(f64, f64)], width: usize) -> Vec<Option<u64>> {
    let n = samples.len().min(width);
    let mut bars = vec![None; n];
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return bars };
    let span = (last.t - first.t).max(f64::MIN_POSITIVE);
    for (t, y) in points {
        let at = (((t - first.t) / span) * n as f64) as usize;
        if let Some(bar) = bars.get_mut(at.min(n.saturating_sub(1))) {
            *bar = Some(scaled(*y).max(bar.unwrap_or(0)));
        }
    }
    bars
}

fn health(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let errors: Vec<String> = state.errors().iter().map(|(class, n)| format!("{n} × {class}")).collect();
    let (words, style) = match (errors.is_empty(), &state.live) {
        (true, None) => ("–".to_owned(), Style::new()),
        (true, Some(_)) => ("none".to_owned(), Style::new()),
        (false, _) => (errors.join(", "), Style::new().fg(Color::Red)),
    };
    let ended = |live: &Live| {
        let n = live.completed + live.failed;
        format!(
            "{n} ended, {} failed · client: lag p99 {}",
            text::share(live.failed, n),
            text::opt_ms(live.lag_p99_ms)
        )
    };
    let worst = state
        .course
        .samples
        .iter()
        .filter_map(|s| s.lag)
        .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
    let worst = worst.map(|lag| format!(" (worst {})", text::latency(lag))).unwrap_or_default();
    let client = state.live.as_ref().map(|live| ended(live) + &worst).unwrap_or_default();
    let lines = vec![
        Line::from(vec![Span::styled("requests ", bold()), Span::raw(client)]),
        Line::from(vec![Span::styled("errors ", bold()), Span::styled(words, style)]),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

/// A column: its head, its width, the narrowest screen that has it, and what it says of a cell.
type TableColumn = (&'static str, u16, u16, fn(&Finished) -> String);

const COLUMNS: [TableColumn; 9] = [
    ("ok", 6, 0, |row| row.ok.to_string()),
    ("failed", 6, 0, |row| row.failed.to_string()),
    ("req/s", 5, 0, |row| known(row.rps, text::rate)),
    ("tok/s", 5, 90, |row| known(row.tps, text::rate)),
    ("TTFT p50", 8, 100, |row| known(row.ttft_p50, text::latency)),
    ("TTFT p95", 8, 0, |row| known(row.ttft_p95, text::latency)),
    ("E2E p95", 7, 0, |row| known(row.e2e_p95, text::latency)),
    ("valid", 7, 0, |row| row.valid.to_owned()),
    ("SLO", 7, 0, |row| row.slo.to_owned()),
];

fn known(value: Option<f64>, words: fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), words)
}

fn finished(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let shown: Vec<&TableColumn> = COLUMNS.iter().filter(|(_, _, from, _)| area.width >= *from).collect();
    let room = usize::from(area.height.saturating_sub(1));
    let skip = state.rows.len().saturating_sub(room);
    let rows = state.rows.iter().skip(skip).map(|row| {
        let figures = shown.iter().map(|(.., of)| of(row));
        Row::new(std::iter::once(row.label.clone()).chain(figures).collect::<Vec<_>>())
    });
    let head = std::iter::once("finished cell").chain(shown.iter().map(|(head, ..)| *head));
    // The name has what the figures leave.
    let widths = shown.iter().map(|(_, width, ..)| Constraint::Length(*width));
    let widths: Vec<_> = std::iter::once(Constraint::Min(13)).chain(widths).collect();
    let head = Row::new(head.collect::<Vec<_>>()).style(bold());
    frame.render_widget(Table::new(rows, widths).header(head).column_spacing(1), area);
}

fn log(frame: &mut Frame<'_>, area: Rect, state: &State) {
    if area.height == 0 {
        return;
    }
    let block =
        Block::new().borders(Borders::TOP).border_style(dim()).title(Span::styled("Notices ", bold()));
    let room = usize::from(area.height.saturating_sub(1));
    let skip = state.notices.len().saturating_sub(room);
    let lines: Vec<Line<'_>> =
        state.notices.iter().skip(skip).map(|line| Line::from(line.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::state::tests::under_way;
    use super::*;

    fn shown(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_usual_terminal() {
        insta::assert_snapshot!(shown(&under_way(), 80, 24));
    }

    #[test]
    fn a_large_terminal() {
        insta::assert_snapshot!(shown(&under_way(), 160, 50));
    }

    #[test]
    fn before_the_first_cell() {
        insta::assert_snapshot!(shown(&State::default(), 80, 24));
    }

    #[test]
    fn every_size_is_drawn() {
        let (empty, state) = (State::default(), under_way());
        for (width, height) in [(20, 5), (1, 1), (44, 12), (300, 13), (30, 80), (200, 100)] {
            shown(&empty, width, height);
            let text = shown(&state, width, height);
            assert!(width < 20 || text.contains("3 of 12"), "{width}×{height}\n{text}");
        }
        assert!(shown(&state, 20, 5).contains("q: end"));
    }
}
