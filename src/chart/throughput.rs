//! Output tokens per second over load.

use super::axis::Axis;
use super::{Body, Chart, Lines, lines};
use crate::analysis::RunData;
use crate::analysis::grid::{Estimate, Level, families};

/// One figure per kind of loop.
pub(super) fn build(run: &RunData) -> Vec<Chart> {
    let read = |l: &Level<'_>| -> Option<Estimate> { l.repeats.estimate("output_tps", "") };
    let mut out = Vec::new();
    for family in &families(run) {
        let panels = lines::panels_by_group(family, &|g, name, i| lines::series(family, g, name, i, &read));
        let y = Axis::from_zero("output throughput", "tok/s", &lines::heights(&panels));
        let x = lines::x_axis(family);
        let caption = lines::trend(family, "output throughput", "tok/s", &read);
        out.extend(lines::figures(panels, &|panels, id, title| Chart {
            id: format!("throughput{}{id}", family.suffix),
            title: format!("Output throughput over {}{title}", family.x.label),
            subtitle: format!(
                "Output tokens stamped inside the window per second, over {} ({}).{}",
                family.x.label,
                family.kind.words(),
                lines::repeats_sentence(family)
            ),
            caption: format!("{caption}{}", lines::marks(family)),
            body: Body::Lines(Lines { x: x.clone(), y: y.clone(), panels, references: Vec::new() }),
        }));
    }
    out
}
