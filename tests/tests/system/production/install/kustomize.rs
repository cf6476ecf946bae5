//! The lists of `deploy/kubernetes`, rendered by Kustomize itself: each gives the objects that it should, of the form of their schemas, and an overlay
//! changes what the guide says. A list with a wrong field, file or type is refused, so that what is rendered has no such fault.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ark_tests::artefacts::checkout_path;
use serde_json::Value;

use super::installation::{list_sources, read_output};
use super::manifests::{list_objects, read_example};
use super::validators::{find_in_environment, find_validator};

const LIST: &str = "kustomization.yaml";
/// The lists, below `deploy/kubernetes`, and what each renders: kind and name.
const RENDERED: [(&str, &[&str]); 4] = [
    (
        "",
        &[
            "Deployment ark-front",
            "Namespace ark",
            "NetworkPolicy ark",
            "NetworkPolicy ark-front",
            "PersistentVolumeClaim ark-data",
            "PersistentVolumeClaim ark-snapshots",
            "PodDisruptionBudget ark",
            "PodDisruptionBudget ark-front",
            "Service ark",
            "Service ark-front-telemetry",
            "Service ark-operate",
            "StatefulSet ark",
        ],
    ),
    (
        "bootstrap",
        &[
            "Job ark-bootstrap",
            "Namespace ark",
            "PersistentVolumeClaim ark-data",
            "PersistentVolumeClaim ark-snapshots",
        ],
    ),
    ("repair", &["Pod ark-repair"]),
    (
        "storage",
        &[
            "Namespace ark",
            "PersistentVolumeClaim ark-data",
            "PersistentVolumeClaim ark-snapshots",
        ],
    ),
];
/// Renders a directory and writes its objects, or says why it is none.
const RENDER: &str = "\
import asyncio, json, sys, pykustomize
try:
    built = asyncio.run(pykustomize.build_json(sys.argv[1]))
except pykustomize.KustomizeError as error:
    sys.exit(f'refused: {error}')
json.dump(built.resources, sys.stdout)
";

/// The objects of a list, or what Kustomize says against it.
fn try_render(dir: &Path) -> Result<Vec<Value>, String> {
    let output = find_in_environment("venv-kustomize", "python")
        .args(["-c", RENDER])
        .arg(dir)
        .output()
        .expect("python starts");
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).expect("JSON"));
    }
    let said = read_output(&output);
    // Anything else would be a fault of the environment.
    assert!(said.starts_with("refused: "), "{}: {said}", dir.display());
    Err(said)
}

pub(super) fn render(dir: &Path) -> Vec<Value> {
    try_render(dir).unwrap_or_else(|said| panic!("{}: {said}", dir.display()))
}

fn describe(object: &Value) -> String {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let name = text(&object["metadata"]["name"]);
    format!("{} {name}", text(&object["kind"]))
}

/// Has the schemas of Kubernetes judge objects. Returns whether they pass, and what is said.
fn validate(objects: &[Value], dir: &Path) -> (bool, String) {
    let file = dir.join("rendered.yaml");
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    fs::write(&file, documents.join("\n---\n")).expect("a file");
    let checked = find_validator("kubernetes-validate")
        .arg("--strict")
        .arg(&file)
        .output()
        .expect("kubernetes-validate starts");
    let said = read_output(&checked);
    let passed = said.matches("passed for resource").count();
    let is_whole = passed == objects.len() && !said.contains("WARN");
    (checked.status.success() && is_whole, said)
}

/// A copy of `deploy/kubernetes` that a test changes.
fn copy_base(dir: &Path) -> PathBuf {
    let base = dir.join("base");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(checkout_path("deploy/kubernetes"))
        .arg(&base)
        .status();
    assert!(copied.expect("cp starts").success());
    base
}

/// Replaces a text that a file has once.
fn alter(file: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(file).expect("a file");
    assert_eq!(text.matches(old).count(), 1, "{}: {old}", file.display());
    fs::write(file, text.replace(old, new)).expect("a file");
}

#[test]
fn kustomize_renders_each_list_to_its_objects() {
    let root = checkout_path("deploy/kubernetes");
    let lists = list_sources(&root, "yaml")
        .into_iter()
        .filter(|path| path.ends_with(LIST));
    assert_eq!(lists.count(), RENDERED.len(), "each list is rendered");
    let dir = tempfile::tempdir().expect("a directory");
    let sources = list_objects();
    let mut rendered = BTreeSet::new();
    for (list, expected) in RENDERED {
        let objects = render(&root.join(list));
        let mut names: Vec<String> = objects.iter().map(describe).collect();
        names.sort();
        assert_eq!(names, expected, "{list}");
        let (is_valid, said) = validate(&objects, dir.path());
        assert!(is_valid, "{list}: {said}");
        for object in &objects {
            let name = describe(object);
            let namespace = &object["metadata"]["namespace"];
            let is_namespace = object["kind"] == "Namespace";
            assert!(is_namespace || namespace == "ark", "{list}: {name}");
            // Besides the namespace and the tag of the image it is what its file says.
            let source = sources.iter().find(|source| describe(source) == name);
            let mut source = source.unwrap_or_else(|| panic!("no {name}")).clone();
            let text = object.to_string();
            let mut object: Value =
                serde_json::from_str(&text.replace("\"ark:latest\"", "\"ark\"")).expect("JSON");
            for one in [&mut source, &mut object] {
                let metadata = one["metadata"].as_object_mut().expect("metadata");
                metadata.remove("namespace");
            }
            assert_eq!(object, source, "{list}: {name}");
            rendered.insert(name);
        }
    }
    let sources: BTreeSet<String> = sources.iter().map(describe).collect();
    assert_eq!(rendered, sources, "nothing is in no list");
}

