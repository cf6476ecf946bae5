//! Which file of a crate imports which, and what in that breaks the structure.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{ModulePath, SourceFile};

/// How many re-exports of one name are followed.
const LONGEST_CHAIN: usize = 8;

/// The imports between the modules of one crate that are files.
///
/// A folder's face (`mod.rs`, `lib.rs`) and the files in the folder count as one way, from the face to the file: a file that names
/// `super::Name` imports the face only where the face itself defines the name.
pub struct ImportGraph {
    /// For each module, the modules that it imports, each with one of the paths that do so.
    imports: BTreeMap<ModulePath, BTreeMap<ModulePath, String>>,
}

impl ImportGraph {
    /// Reads the imports of a crate: `files` has the text of each module.
    pub fn new(files: &BTreeMap<ModulePath, String>) -> Self {
        let sources: BTreeMap<&ModulePath, SourceFile> = files
            .iter()
            .map(|(module, text)| (module, SourceFile::parse(text)))
            .collect();
        let mut imports = BTreeMap::new();
        for (module, source) in &sources {
            let mut imported = BTreeMap::new();
            for path in &source.paths {
                let Some((target, name)) = resolve_import(&sources, module, path) else {
                    continue;
                };
                let inside = target.starts_with(module);
                let face = module.starts_with(&target);
                let defined = sources[&target]
                    .definitions
                    .contains(name.as_deref().unwrap_or_default());
                if !inside && (!face || defined) {
                    imported.entry(target).or_insert_with(|| path.join("::"));
                }
            }
            imports.insert((*module).clone(), imported);
        }
        Self { imports }
    }

    /// Returns a description of each circle: its files, and the imports between them.
    pub fn find_circles(&self) -> Vec<String> {
        let mut left: BTreeSet<&ModulePath> = self.imports.keys().collect();
        let mut circles = Vec::new();
        while let Some(module) = left.pop_first() {
            let after = self.reachable_modules(module);
            let circle: BTreeSet<&ModulePath> = after
                .iter()
                .copied()
                .filter(|other| self.reachable_modules(other).contains(module))
                .collect();
            if !circle.is_empty() {
                left.retain(|other| !circle.contains(other));
                circles.push(self.describe_circle(&circle));
            }
        }
        circles
    }

    /// Returns a description of each import that leads to a module of the same or a higher layer, and of each module without a layer.
    /// The layers are the crate's modules from the highest to the lowest.
    pub fn find_upward_imports(&self, layers: &[&[&str]]) -> Vec<String> {
        let layer_of = |module: &ModulePath| {
            let top = module.first()?;
            layers
                .iter()
                .position(|layer| layer.contains(&top.as_str()))
        };
        let mut breaches = Vec::new();
        for (module, imported) in &self.imports {
            if module.is_empty() {
                continue;
            }
            let Some(layer) = layer_of(module) else {
                breaches.push(format!("{} has no layer", module.join("::")));
                continue;
            };
            for (target, path) in imported {
                let upward = layer_of(target).is_some_and(|other| other <= layer);
                if target.first() != module.first() && upward {
                    let module = module.join("::");
                    breaches.push(format!("{module} imports a higher layer: {path}"));
                }
            }
        }
        breaches
    }

    /// Returns every module that a module imports, directly or over others; itself only when it is in a circle.
    fn reachable_modules(&self, module: &ModulePath) -> BTreeSet<&ModulePath> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&ModulePath> = self.imports[module].keys().collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.imports[next].keys());
            }
        }
        reached
    }

    /// Returns the names of a circle's files and, each on a line of its own, the imports between them.
    fn describe_circle(&self, circle: &BTreeSet<&ModulePath>) -> String {
        let names: Vec<String> = circle.iter().map(|module| show_module(module)).collect();
        let mut shown = names.join(", ");
        for module in circle {
            for (target, path) in &self.imports[*module] {
                if circle.contains(target) {
                    shown = format!("{shown}\n    {} uses {path}", show_module(module));
                }
            }
        }
        shown
    }
}

fn show_module(module: &ModulePath) -> String {
    if module.is_empty() {
        "the root".to_owned()
    } else {
        module.join("::")
    }
}

/// Returns the module that a path of `module` leads to, and the name in it that the path goes on with, if it does. `None` for paths to
/// other crates.
fn resolve_import(
    sources: &BTreeMap<&ModulePath, SourceFile>,
    module: &ModulePath,
    path: &[String],
) -> Option<(ModulePath, Option<String>)> {
    let mut at = module.clone();
    let mut rest = path.to_vec();
    for _ in 0..LONGEST_CHAIN {
        let (target, left) = walk_path(sources, &at, &rest)?;
        let Some(name) = left.first().cloned() else {
            return Some((target, None));
        };
        let reexport = sources[&target]
            .reexports
            .iter()
            .find(|(exported, _)| *exported == name);
        let Some((_, origin)) = reexport else {
            return Some((target, Some(name)));
        };
        // A re-export of another crate's item is the face's own.
        if walk_path(sources, &target, origin).is_none() {
            return Some((target, Some(name)));
        }
        rest = origin.iter().chain(&left[1..]).cloned().collect();
        at = target;
    }
    None
}

