//! Holds the imports of every source file to the table in `docs/architecture.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Table = BTreeMap<String, BTreeSet<String>>;

fn allowed() -> Table {
    let text = std::fs::read_to_string("docs/architecture.md").unwrap();
    let (_, section) = text.split_once("## Who may import whom").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    section
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| module"))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let module = cells.next().unwrap().to_owned();
            let may = cells.next().unwrap_or_default();
            (module, may.split(", ").filter(|m| !m.is_empty()).map(str::to_owned).collect())
        })
        .collect()
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The top-level modules that a file names after `crate::`, test modules left out: tests
/// may build what they need.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
        for rest in line.split("crate::").skip(1) {
            match rest.strip_prefix('{') {
                Some(group) => found.extend(
                    group
                        .split(&[',', '}'][..])
                        .map(|part| part.trim().split("::").next().unwrap_or_default().to_owned())
                        .filter(|name| {
                            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                        }),
                ),
                None => {
                    let name: String =
                        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                    found.insert(name);
                }
            }
        }
    }
    found
}

#[test]
fn every_module_imports_only_what_the_table_allows() {
    let allowed = allowed();
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    assert!(files.len() > 30, "found {} files: is this the project's root?", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let module = file.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
        let module = module.trim_end_matches(".rs").to_owned();
        if module == "lib" || module == "main" || file.to_string_lossy().ends_with("tests.rs") {
            continue;
        }
        let Some(may) = allowed.get(&module) else {
            wrong.push(format!("{}: module {module} is not in the table", file.display()));
            continue;
        };
        for import in imports(&std::fs::read_to_string(&file).unwrap()) {
            if import != module && !may.contains(&import) {
                wrong.push(format!("{}: imports {import}, which {module} may not", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    let mut left = allowed();
    assert!(left.len() > 15, "the table was not read");
    while let Some(free) =
        left.iter().find(|(_, may)| may.iter().all(|m| !left.contains_key(m))).map(|(m, _)| m.clone())
    {
        left.remove(&free);
    }
    assert!(left.is_empty(), "these import one another in a circle: {:?}", left.keys());
}

#[test]
fn imports_are_read_from_every_form() {
    let text = "use crate::units::parse;\nuse crate::{plan::Cell, record};\nfn f(x: crate::load::Job) {}\n// crate::sim\n#[cfg(test)]\nuse crate::report;";
    let found: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(found, ["load", "plan", "record", "units"]);
}
