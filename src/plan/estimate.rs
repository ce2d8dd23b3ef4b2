//! How long a plan takes and what it asks of the server, as far as that is known before.

use std::time::Duration;

use serde::Serialize;

use super::{Cell, Plan};
use crate::experiment::{Arrivals, Load, Part, Settings, Workload};

/// The share of the cells that a search may take which it takes as a rule.
const USUAL: f64 = 0.7;

/// What a plan comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// One per cell and repeat, in running order.
    pub cells: Vec<CellEstimate>,
    /// Sum over the cells, without the cooldown after the last.
    pub seconds: Span,
    /// What [`CellEstimate::expected_s`] adds up to, and a guess of what searches take beside the
    /// cells that the plan has.
    pub expected_s: f64,
    /// Sums; `None` where one cell's is not known.
    pub requests: Option<Amount>,
    pub prompt_tokens: Option<Amount>,
    pub output_tokens: Option<Amount>,
}

/// What one cell comes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CellEstimate {
    pub index: u32,
    /// From its start to the start of the next, cooldown included.
    pub seconds: Span,
    /// Ramp, warm-up, window at its longest known, and the shortest cooldown: a guess for
    /// progress bars. Where only a request count closes a closed loop's window, without it.
    pub expected_s: f64,
    /// Requests from first to last, warm-up included. `None` where the server's speed alone
    /// decides: a closed loop that lasts a time.
    pub requests: Option<Amount>,
    /// Tokens of those requests; `None` where not known, as with a fixed prompt.
    pub prompt_tokens: Option<Amount>,
    pub output_tokens: Option<Amount>,
}

/// Between what and what, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Span {
    pub min: f64,
    /// `None`: the server's speed decides. A warm-up may be prolonged on a slow server
    /// beyond any figure here.
    pub max: Option<f64>,
}

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amount {
    pub count: u64,
    /// A limit on the window that time may cut short, rather than what is expected.
    pub at_most: bool,
}

/// Estimates every cell and the whole.
#[must_use]
pub fn estimate(plan: &Plan) -> Estimate {
    let cells: Vec<CellEstimate> = plan.cells.iter().map(estimate_cell).collect();
    let searching = plan.searches.iter().map(|search| (search, cells[search.cells[0] as usize]));
    let searching: f64 = searching
        .map(|(search, first)| {
            let left = (f64::from(search.rules.probes) * USUAL).ceil() - search.cells.len() as f64;
            (left.max(0.0) * first.expected_s).min(search.rules.time_s.unwrap_or(f64::INFINITY))
        })
        .sum();
    let last = plan.cells.last().map(|c| &c.settings.cell.cooldown);
    let (last_min, last_max) = last.map_or((0.0, 0.0), |c| (c.min.as_secs_f64(), c.max.as_secs_f64()));
    let max = cells.iter().map(|c| c.seconds.max).sum::<Option<f64>>();
    Estimate {
        seconds: Span {
            min: (cells.iter().map(|c| c.seconds.min).sum::<f64>() - last_min).max(0.0),
            max: max.map(|max| (max - last_max).max(0.0)),
        },
        expected_s: (cells.iter().map(|c| c.expected_s).sum::<f64>() + searching - last_min).max(0.0),
        requests: total(cells.iter().map(|c| c.requests)),
        prompt_tokens: total(cells.iter().map(|c| c.prompt_tokens)),
        output_tokens: total(cells.iter().map(|c| c.output_tokens)),
        cells,
    }
}

fn total(amounts: impl Iterator<Item = Option<Amount>>) -> Option<Amount> {
    amounts.into_iter().try_fold(Amount { count: 0, at_most: false }, |sum, amount| {
        let amount = amount?;
        let count = sum.count.saturating_add(amount.count);
        Some(Amount { count, at_most: sum.at_most || amount.at_most })
    })
}

/// Estimates one cell.
#[must_use]
pub fn estimate_cell(cell: &Cell) -> CellEstimate {
    let settings = &cell.settings;
    let seconds = |d: Duration| d.as_secs_f64();
    let lead = seconds(settings.cell.ramp) + seconds(settings.cell.warmup);
    let window = window(settings);
    let cooldown = settings.cell.cooldown;
    let tail = seconds(settings.cell.drain) + seconds(cooldown.max);
    let requests = requests(settings, &window);
    let tokens = |mean: Option<f64>| {
        let (mean, requests) = (mean?, requests?);
        Some(Amount { count: (requests.count as f64 * mean).round() as u64, ..requests })
    };
    CellEstimate {
        index: cell.index,
        seconds: Span {
            min: lead + window.min + seconds(cooldown.min),
            max: window.max.map(|window| lead + window + tail),
        },
        expected_s: lead + window.max.unwrap_or(window.min) + seconds(cooldown.min),
        requests,
        prompt_tokens: tokens(mean(settings, prompt_tokens)),
        output_tokens: tokens(mean(settings, |w| w.asks_output_lengths().then_some(w.max_tokens.mean))),
    }
}

/// The mean of a length over the parts of a mix, by their weights.
fn mean(settings: &Settings, of: impl Fn(&Workload) -> Option<u32>) -> Option<f64> {
    if settings.parts.is_empty() {
        return of(&settings.workload).map(f64::from);
    }
    let weights: f64 = settings.parts.iter().map(|part| part.weight).sum();
    let weighted = |part: &Part| Some(f64::from(of(&part.workload)?) * part.weight);
    Some(settings.parts.iter().map(weighted).sum::<Option<f64>>()? / weights)
}

/// Mean of the tokens that one request asks about; `None` where the text decides.
fn prompt_tokens(workload: &Workload) -> Option<u32> {
    // What a conversation's history adds is up to the server's answers.
    let asked = workload.asks_prompt_lengths() && workload.session.is_none();
    let query = workload.query_tokens.as_ref().map_or(0, |lengths| lengths.mean);
    asked.then(|| workload.prompt_tokens.mean.saturating_mul(workload.batch).saturating_add(query))
}

/// Length of the measured window.
fn window(settings: &Settings) -> Span {
    let duration = settings.cell.duration.map(|d| d.as_secs_f64());
    match (settings.load, settings.cell.requests) {
        (Load::Open { qps, .. }, Some(requests)) => {
            let needed = requests as f64 / qps;
            let window = duration.map_or(needed, |d| d.min(needed));
            Span { min: window, max: Some(window) }
        }
        (Load::Closed { users }, Some(requests)) => {
            // However fast the server is, its users think between two requests.
            let thought = settings.think.map_or(0.0, |think| think.mean().as_secs_f64());
            let min = thought * requests as f64 / f64::from(users);
            Span { min: duration.map_or(min, |d| d.min(min)), max: duration }
        }
        (_, None) => Span { min: duration.unwrap_or(0.0), max: duration },
    }
}

fn requests(settings: &Settings, window: &Span) -> Option<Amount> {
    let cell = &settings.cell;
    match settings.load {
        Load::Open { qps, arrivals, .. } => {
            // The rate rises evenly over the ramp: half of it on average.
            let lead = cell.ramp.as_secs_f64() / 2.0 + cell.warmup.as_secs_f64();
            let inside = settings.staged_arrivals().unwrap_or(qps * window.min);
            // Of a trace the rate is of the gaps between its requests.
            let first = u64::from(matches!(arrivals, Arrivals::Trace));
            let count = (settings.first_load().level() * lead + inside).round() as u64 + first;
            Some(Amount { count, at_most: false })
        }
        Load::Closed { .. } => cell.requests.map(|count| Amount { count, at_most: true }),
    }
}
