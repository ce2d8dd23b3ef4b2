//! Prometheus' text form 0.0.4, which Prometheus scrapes and a Pushgateway takes.
//!
//! Written here, not by a crate: the same series go to OTLP, cells come and go with labels that depend on
//! the experiment, and the form is these few lines. The crate for it writes OpenMetrics alone, which a
//! Pushgateway doesn't take.

use std::fmt::Write as _;

use super::registry::{Labels, Series, Value};

/// The type of such a text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All series as text.
pub(super) fn render(all: &[Series]) -> String {
    let mut out = String::new();
    for Series { family, points } in all.iter().filter(|series| !series.points.is_empty()) {
        let name = family.name;
        let _ = writeln!(out, "# HELP {name} {}", family.help.replace('\\', "\\\\").replace('\n', "\\n"));
        let _ = writeln!(out, "# TYPE {name} {}", family.kind.word());
        for point in points {
            match &point.value {
                Value::Whole(n) => line(&mut out, name, &point.labels, None, *n),
                Value::Number(x) => line(&mut out, name, &point.labels, None, *x),
                Value::Buckets(histo) => {
                    let mut below = 0;
                    let bounds = histo.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
                    for (count, bound) in histo.counts.iter().zip(bounds) {
                        below += count;
                        line(&mut out, &format!("{name}_bucket"), &point.labels, Some(&bound), below);
                    }
                    line(&mut out, &format!("{name}_sum"), &point.labels, None, histo.sum);
                    line(&mut out, &format!("{name}_count"), &point.labels, None, below);
                }
            }
        }
    }
    out
}

fn line(out: &mut String, name: &str, labels: &Labels, le: Option<&str>, value: impl std::fmt::Display) {
    out.push_str(name);
    let all = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain(le.map(|le| ("le", le)));
    for (i, (label, value)) in all.enumerate() {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{}{label}=\"{escaped}\"", if i == 0 { '{' } else { ',' });
    }
    if !labels.is_empty() || le.is_some() {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}
