//! The table of tools.

use super::*;

#[test]
fn every_tool_is_in_the_documents() {
    let page = include_str!("../../docs/export-import.md");
    for one in READERS {
        assert!(page.contains(&format!("| `{}` |", one.name)), "{} has no row", one.name);
        assert!(one.help.ends_with('.'), "{}", one.name);
        assert_eq!(READERS.iter().filter(|r| r.name == one.name).count(), 1, "{} is there twice", one.name);
        assert_eq!(reader(one.name).map(|r| r.title), Some(one.title));
    }
}
