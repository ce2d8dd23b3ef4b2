//! What every page has: its frame, its look, its script and the drawing library.

use minijinja::{AutoEscape, Environment};
use plotly::Plot;
use serde::Serialize;

/// How every page looks; `page.css` has the colours.
pub(in crate::report) const STYLE: &str = concat!(
    include_str!("page.css"),
    include_str!("answer.css"),
    include_str!("tables.css"),
    include_str!("print.css"),
);

/// `page.js` draws figures, `tables.js` sorts and filters, `cells.js` shows a cell's own page.
const SCRIPT: &str = concat!(include_str!("page.js"), include_str!("tables.js"), include_str!("cells.js"));

/// Filled into `shell.html`, as `shell`.
#[derive(Serialize)]
pub(in crate::report) struct Shell {
    /// Of the window.
    title: String,
    css: &'static str,
    script: &'static str,
    plotly: String,
    version: &'static str,
}

impl Shell {
    pub(in crate::report) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            css: STYLE,
            script: SCRIPT,
            plotly: plotly_script(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// Templates that escape what they are given, with `shell.html` to extend and `parts.html` to
/// import from.
///
/// # Errors
/// When a template is not one.
pub(in crate::report) fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("shell.html", include_str!("shell.html"))?;
    environment.add_template("parts.html", include_str!("parts.html"))?;
    Ok(environment)
}

/// What the first script of the crate's two says, without its tags; the second, MathJax, is not needed.
/// The page holds it as text, which `page.js` has read when the first figure is drawn.
pub(super) fn plotly_script() -> String {
    let both = Plot::offline_js_sources();
    let first = both.split("</script>").next().unwrap_or_default();
    first.split_once('>').map_or("", |(_, text)| text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_plotting_script_is_taken() {
        let script = plotly_script();
        assert!(!script.contains("<script") && !script.contains("</script"));
        assert!(script.contains("Plotly") && !script.contains("MathJax=") && script.len() < 6_000_000);
    }

    /// The colours of a theme, by name.
    fn colours(theme: &str) -> Vec<(String, [f64; 3])> {
        let block = STYLE.split(theme).nth(1).unwrap().split('}').next().unwrap();
        let of = |part: &str| {
            let (name, hex) = part.trim().strip_prefix("--")?.split_once(": #")?;
            let channel = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).ok().map(f64::from);
            Some((name.to_owned(), [channel(0)?, channel(2)?, channel(4)?]))
        };
        block.trim_start_matches('{').split(';').filter_map(of).collect()
    }

    /// WCAG 2's contrast of two colours.
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let luminance = |c: [f64; 3]| {
            let [r, g, b] = c.map(|c| {
                let c = c / 255.0;
                if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
            });
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn both_themes_have_the_contrast_of_wcag_aa() {
        assert!((contrast([0.0; 3], [255.0; 3]) - 21.0).abs() < 1e-9);
        for theme in [":root {", "[data-theme=\"dark\"] {"] {
            let all = colours(theme);
            let of = |name: &str| all.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}")).1;
            let over = |name: &str, ground: &str, least: f64| {
                let found = contrast(of(name), of(ground));
                assert!(found >= least, "{theme}: {name} on {ground} has {found:.2}, not {least}");
            };
            for ground in ["ground", "panel"] {
                for text in ["ink", "muted", "accent", "good", "bad", "so-so"] {
                    over(text, ground, 4.5);
                }
                over("edge", ground, 3.0);
            }
            // Other colours of series are edged with the colour of text.
            for series in ["c0", "c1", "c2"] {
                over(series, "ground", 3.0);
            }
        }
    }
}