#[test]
fn an_overlay_sets_image_and_size() {
    let dir = tempfile::tempdir().expect("a directory");
    copy_base(dir.path());
    let overlay = dir.path().join("overlay");
    fs::create_dir(&overlay).expect("a directory");
    let text = "\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../base]
images: [{name: ark, newName: registry.example/desk/ark, newTag: 0.1.0}]
patches:
  - target: {kind: PersistentVolumeClaim, name: ark-data}
    patch: '[{\"op\": \"replace\", \"path\": \"/spec/resources/requests/storage\", \"value\": \"123Gi\"}]'
";
    fs::write(overlay.join(LIST), text).expect("a list");
    let objects = render(&overlay);
    assert_eq!(objects.len(), RENDERED[0].1.len());
    let (is_valid, said) = validate(&objects, dir.path());
    assert!(is_valid, "{said}");
    let pods = objects
        .iter()
        .map(|object| &object["spec"]["template"]["spec"]["containers"][0]["image"])
        .filter(|image| !image.is_null());
    let images: Vec<&Value> = pods.collect();
    assert_eq!(images, ["registry.example/desk/ark:0.1.0"; 2]);
    let claim = objects
        .iter()
        .find(|object| describe(object) == "PersistentVolumeClaim ark-data");
    let size = &claim.expect("a claim")["spec"]["resources"]["requests"]["storage"];
    assert_eq!(size, "123Gi");
}

#[test]
fn the_guides_overlay_has_names_asked_for_elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let base = render(&copy_base(dir.path()));
    let overlay = dir.path().join("overlay");
    fs::create_dir(&overlay).expect("a directory");
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../base]\n{}",
        read_example("openshift-dns")
    );
    fs::write(overlay.join(LIST), text).expect("a list");
    let objects = render(&overlay);
    let (is_valid, said) = validate(&objects, dir.path());
    assert!(is_valid, "{said}");
    let is_names = |rule: &Value| rule["to"][0]["namespaceSelector"].is_object();
    let mut checked = 0;
    for object in &objects {
        let name = describe(object);
        let before = base.iter().find(|one| describe(one) == name);
        let before = before.unwrap_or_else(|| panic!("{name} is new"));
        if object["kind"] != "NetworkPolicy" {
            assert_eq!(object, before, "{name}");
            continue;
        }
        checked += 1;
        let rules_of = |object: &Value| object["spec"]["egress"].as_array().expect("rules").clone();
        let (rules, before) = (rules_of(object), rules_of(before));
        assert_eq!(rules.len(), before.len(), "{name}");
        for (rule, before) in rules.iter().zip(&before) {
            assert_eq!(is_names(rule), is_names(before), "{name}: {rule}");
            if !is_names(rule) {
                assert_eq!(rule, before, "{name}");
                continue;
            }
            let labels = &rule["to"][0]["namespaceSelector"]["matchLabels"];
            assert_eq!(labels["kubernetes.io/metadata.name"], "openshift-dns");
            let ports = rule["ports"].as_array().expect("ports").iter();
            let ports: Vec<String> = ports
                .map(|one| format!("{} {}", one["protocol"], one["port"]))
                .collect();
            assert_eq!(ports, ["\"UDP\" 5353", "\"TCP\" 5353"], "{name}");
        }
    }
    assert_eq!(checked, 2);
}

#[test]
fn a_list_with_a_fault_is_refused() {
    for (list, old, new, said) in [
        (
            "",
            "namespace: ark\n",
            "nameSpaces: ark\n",
            "unknown field \"nameSpaces\"",
        ),
        ("bootstrap", "newTag: ", "tag: ", "unknown field \"tag\""),
        (
            "storage",
            "resources:\n",
            "files: [a]\nresources:\n",
            "unknown field \"files\"",
        ),
        ("", "- front.yaml", "- fronts.yaml", "fronts.yaml"),
        ("", "- storage\n", "- stores\n", "stores"),
        (
            "",
            "- front.yaml\n",
            "- front.yaml\n  - front.yaml\n",
            "already registered id",
        ),
        (
            "storage",
            "kind: Kustomization",
            "kind: Kustomisation",
            "kind should be Kustomization",
        ),
        (
            "bootstrap",
            "resources:\n  - ../storage\n  - job.yaml",
            "resources: job.yaml",
            "cannot unmarshal",
        ),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let base = copy_base(dir.path());
        alter(&base.join(list).join(LIST), old, new);
        let refused = try_render(&base.join(list));
        let found = refused.expect_err(&format!("{list}: {new} is taken"));
        assert!(found.contains(said), "{list}: {new}: {found}");
    }
}

#[test]
fn a_rendered_object_of_another_form_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let base = copy_base(dir.path());
    alter(&base.join("front.yaml"), "  replicas: 2", "  replicas: two");
    let (is_valid, said) = validate(&render(&base), dir.path());
    assert!(!is_valid && said.contains("two"), "{said}");
}
