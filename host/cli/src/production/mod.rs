//! Commands that lead a host to production and look after it there. What they do is in `ark-deploy`; here are their arguments and what they
//! print.

pub(crate) mod canary;
pub(crate) mod check;
pub(crate) mod interrupts;
mod journals;
pub(crate) mod synthetic;
pub(crate) mod validate;
