//! The page of all limits is what it says: its tests exist, and no limit of the configuration is missing.

use std::fs;

use super::pages::repository;

/// The tables of `ark.toml` whose keys are limits, all of them.
const TABLES: [&str; 4] = ["limits.", "quotas.", "token_quotas.", "capacity."];

/// The texts between backticks.
fn find_quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of the page's tables, each as its cells.
fn read_rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .filter(|cells: &Vec<&str>| cells[0] != "resource")
        .collect()
}

#[test]
fn every_limit_has_a_row_and_every_row_its_test() {
    let root = repository();
    let page = fs::read_to_string(root.join("docs/limits.md")).expect("the page");
    let rows = read_rows(&page);
    assert!(rows.len() > 50, "{} rows", rows.len());
    let mut problems = Vec::new();
    for cells in &rows {
        let [resource, who, limit, happens, test] = cells[..] else {
            panic!("{cells:?} has not five cells");
        };
        let is_whole = [resource, who, limit, happens, test]
            .iter()
            .all(|cell| !cell.is_empty());
        assert!(is_whole, "{cells:?} has an empty cell");
        let named: Vec<&str> = find_quoted(test).collect();
        let [file, function] = named[..] else {
            panic!("{cells:?} names no file and test");
        };
        let source = fs::read_to_string(root.join(file)).unwrap_or_default();
        // The attribute stands in the same paragraph as the function.
        let is_test = source
            .split("\n\n")
            .any(|part| part.contains("#[test]") && part.contains(&format!("fn {function}()")));
        if !is_test {
            problems.push(format!("{file} has no test {function}"));
        }
    }
    let configuration =
        fs::read_to_string(root.join("docs/configuration.md")).expect("the configuration");
    let keys = configuration
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|key| TABLES.iter().any(|table| key.starts_with(table)));
    let mut count = 0;
    for key in keys {
        count += 1;
        let is_listed = rows
            .iter()
            .any(|cells| find_quoted(cells[2]).any(|named| named == key));
        if !is_listed {
            problems.push(format!("{key} has no row"));
        }
    }
    assert!(count > 30, "{count} keys");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
