//! `ark upgrade` with the real binary behind a front: a good version serves on the same data and no request fails; any other leaves or gives the
//! stable one back; whatever is killed on the way, the end is one of both.

mod commands;
mod keep;
mod kills;
mod refusals;
mod rounds;
mod served_version;
mod stop_command;
mod validation;
mod way_back;

pub(super) use commands::{
    CONFIG, back_to_stable, change, command, errors_of, report_of, run, upgrade, upgrade_within,
};
