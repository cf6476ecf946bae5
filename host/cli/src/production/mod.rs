//! Commands that lead a host to production and look after it there. What they do is in `ark-deploy`; here are their arguments and what they
//! print.

pub(crate) mod canary;
pub(crate) mod check;
pub(crate) mod interrupts;
mod journals;
pub(crate) mod synthetic;
pub(crate) mod validate;

use crate::output::{print_json, print_line};

/// Prints what a dry run found would be done.
fn print_steps(steps: &[String], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&steps);
    }
    for step in steps {
        print_line!("{step}");
    }
    Ok(())
}
