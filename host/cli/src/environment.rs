//! Which environment variables the arguments of the command line take their values from.
//!
//! An empty variable counts as not set: that is how a shell, a container file or a unit file takes a variable away. The host reads its own
//! variables by the same rule ([`ark_host::config::Layers`]).

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::{Arg, Command};

/// Prepares the arguments of a command and of the commands below it: empty variables are not read, no value of a variable is shown in a help
/// text, a negative number is a value of the option before it, and a token file that `arguments` name comes before a token of the environment.
pub(crate) fn apply_environment(command: Command, arguments: &[OsString]) -> Command {
    let names_token_file = arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .any(|argument| argument == "--token-file" || argument.starts_with("--token-file="));
    prepare_arguments(command, names_token_file)
}

fn prepare_arguments(command: Command, names_token_file: bool) -> Command {
    command
        .mut_args(|argument| {
            let mut argument = argument.hide_env_values(true);
            if takes_number_option(&argument) {
                argument = argument.allow_negative_numbers(true);
            }
            let hidden = names_token_file && argument.get_id() == "token";
            if hidden || reads_empty_variable(&argument) {
                argument.env(Resettable::Reset)
            } else {
                argument
            }
        })
        .mut_subcommands(|command| prepare_arguments(command, names_token_file))
}

/// Whether a negative number behind the option is its value, so that the option says which values it takes.
fn takes_number_option(argument: &Arg) -> bool {
    !argument.is_positional() && argument.get_action().takes_values()
}

fn reads_empty_variable(argument: &Arg) -> bool {
    let value = argument.get_env().and_then(std::env::var_os);
    value.is_some_and(|value| value.is_empty())
}
