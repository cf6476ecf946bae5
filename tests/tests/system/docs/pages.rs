//! The pages of the documentation and their fenced blocks.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block of a page.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    /// What the block is for.
    pub(crate) kind: BlockKind,
    /// What is between the fences.
    pub(crate) text: String,
}

#[derive(Debug)]
pub(crate) enum BlockKind {
    /// A shell block that is run.
    Run,
    /// A shell block that is not run.
    NotRun { reason: String },
    /// A shell block that a test of its own runs, since it needs more than a shell.
    RunByTest {
        /// The source of the test, from `tests/tests/system`.
        test: String,
    },
    /// The expected output of the block above it.
    Output,
    /// Anything else, e.g. a configuration or a diagram.
    Other,
}

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the repository")
}

/// Every page, as its path from the repository's root.
pub(crate) fn list_pages() -> Vec<String> {
    let root = repository();
    let mut pages = Vec::new();
    for folder in ["", "docs/", ".github/"] {
        let Ok(entries) = fs::read_dir(root.join(folder)) else {
            continue;
        };
        for entry in entries {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("UTF-8");
            if Path::new(name)
                .extension()
                .is_some_and(|ending| ending == "md")
            {
                pages.push(format!("{folder}{name}"));
            }
        }
    }
    pages.sort();
    pages
}

/// The fenced blocks of a page, in order.
pub(crate) fn read_blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(repository().join(page)).expect("a page");
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    let mut below_a_shell_block = false;
    for (line, number) in text.lines().zip(1..) {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            if let Some(block) = &mut open {
                let _ = writeln!(block.text, "{line}");
            } else if !line.trim().is_empty() {
                below_a_shell_block = false;
            }
            continue;
        };
        if let Some(block) = open.take() {
            below_a_shell_block =
                matches!(block.kind, BlockKind::Run | BlockKind::RunByTest { .. });
            blocks.push(block);
        } else {
            let at = format!("{page}:{number}");
            open = Some(Block {
                line: number,
                kind: parse_fence(info, below_a_shell_block, &at),
                text: String::new(),
            });
        }
    }
    assert!(open.is_none(), "{page}: the last block has no end");
    blocks
}

/// A block that a test of its own runs.
pub(crate) struct TestedBlock {
    /// The commands.
    pub(crate) commands: String,
    /// What they print, as the page shows it; empty where it shows nothing.
    pub(crate) output: String,
}

/// The blocks of a page whose fences name this test, by its source from `tests/tests/system`, in their order.
///
/// # Panics
/// There is none.
pub(crate) fn read_tested_blocks(page: &str, test: &str) -> Vec<TestedBlock> {
    let mut found = Vec::new();
    let mut is_below = false;
    for block in read_blocks(page) {
        match block.kind {
            BlockKind::RunByTest { test: named } if named == test => {
                is_below = true;
                found.push(TestedBlock {
                    commands: block.text,
                    output: String::new(),
                });
            }
            BlockKind::Output if is_below => {
                is_below = false;
                let tested = found.last_mut().expect("the block above it");
                tested.output = block.text;
            }
            _ => is_below = false,
        }
    }
    assert!(!found.is_empty(), "{page}: no block names {test}");
    found
}

/// What the text behind an opening fence says of the block.
fn parse_fence(info: &str, below_a_shell_block: bool, at: &str) -> BlockKind {
    let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
    match language {
        "sh" if rest.is_empty() => BlockKind::Run,
        "sh" => {
            let attribute = rest
                .strip_suffix('"')
                .and_then(|rest| rest.split_once("=\""))
                .map(|(name, value)| (name, value.to_owned()));
            match attribute {
                Some(("no-run", reason)) => BlockKind::NotRun { reason },
                Some(("run-by", test)) => BlockKind::RunByTest { test },
                _ => panic!(
                    "{at}: write sh, sh no-run=\"the reason\" or sh run-by=\"the test's source\""
                ),
            }
        }
        "text" | "json" if below_a_shell_block => BlockKind::Output,
        "text" | "json" | "toml" | "rust" | "python" | "js" => BlockKind::Other,
        _ => panic!("{at}: name the block's language: sh, text, json, toml, rust, python or js"),
    }
}
