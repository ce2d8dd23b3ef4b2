//! What the server's own figures tell beside the client's, on the same clock.

use super::{Finding, Hit, Kind, Severity, client_ms, kinds, rose, usable};
use crate::analysis::text::figure;
use crate::analysis::{CellData, RunData, words};
use crate::measure::{CellSummary, SERVER_FIGURES, ServerCourse};
use crate::stats::{Spearman, quantile, spearman};

/// Looks below which nothing is said of a correlation.
const FEWEST: usize = 10;
/// A correlation is clear from this ρ on,
const CLEAR: f64 = 0.7;
/// and below this p.
const SURE: f64 = 0.01;
/// By how much TTFT has to rise from its lowest tenth to its highest.
const RISES: f64 = 1.2;

/// TTFT that rises and falls with a figure of the server's.
pub(super) fn look(cell: &CellData, summary: &CellSummary) -> Vec<Hit> {
    let place = words::place(&cell.cell);
    let follows = |(figure, what, kind): (&str, &str, &'static Kind)| {
        let course = cell.server.iter().find(|course| course.figure == figure)?;
        let (evidence, rho) = correlated(cell, summary, (course, what))?;
        Some(Hit {
            kind,
            severity: Severity::Info,
            weight: rho,
            place: place.clone(),
            evidence: format!("At {place} {evidence}"),
            cells: vec![cell.cell.index],
        })
    };
    let all = [
        ("waiting", "the requests that wait in the server", &kinds::TTFT_QUEUE),
        ("kv_use", "the share of its KV cache in use", &kinds::TTFT_KV),
    ];
    all.into_iter().filter_map(follows).collect()
}

fn correlated(
    cell: &CellData,
    summary: &CellSummary,
    (course, what): (&ServerCourse, &str),
) -> Option<(String, f64)> {
    let pairs = pairs(cell, summary, course);
    let (values, ttft): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let Spearman { rho, p, n } = spearman(&values, &ttft).filter(|_| pairs.len() >= FEWEST)?;
    let mut sorted = ttft.clone();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (quantile(&sorted, 0.1)?, quantile(&sorted, 0.9)?);
    if rho < CLEAR || p >= SURE || !rose(low, high, RISES, client_ms(summary)) {
        return None;
    }
    let mut by_value = pairs;
    by_value.sort_by(|a, b| a.0.total_cmp(&b.0));
    let third = by_value.len() / 3;
    let median = |part: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = part.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        quantile(&values, 0.5)
    };
    let (least, most) = (&by_value[..third], &by_value[by_value.len() - third..]);
    let unit = SERVER_FIGURES.iter().find(|f| f.name == course.figure).map_or("", |f| f.unit);
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let chance = if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {}", figure(p)) };
    let text = format!(
        "TTFT rises and falls with {what}: {} ms where it is lowest (about {}{unit}) and {} ms where it is highest (about {}{unit}); \
         Spearman's ρ is {} over {n} looks, {chance}.",
        figure(median(least, |p| p.1)?),
        figure(median(least, |p| p.0)?),
        figure(median(most, |p| p.1)?),
        figure(median(most, |p| p.0)?),
        figure(rho),
    );
    Some((text, rho))
}

/// For each look in the window the figure, and the median TTFT of the requests that were sent
/// about then.
fn pairs(cell: &CellData, summary: &CellSummary, course: &ServerCourse) -> Vec<(f64, f64)> {
    let window = summary.window;
    let inside: Vec<(f64, f64)> = course
        .points
        .iter()
        .filter(|(at, _)| (window.start_us as i64..window.end_us as i64).contains(at))
        .map(|(at, value)| (*at as f64 / 1e6, *value))
        .collect();
    let [first, .., last] = inside.as_slice() else { return Vec::new() };
    let half = (last.0 - first.0) / (inside.len() - 1) as f64 / 2.0;
    let near = |&(at, value): &(f64, f64)| {
        let about = cell.points.iter().filter(|p| p.ok && (p.sent_s - at).abs() <= half);
        let mut ttft: Vec<f64> = about.filter_map(|p| p.ttft_ms).collect();
        ttft.sort_by(f64::total_cmp);
        Some((value, quantile(&ttft, 0.5)?))
    };
    inside.iter().filter_map(near).collect()
}

/// What the server's own figures are where something points to it, or that nobody looked at them.
pub(super) fn gauges(run: &RunData, findings: &[Finding]) -> Option<Finding> {
    let asked: Vec<&Finding> =
        findings.iter().filter(|f| f.severity >= Severity::Warning && f.kind.server).collect();
    let first = asked.first()?;
    // Of the cells that show it the last has the most load.
    let of = |finding: &&Finding| {
        finding.cells.iter().rev().find_map(|&index| {
            let cell = run.cells.iter().find(|cell| cell.cell.index == index)?;
            let side = usable(cell)?.server.as_ref().filter(|side| !side.figures.is_empty())?;
            let value = |name: &str| side.figures.get(name);
            let one = |f: &crate::measure::ServerFigure| {
                let value = value(f.name)?;
                let unit = if f.unit.is_empty() { String::new() } else { format!(" {}", f.unit) };
                Some(format!("{} {}{unit} (at most {})", f.title, figure(value.mean), figure(value.max)))
            };
            let all: Vec<String> = SERVER_FIGURES.iter().filter_map(one).collect();
            Some((format!("{}: {}", words::place(&cell.cell), all.join(", ")), index))
        })
    };
    let told = asked.iter().copied().find_map(|finding| Some((finding, of(&finding)?)));
    let (evidence, cells) = match told {
        Some((finding, (told, index))) => (
            format!(
                "Behind “{}” the server's own figures were, in the window's mean, at {told}.",
                finding.kind.title
            ),
            vec![index],
        ),
        None => {
            let text = format!(
                "Only the client's side was measured. To tell apart what lies behind “{}”, requests running and waiting, \
                 use of the key-value cache, preemptions and memory over the same time would be needed, such as \
                 vllm:num_requests_running, vllm:num_requests_waiting and the cache usage of vLLM's /metrics, beside \
                 nvidia-smi. Whether memory grows cannot be told without them.",
                first.kind.title
            );
            (text, Vec::new())
        }
    };
    Some(Finding { kind: &kinds::SERVER_GAUGES, severity: Severity::Info, evidence, cells })
}
