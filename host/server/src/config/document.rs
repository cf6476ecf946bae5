//! `docs/configuration.md`, made from the statements of the keys.

use std::fmt::Write;

use serde_json::Value;

use super::file::list_sections;
use super::keys::{Key, Section};
use super::layers::OTHER_VARIABLES;

/// What stands before the keys.
const INTRODUCTION: &str = include_str!("introduction.md");

/// The documentation of every key and of every environment variable, as Markdown.
#[must_use]
pub fn render_documentation() -> String {
    let mut text = INTRODUCTION.to_owned();
    for section in list_sections() {
        add_section(&mut text, &section);
    }
    text.push_str("\n## Other environment variables\n\n| variable | meaning |\n|---|---|\n");
    for (name, meaning) in OTHER_VARIABLES {
        add_line(&mut text, format_args!("| `{name}` | {meaning} |"));
    }
    text
}

fn add_section(text: &mut String, section: &Section) {
    let title = match section.name.as_str() {
        "" => "Top of the file".to_owned(),
        name => format!("`[{name}]`"),
    };
    add_line(
        text,
        format_args!(
            "\n## {title}\n\n{}\n\n| key | default | allowed | SIGHUP | meaning |\n|---|---|---|---|---|",
            section.documentation
        ),
    );
    for key in &section.keys {
        add_line(
            text,
            format_args!(
                "| `{}` | {} | {} | {} | {} |",
                key.name,
                format_default(&key.default),
                key.allowed,
                if key.reloaded { "yes" } else { "" },
                key.documentation
            ),
        );
    }
    for key in section.keys.iter().filter(|key| !key.fields.is_empty()) {
        add_fields(text, key);
    }
}

fn add_fields(text: &mut String, key: &Key) {
    add_line(
        text,
        format_args!("\nFields of an entry of `{}`:\n", key.name),
    );
    for (name, meaning) in key.fields {
        add_line(text, format_args!("* `{name}`: {}", meaning.trim()));
    }
}

fn format_default(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        value => format!("`{value}`"),
    }
}

/// Appends a line. Writing to a `String` cannot fail.
fn add_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::super::layers::variable_name;
    use super::*;

    const REMEDY: &str = "docs/configuration.md is not up to date; run `cargo run --bin ark -- config docs > docs/configuration.md`";

    #[test]
    fn the_documentation_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == render_documentation(), "{REMEDY}");
    }

    #[test]
    fn every_key_has_a_documentation_and_a_variable_of_its_own() {
        let sections = list_sections();
        let keys: Vec<&Key> = sections.iter().flat_map(|section| &section.keys).collect();
        let variables: std::collections::BTreeSet<String> =
            keys.iter().map(|key| variable_name(&key.name)).collect();
        assert_eq!(variables.len(), keys.len());
        for key in keys {
            assert!(key.documentation.ends_with('.'), "{}", key.name);
            assert!(!key.documentation.contains('|'), "{}", key.name);
        }
    }
}
