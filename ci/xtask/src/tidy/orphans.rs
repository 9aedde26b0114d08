//! Rust files that no module names: the compiler never sees them, so they rot in silence.

use super::code::Parsed;
use super::{File, Finding};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn examine(files: &[File], parsed: &[Parsed]) -> Vec<Finding> {
    let trees: BTreeMap<_, _> = parsed.iter().map(|file| (file.path.as_str(), &file.tree)).collect();
    let mut reached = BTreeSet::new();
    for root in files.iter().flat_map(|file| crate_roots(file, &trees)) {
        follow(&root, true, &trees, &mut reached);
    }
    let orphans = trees.keys().filter(|path| !reached.contains(**path));
    orphans.map(|path| Finding::new(path, 0, "no module names this file: name it, or remove it")).collect()
}

/// The files that cargo compiles by themselves, of one manifest.
fn crate_roots(manifest: &File, trees: &BTreeMap<&str, &syn::File>) -> Vec<String> {
    let Some(folder) = manifest.path.strip_suffix("Cargo.toml") else { return Vec::new() };
    let table: toml::Table = manifest.text.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default();
    if !table.contains_key("package") {
        return Vec::new();
    }
    let mut roots: Vec<_> =
        ["src/lib.rs", "src/main.rs", "build.rs"].iter().map(|path| format!("{folder}{path}")).collect();
    for place in ["src/bin/", "tests/", "examples/", "benches/"] {
        let place = format!("{folder}{place}");
        let direct = |path: &&str| {
            path.strip_prefix(&place).is_some_and(|rest| !rest.contains('/') || rest.ends_with("/main.rs"))
        };
        roots.extend(trees.keys().copied().filter(direct).map(str::to_owned));
    }
    let named = ["lib", "bin", "test", "example", "bench"].iter().filter_map(|kind| table.get(*kind));
    let tables = named.flat_map(|value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]));
    roots.extend(tables.filter_map(|t| Some(normal(&format!("{folder}{}", t.get("path")?.as_str()?)))));
    roots
}

/// Marks a file and everything its modules name.
fn follow(path: &str, is_root: bool, trees: &BTreeMap<&str, &syn::File>, reached: &mut BTreeSet<String>) {
    let Some(tree) = trees.get(path) else { return };
    if !reached.insert(path.to_owned()) {
        return;
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.trim_end_matches(".rs");
    let inner = if is_root || stem == "mod" { folder.to_owned() } else { format!("{folder}/{stem}") };
    for child in children(&tree.items, folder, &inner) {
        follow(&child, false, trees, reached);
    }
}

/// The files that `mod name;` may mean: both forms, as only one can exist.
fn children(items: &[syn::Item], folder: &str, inner: &str) -> Vec<String> {
    let mut found = Vec::new();
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        match (&module.content, path_attribute(&module.attrs)) {
            (Some((_, items)), _) => found.extend(children(items, folder, &format!("{inner}/{name}"))),
            (None, Some(path)) => found.push(normal(&format!("{folder}/{path}"))),
            (None, None) => found.extend([format!("{inner}/{name}.rs"), format!("{inner}/{name}/mod.rs")]),
        }
    }
    found
}

fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// `a/../b` is `b`.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::{MANIFEST, check};

    #[test]
    fn a_file_that_no_module_names_is_found() {
        let files = [
            ("host/cli/Cargo.toml", MANIFEST),
            ("host/cli/src/main.rs", "mod a;\nmod inline {\n    mod deep;\n}\n#[path = \"odd/place.rs\"]\nmod b;\n"),
            ("host/cli/src/a.rs", "mod inner;\n"),
            ("host/cli/src/a/inner.rs", ""),
            ("host/cli/src/inline/deep.rs", ""),
            ("host/cli/src/odd/place.rs", ""),
            ("host/cli/src/forgotten.rs", ""),
            ("host/cli/tests/whole.rs", "mod common;\n"),
            ("host/cli/tests/common/mod.rs", ""),
        ];
        check(&files, &[("host/cli/src/forgotten.rs:0", "no module names this file")]);
    }

    #[test]
    fn a_manifest_may_name_its_own_roots() {
        let manifest = "[package]\nname = \"fuzz\"\n[[bin]]\nname = \"frame\"\npath = \"targets/frame.rs\"\n";
        let files = [
            ("tests/fuzz/Cargo.toml", manifest),
            ("tests/fuzz/targets/frame.rs", ""),
            ("tests/fuzz/targets/old.rs", ""),
        ];
        check(&files, &[("tests/fuzz/targets/old.rs:0", "no module names")]);
    }
}
