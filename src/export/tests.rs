//! The table of formats, and what of a made-up cell each of them has to say.

use super::*;

#[test]
fn every_format_is_in_the_documents() {
    let page = include_str!("../../docs/export-import.md");
    for format in FORMATS {
        assert!(page.contains(&format!("| `{}` |", format.name)), "{} has no row", format.name);
        let (name, help) = (format.name, format.help);
        assert!(help.ends_with('.') && !format.files.is_empty(), "{name}");
        assert_eq!(FORMATS.iter().filter(|f| f.name == name).count(), 1, "{name} is there twice");
        assert!(super::format(name).is_some());
    }
    assert!(super::format("pdf").is_none());
}
