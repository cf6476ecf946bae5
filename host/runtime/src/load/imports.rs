//! What a component imports, and what an agent may import.

use wasmtime::component::types::{Component as ComponentType, ComponentItem};

use crate::engine::Engine;

/// Returns everything that a component imports except types, as `interface#function`.
pub(crate) fn list_imports(engine: &Engine, component: &ComponentType) -> Vec<String> {
    let mut found = Vec::new();
    for (name, import) in component.imports(engine.wasmtime()) {
        collect_imports(engine, name, import.ty, &mut found);
    }
    found
}

fn collect_imports(engine: &Engine, name: &str, item: ComponentItem, found: &mut Vec<String>) {
    match item {
        ComponentItem::ComponentInstance(instance) => {
            for (inner, export) in instance.exports(engine.wasmtime()) {
                let separator = if name.contains('#') { '.' } else { '#' };
                let name = format!("{name}{separator}{inner}");
                collect_imports(engine, &name, export.ty, found);
            }
        }
        // A type has no effect. The functions of a resource are listed by themselves.
        ComponentItem::Type(_) | ComponentItem::Resource(_) => {}
        ComponentItem::ComponentFunc(_)
        | ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_) => {
            found.push(name.to_owned());
        }
    }
}

/// How an imported function is linked for an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgentImport {
    /// The host's own implementation.
    Linked,
    /// A stub that refuses every call: what toolchains of other languages import and no agent gets.
    Stubbed,
    /// Nothing: the component is refused.
    Refused,
}

/// Returns what an agent gets for an import, which is an interface, or `interface#function`. Of interfaces that are linked, the versions are
/// not compared: linking does that.
pub(crate) fn resolve_agent_import(import: &str) -> AgentImport {
    let interface = import.split_once('#').map_or(import, |(name, _)| name);
    let (unversioned, version) = interface.split_once('@').unwrap_or((interface, ""));
    match unversioned {
        "ark:agent/host"
        | "wasi:cli/environment"
        | "wasi:cli/exit"
        | "wasi:cli/stdin"
        | "wasi:cli/stdout"
        | "wasi:cli/stderr"
        | "wasi:cli/terminal-input"
        | "wasi:cli/terminal-output"
        | "wasi:cli/terminal-stdin"
        | "wasi:cli/terminal-stdout"
        | "wasi:cli/terminal-stderr"
        | "wasi:io/error"
        | "wasi:io/poll"
        | "wasi:io/streams"
        | "wasi:clocks/wall-clock"
        | "wasi:clocks/monotonic-clock"
        | "wasi:random/random"
        | "wasi:random/insecure"
        | "wasi:random/insecure-seed" => AgentImport::Linked,
        "wasi:filesystem/types"
        | "wasi:filesystem/preopens"
        | "wasi:sockets/network"
        | "wasi:sockets/instance-network"
        | "wasi:sockets/ip-name-lookup"
        | "wasi:sockets/tcp"
        | "wasi:sockets/tcp-create-socket"
        | "wasi:sockets/udp"
        | "wasi:sockets/udp-create-socket"
        | "wasi:http/types"
        | "wasi:http/outgoing-handler"
            if is_wasi_02(version) =>
        {
            AgentImport::Stubbed
        }
        _ => AgentImport::Refused,
    }
}

/// Whether a version is a release of WASI 0.2: these are compatible with each other.
fn is_wasi_02(version: &str) -> bool {
    version
        .strip_prefix("0.2.")
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::{AgentImport, resolve_agent_import};

    #[test]
    fn standard_interfaces_of_wasi_are_stubbed_and_all_else_is_refused() {
        for (import, expected) in [
            ("ark:agent/host@1.0.0#truth-set", AgentImport::Linked),
            ("wasi:clocks/wall-clock@0.2.9#now", AgentImport::Linked),
            (
                "wasi:filesystem/types@0.2.0#[method]descriptor.read",
                AgentImport::Stubbed,
            ),
            (
                "wasi:http/outgoing-handler@0.2.12#handle",
                AgentImport::Stubbed,
            ),
            ("wasi:sockets/tcp@0.2.3", AgentImport::Stubbed),
            (
                "wasi:filesystem/types@0.3.0#[method]descriptor.read",
                AgentImport::Refused,
            ),
            (
                "wasi:filesystem/types@0.2.0-rc-2023-11-10#x",
                AgentImport::Refused,
            ),
            ("wasi:filesystem/types@0.2.#x", AgentImport::Refused),
            ("wasi:filesystem/types#x", AgentImport::Refused),
            ("wasi:keyvalue/store@0.2.0#open", AgentImport::Refused),
            ("acme:filesystem/types@0.2.0#x", AgentImport::Refused),
            ("filesystem", AgentImport::Refused),
        ] {
            assert_eq!(resolve_agent_import(import), expected, "{import}");
        }
    }
}
