//! What every page has: its frame, its look, its script and the drawing library.

use minijinja::{AutoEscape, Environment};
use plotly::Plot;
use serde::Serialize;

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
            css: include_str!("page.css"),
            script: include_str!("page.js"),
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

/// The first script of the crate's two; the second, MathJax, is not needed.
fn plotly_script() -> String {
    const END: &str = "</script>";
    let both = Plot::offline_js_sources();
    both.split_inclusive(END).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_plotting_script_is_taken() {
        let script = plotly_script();
        assert!(script.starts_with("<script") && script.ends_with("</script>"));
        assert!(script.contains("Plotly") && !script.contains("MathJax=") && script.len() < 6_000_000);
    }
}
