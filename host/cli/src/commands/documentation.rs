//! The commands that the pages name in their sentences are commands of this program: the parser itself takes them, with values for their placeholders.
//! (`tests/tests/system/docs` runs the blocks of the pages.)

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use super::{Cli, check_usage, parse_arguments};

/// What a placeholder may stand for: a name, a number, an id, something in a registry.
const VALUES: [&str; 4] = [
    "name",
    "1",
    "0192f0c1-2b3c-7def-8123-456789abcdef",
    "registry.example/desk/name:1.0.0",
];
/// The most placeholders of one command.
const MOST_PLACEHOLDERS: usize = 3;
/// Stands for what a page leaves out.
const LEFT_OUT: &str = "…";

/// The pages: the book and those for people who come to the repository. The change log names commands of other versions.
fn list_pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages: Vec<PathBuf> = fs::read_dir(root.join("docs"))
        .expect("the book")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    pages.extend(["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    pages.sort();
    pages
}

/// The commands of `ark` between backticks, outside of blocks: line and text.
fn list_inline_commands(page: &str) -> Vec<(usize, &str)> {
    let mut is_in_block = false;
    let mut found = Vec::new();
    for (line, number) in page.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            is_in_block = !is_in_block;
        } else if !is_in_block {
            let spans = line.split('`').skip(1).step_by(2);
            let commands = spans.filter(|span| span.starts_with("ark "));
            found.extend(commands.map(|span| (number, span)));
        }
    }
    found
}

/// A word of a command line, and whether it stood in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    text: String,
    is_quoted: bool,
}

/// The words of a command as a shell would have them, up to a pipe.
fn split_words(command: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    for letter in command.chars() {
        match quote {
            Some(open) if letter == open => quote = None,
            None if letter == '|' => break,
            None if letter == ' ' => words.extend(word.take()),
            _ => {
                let is_opening = quote.is_none() && matches!(letter, '"' | '\'');
                let word = word.get_or_insert(Word {
                    text: String::new(),
                    is_quoted: false,
                });
                if is_opening {
                    quote = Some(letter);
                    word.is_quoted = true;
                } else {
                    word.text.push(letter);
                }
            }
        }
    }
    words.extend(word);
    words
}

/// Whether a reader puts something else in the place of a word, e.g. `NAME`, `SOCKET` or `…`.
fn is_placeholder(word: &Word) -> bool {
    let is_capital = |letter: char| letter.is_ascii_uppercase() || "_-".contains(letter);
    let starts_with_letter = word.text.starts_with(|it: char| it.is_ascii_uppercase());
    word.text == LEFT_OUT || (starts_with_letter && word.text.chars().all(is_capital))
}

/// Has the program's own parser judge a command line.
fn try_parse(words: &[String]) -> Result<(), (Option<ErrorKind>, String)> {
    let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    match parse_arguments(&arguments) {
        Ok((cli, _)) => check_usage(&cli.command).map_err(|error| (None, error.to_string())),
        Err(answer) => match answer.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(()),
            kind => Err((Some(kind), answer.to_string())),
        },
    }
}

/// Every command line that comes of the words by values in the place of placeholders.
fn fill_placeholders(words: &[Word]) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = vec![Vec::new()];
    for word in words {
        let values = if is_placeholder(word) {
            Vec::from(VALUES.map(str::to_owned))
        } else {
            vec![word.text.clone()]
        };
        lines = lines
            .iter()
            .flat_map(|line| {
                values.iter().map(move |value| {
                    let mut line = line.clone();
                    line.push(value.clone());
                    line
                })
            })
            .collect();
    }
    lines
}

/// Follows the names of commands. Returns the last one, and the words behind it.
fn follow_names<'a, 'b>(root: &'a Command, words: &'b [Word]) -> (&'a Command, &'b [Word]) {
    let mut command = root;
    let mut rest = words;
    while let [word, behind @ ..] = rest
        && let Some(below) = command.find_subcommand(&word.text)
    {
        (command, rest) = (below, behind);
    }
    (command, rest)
}

/// Says what is wrong with a command that a page names.
///
/// Where arguments stand behind the name, the line is one that a reader types: the parser takes it. A name alone stands for the command, and options without
/// their values behind it for the options; both are there. What ends in `…` may lack arguments.
///
/// # Errors
/// The command, an option or a value is unknown, or an argument is missing.
fn check_command(text: &str) -> Result<(), String> {
    let mut words = split_words(text);
    let placeholders = words.iter().filter(|word| is_placeholder(word)).count();
    if placeholders > MOST_PLACEHOLDERS {
        return Err(format!("it has {placeholders} placeholders"));
    }
    let mut root = Cli::command();
    // Options that all commands share are known below, too.
    root.build();
    let (command, rest) = follow_names(&root, words.get(1..).unwrap_or_default());
    let names_alone = rest.iter().all(|word| {
        let name = word.text.strip_prefix("--");
        name.is_some_and(|name| {
            let mut arguments = command.get_arguments();
            arguments.any(|argument| argument.get_long() == Some(name))
        })
    });
    if names_alone {
        return Ok(());
    }
    let is_open = |word: &Word| word.text == LEFT_OUT && !word.is_quoted;
    let may_lack = words.last().is_some_and(is_open);
    let mut problem = None;
    // First `…` as a value, then as what is left out.
    loop {
        for line in fill_placeholders(&words) {
            match try_parse(&line) {
                Ok(()) => return Ok(()),
                Err((Some(ErrorKind::MissingRequiredArgument), _)) if may_lack => return Ok(()),
                Err((_, said)) => problem = Some(said),
            }
        }
        if !words.last().is_some_and(is_open) {
            break;
        }
        words.pop();
    }
    Err(problem.unwrap_or_default())
}

#[test]
fn each_command_that_a_page_names_is_one_of_this_program() {
    let mut problems = Vec::new();
    let mut checked = 0;
    for path in list_pages() {
        let page = fs::read_to_string(&path).expect("a page");
        for (line, command) in list_inline_commands(&page) {
            checked += 1;
            if let Err(problem) = check_command(command) {
                let name = path.file_name().unwrap_or_default().display();
                problems.push(format!("{name}:{line}: `{command}`: {problem}"));
            }
        }
    }
    assert!(checked > 200, "{checked} commands are found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_command_that_does_not_run_is_found() {
    for refused in [
        "ark webhooks redeliver NAME",
        "ark webhook list",
        "ark webhooks enlist NAME",
        "ark webhooks enable",
        "ark approvals show",
        "ark check --stricter",
        "ark check --env-file FILE --stricter",
        "ark canary --baseline-report",
        "ark agent rollout NAME first",
        "ark token create --url … --roll",
        "ark token create --role boss …",
    ] {
        let is_bare = matches!(refused, "ark webhooks enable" | "ark approvals show");
        // A name alone stands for the command.
        assert_eq!(check_command(refused).is_ok(), is_bare, "{refused}");
    }
    for taken in [
        "ark webhooks redeliver NAME --all",
        "ark webhooks redeliver NAME EVENT",
        "ark audit export | head -1",
        "ark state memory --help",
        "ark token create --url …",
        "ark canary abort --stop-command …",
        "ark state reinitialize --reason \"…\"",
    ] {
        assert_eq!(check_command(taken), Ok(()), "{taken}");
    }
}