/// Follows a path over modules that are files. Returns the last of them and what is left of the path.
fn walk_path(
    sources: &BTreeMap<&ModulePath, SourceFile>,
    module: &ModulePath,
    path: &[String],
) -> Option<(ModulePath, Vec<String>)> {
    let mut rest = path.iter().peekable();
    let mut at = module.clone();
    match rest.peek()?.as_str() {
        "crate" => {
            rest.next();
            at.clear();
        }
        "super" | "self" => {
            while let Some(step) = rest.next_if(|step| matches!(step.as_str(), "super" | "self")) {
                if step == "super" {
                    at.pop()?;
                }
            }
        }
        first => {
            let child = [module.as_slice(), &[first.to_owned()]].concat();
            sources.get(&child)?;
        }
    }
    while let Some(step) = rest.peek() {
        let child = [at.as_slice(), &[(*step).clone()]].concat();
        if !sources.contains_key(&child) {
            break;
        }
        at = child;
        rest.next();
    }
    sources.get(&at)?;
    Some((at, rest.cloned().collect()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::ImportGraph;

    fn make_graph(files: &[(&str, &str)]) -> ImportGraph {
        let files: BTreeMap<Vec<String>, String> = files
            .iter()
            .map(|(module, text)| {
                let path = module.split("::").filter(|part| !part.is_empty());
                (path.map(str::to_owned).collect(), (*text).to_owned())
            })
            .collect();
        ImportGraph::new(&files)
    }

    #[test]
    fn a_circle_is_found_with_its_imports() {
        let graph = make_graph(&[
            ("", "mod a; mod b; mod c; mod d;"),
            ("a", "use crate::b::B; struct A;"),
            ("b", "fn b() -> crate::c::C {} struct B;"),
            ("c", "use crate::a; struct C;"),
            ("d", "use crate::a::A;"),
        ]);
        assert_eq!(
            graph.find_circles(),
            ["a, b, c\n    a uses crate::b::B\n    b uses crate::c::C\n    c uses crate::a"]
        );
    }

    #[test]
    fn a_face_and_its_files_are_no_circle_unless_a_file_needs_what_the_face_defines() {
        let face = "mod part; mod other; pub use part::Part; pub use other::Other;";
        let part = "use super::Other; struct Part;";
        let other = "struct Other;";
        assert_eq!(
            make_graph(&[("m", face), ("m::part", part), ("m::other", other)]).find_circles(),
            Vec::<String>::new()
        );
        let face = format!("{face} struct Face; fn f(part: part::Part) {{}}");
        let part = format!("{part} use super::Face;");
        let graph = make_graph(&[("m", &face), ("m::part", &part), ("m::other", other)]);
        // The face's import of its own file does not count, so this way has no way back.
        assert_eq!(graph.find_circles(), Vec::<String>::new());
    }

    #[test]
    fn a_circle_over_a_reexport_is_found() {
        let graph = make_graph(&[
            ("", "mod a; mod b;"),
            ("a", "mod inner; pub use inner::Inner;"),
            ("a::inner", "use crate::b::B; struct Inner;"),
            ("b", "use crate::a::Inner; struct B;"),
        ]);
        assert_eq!(
            graph.find_circles(),
            ["a::inner, b\n    a::inner uses crate::b::B\n    b uses crate::a::Inner"]
        );
    }

    #[test]
    fn imports_of_higher_and_equal_layers_are_found() {
        let graph = make_graph(&[
            ("", "mod top; mod left; mod right; mod low; mod stray;"),
            ("top", "use crate::low::L; use crate::left::X;"),
            ("left", "use crate::right::R; struct X;"),
            ("right", "struct R;"),
            ("low::inner", "use crate::top::T;"),
            ("low", "mod inner; use crate::left; struct L;"),
            ("stray", "use std::fmt;"),
        ]);
        let breaches = graph.find_upward_imports(&[&["top"], &["left", "right"], &["low"]]);
        assert_eq!(
            breaches,
            [
                "left imports a higher layer: crate::right::R",
                "low imports a higher layer: crate::left",
                "low::inner imports a higher layer: crate::top::T",
                "stray has no layer",
            ]
        );
    }
}
