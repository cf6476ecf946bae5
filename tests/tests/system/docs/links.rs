//! Links between pages, and the files that pages for contributors name.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::pages::{list_pages, repository};

/// The pages in which every path in backticks must be a file or folder of the repository.
const MAPS: [&str; 2] = ["ARCHITECTURE.md", "CONTRIBUTING.md"];

#[test]
fn every_link_leads_to_a_page_and_its_heading() {
    let root = repository();
    for page in list_pages() {
        let text = fs::read_to_string(root.join(&page)).expect("a page");
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target)
            .filter(|target| !target.contains("://"))
        {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                root.join(&page)
            } else {
                root.join(&page).with_file_name(file)
            };
            assert!(file.exists(), "{page}: {target} leads nowhere");
            if !heading.is_empty() {
                let linked = fs::read_to_string(&file).expect("a page");
                let found = linked
                    .lines()
                    .filter_map(|line| line.strip_prefix('#'))
                    .any(|line| anchor_of(line.trim_start_matches('#').trim()) == heading);
                assert!(found, "{page}: {target}: there is no such heading");
            }
        }
    }
}

#[test]
fn every_page_of_the_book_is_in_its_summary() {
    let summary = fs::read_to_string(repository().join("docs/SUMMARY.md")).expect("the summary");
    for page in list_pages() {
        if let Some(name) = page
            .strip_prefix("docs/")
            .filter(|name| *name != "SUMMARY.md")
        {
            assert!(
                summary.contains(&format!("({name})")),
                "docs/SUMMARY.md does not list {name}"
            );
        }
    }
}

#[test]
fn every_file_that_a_map_names_exists() {
    let root = repository();
    let mut paths = HashSet::new();
    collect_paths(&root, "", &mut paths);
    for page in MAPS {
        let text = fs::read_to_string(root.join(page)).expect("a page");
        for (line, number) in text.lines().zip(1..) {
            for named in line
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|text| is_path(text))
            {
                let suffix = format!("/{named}");
                assert!(
                    paths
                        .iter()
                        .any(|path| path == named || path.ends_with(&suffix)),
                    "{page}:{number}: there is no {named}"
                );
            }
        }
    }
}

/// The anchor that GitHub and mdBook make from a heading.
pub(super) fn anchor_of(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            letter => letter.is_alphanumeric().then_some(letter),
        })
        .collect()
}

/// Whether a text in backticks is the path of a file or folder in the repository, or the end of one.
fn is_path(text: &str) -> bool {
    let letters = |text: &str| {
        text.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter))
    };
    letters(text)
        && !text.starts_with('/')
        && !text.ends_with('/')
        && !text.starts_with("target/")
        && (text.contains('/')
            || Path::new(text)
                .extension()
                .is_some_and(|ending| ending == "rs"))
}

/// Every file and folder below `dir`, as paths from the root; without builds and Git's own files.
fn collect_paths(dir: &Path, prefix: &str, paths: &mut HashSet<String>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        let name = name.to_str().expect("UTF-8");
        if matches!(name, ".git" | "target") {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type().expect("a type").is_dir() {
            collect_paths(&entry.path(), &format!("{path}/"), paths);
        }
        paths.insert(path);
    }
}
