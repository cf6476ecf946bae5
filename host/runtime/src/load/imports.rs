//! What a component imports, and what an agent may import.

use wasmtime::component::types::{Component as ComponentType, ComponentItem};

use crate::engine::Engine;
use crate::manifest::TRUTH_SET;

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

/// Returns whether an agent with these capabilities may import a function. The versions of interfaces are not compared: linking does that.
pub(crate) fn agent_may_import(import: &str, capabilities: &[String]) -> bool {
    let (interface, function) = import.split_once('#').unwrap_or((import, ""));
    let unversioned = interface
        .split_once('@')
        .map_or(interface, |(name, _)| name);
    match unversioned {
        "ark:agent/host" if function == "truth-set" => {
            capabilities.iter().any(|granted| granted == TRUTH_SET)
        }
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
        | "wasi:random/insecure-seed" => true,
        _ => false,
    }
}
