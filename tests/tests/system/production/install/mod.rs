//! What operators install: the package and the unit of systemd, the image, the files of Compose and Kubernetes, and their monitoring.

mod capacity;
mod compose;
mod image;
mod installation;
mod kubernetes_guide;
mod kustomize;
mod manifests;
mod monitoring;
pub(super) mod package;
mod replacement;
mod snapshots;
mod units;
mod validators;
