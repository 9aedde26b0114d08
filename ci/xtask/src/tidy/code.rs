//! Rules on Rust code: calls that are banned in a place, each with its replacement.
//!
//! Parses with `syn` and resolves no names: a banned thing behind an alias is not seen. The rules are there against habit, not malice.

use super::{File, Finding};
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A Rust file that parses.
pub(super) struct Parsed {
    pub path: String,
    pub tree: syn::File,
}

pub(super) fn parse(files: &[File]) -> (Vec<Parsed>, Vec<Finding>) {
    let mut parsed = Vec::new();
    let mut broken = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        match syn::parse_file(file.text.as_deref().unwrap_or("\u{0}")) {
            Ok(tree) => parsed.push(Parsed { path: file.path.clone(), tree }),
            Err(error) => {
                broken.push(Finding::new(&file.path, error.span().start().line, format!("not Rust: {error}")))
            }
        }
    }
    (parsed, broken)
}

pub(super) fn examine(parsed: &[Parsed]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in parsed {
        let mut scan = Scan { place: Place::of(&file.path), path: &file.path, in_test: false, findings: Vec::new() };
        scan.in_test = scan.place.all_test;
        scan.visit_file(&file.tree);
        findings.extend(scan.findings);
    }
    findings
}

/// What is banned in a file follows from where it lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// No I/O and no clock: what it needs comes in as arguments.
    pure: bool,
    /// A library whose callers decide what is printed and when to stop.
    library: bool,
    /// Input comes from people or from a board: no `unwrap`.
    fed: bool,
    /// Every line of it is test code.
    all_test: bool,
}

const PURE: [&str; 6] =
    ["host/record/", "host/plan/", "host/evalset/", "host/judge/", "host/layers/", "host/quantize/"];
const LIBRARIES: [&str; 10] = [
    "host/record/",
    "host/plan/",
    "host/evalset/",
    "host/lab/",
    "host/judge/",
    "host/layers/",
    "host/quantize/",
    "device-agent/protocol/",
    "device-agent/core/",
    "device-agent/engines/",
];
const FED: [&str; 3] = ["host/", "device-agent/", "ci/xtask/"];

impl Place {
    fn of(path: &str) -> Self {
        let starts = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        let in_source = path.contains("/src/");
        let all_test = path.starts_with("tests/")
            || path.contains("/tests/")
            || path.contains("/benches/")
            || path.ends_with("/tests.rs");
        Self {
            pure: in_source && starts(&PURE),
            library: in_source && starts(&LIBRARIES),
            fed: in_source && starts(&FED),
            all_test,
        }
    }
}

/// Paths that a pure crate may not name, by their first words.
const IMPURE: [&str; 7] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::io::stdin",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Tests may sleep here alone, between two looks at a state under a deadline: whoever waits for one calls this.
const PAUSE: &str = "tests/tool.rs";

struct Scan<'a> {
    place: Place,
    path: &'a str,
    in_test: bool,
    findings: Vec<Finding>,
}

impl Scan<'_> {
    fn add(&mut self, span: Span, what: &str) {
        self.findings.push(Finding::new(self.path, span.start().line, what));
    }

    fn within_test(&mut self, attributes: &[syn::Attribute], inner: impl FnOnce(&mut Self)) {
        let before = self.in_test;
        self.in_test |= attributes.iter().any(is_test);
        inner(self);
        self.in_test = before;
    }

    /// A path as written, in an expression, a type or a `use`.
    fn path_named(&mut self, name: &str, span: Span) {
        let is = |banned: &str| name == banned || name.starts_with(&format!("{banned}::"));
        if self.place.pure && !self.in_test && IMPURE.iter().any(|banned| is(banned)) {
            self.add(span, &format!("{name} in a pure crate: take what it would give as an argument"));
        }
        let may_sleep = self.path == PAUSE;
        if self.in_test && !may_sleep && (name == "thread::sleep" || name == "std::thread::sleep") {
            self.add(span, "sleep in a test: wait for the state, with a deadline");
        }
        if self.place.library && !self.in_test && is("std::process::exit") {
            self.add(span, "exit in a library: return an error, the cli decides");
        }
    }

    fn use_tree(&mut self, prefix: &str, tree: &syn::UseTree) {
        let join = |name: &syn::Ident| if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") };
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&join(&path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => self.path_named(prefix, name.span()),
            syn::UseTree::Name(name) => self.path_named(&join(&name.ident), name.span()),
            syn::UseTree::Rename(name) => self.path_named(&join(&name.ident), name.span()),
            syn::UseTree::Glob(glob) => self.path_named(prefix, glob.span()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.use_tree(prefix, item)),
        }
    }
}

const UNWRAP: &str = "unwrap outside of tests: return an error, or expect(\"why it cannot happen\")";

impl<'ast> Visit<'ast> for Scan<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.within_test(&item.attrs, |scan| visit::visit_item_mod(scan, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within_test(&item.attrs, |scan| visit::visit_item_fn(scan, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.within_test(&item.attrs, |scan| visit::visit_item_impl(scan, item));
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.within_test(&item.attrs, |scan| scan.use_tree("", &item.tree));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path_named(&names.join("::"), path.span());
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if self.place.fed && !self.in_test && call.method == "unwrap" {
            self.add(call.method.span(), UNWRAP);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let name = item.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        if self.place.library && !self.in_test && ["print", "println", "eprint", "eprintln"].contains(&name.as_str()) {
            self.add(item.span(), &format!("{name}! in a library: return the text, the cli prints it"));
        }
        // The inside of a macro is tokens and no tree.
        let inside = item.tokens.to_string().replace(' ', "");
        if self.place.fed && !self.in_test && inside.contains(".unwrap()") {
            self.add(item.span(), UNWRAP);
        }
        if self.in_test && inside.contains("thread::sleep(") {
            self.add(item.span(), "sleep in a test: wait for the state, with a deadline");
        }
        visit::visit_macro(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        // A module that several test binaries share is used by each in part: there an expectation cannot hold for all.
        let shared = self.place.all_test && has_reason(attribute);
        if attribute.path().is_ident("allow") && !shared {
            self.add(
                attribute.span(),
                "allow: use #[expect(..., reason = \"...\")], which says why and tells when it is over",
            );
        }
        visit::visit_attribute(self, attribute);
    }
}

fn has_reason(attribute: &syn::Attribute) -> bool {
    matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string().contains("reason ="))
}

/// `#[test]`, `#[cfg(test)]`, and `cfg` that names `test` without a `not`.
pub(super) fn is_test(attribute: &syn::Attribute) -> bool {
    if attribute.path().is_ident("test") {
        return true;
    }
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let words = list.tokens.to_string();
    let names_test = words.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "test");
    list.path.is_ident("cfg") && names_test && !words.contains("not")
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::{MANIFEST, check};

    #[track_caller]
    fn check_lib(crate_folder: &str, lib: &str, expected: &[(usize, &str)]) {
        let path = format!("{crate_folder}/src/lib.rs");
        let places: Vec<_> = expected.iter().map(|(line, part)| (format!("{path}:{line}"), *part)).collect();
        let places: Vec<_> = places.iter().map(|(place, part)| (place.as_str(), *part)).collect();
        check(&[(&format!("{crate_folder}/Cargo.toml"), MANIFEST), (&path, lib)], &places);
    }

    #[test]
    fn unwrap_is_for_tests() {
        let text = "fn a(x: Option<u8>) -> u8 {\n    x.unwrap()\n}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn b() {\n        Some(1).unwrap();\n    }\n}\n";
        check_lib("host/lab", text, &[(2, "unwrap outside of tests")]);
        check_lib(
            "host/lab",
            "fn a(x: Option<u8>) -> String {\n    format!(\"{}\", x.unwrap())\n}\n",
            &[(2, "unwrap")],
        );
        check_lib("host/lab", "#[cfg(not(test))]\nfn a(x: Option<u8>) -> u8 {\n    x.unwrap()\n}\n", &[(3, "unwrap")]);
    }

    #[test]
    fn tests_wait_and_do_not_sleep() {
        let text = "#[cfg(test)]\nmod tests {\n    fn a() {\n        std::thread::sleep(b());\n    }\n}\nfn c() {\n    std::thread::sleep(d());\n}\n";
        check_lib("host/lab", text, &[(4, "sleep in a test")]);
        check_lib(
            "host/lab",
            "#[test]\nfn a() {\n    assert!(b(std::thread::sleep(c())));\n}\n",
            &[(3, "sleep in a test")],
        );
    }

    #[test]
    fn pure_crates_touch_nothing() {
        let text = "use std::{fs, time::{Duration, Instant}};\nfn a() {\n    std::env::var(\"A\").ok();\n}\n";
        check_lib("host/judge", text, &[(1, "std::fs"), (1, "std::time::Instant"), (3, "std::env::var")]);
        check_lib("host/lab", text, &[]);
    }

    #[test]
    fn libraries_do_not_print_or_exit() {
        let text = "fn a() {\n    println!(\"a\");\n    std::process::exit(1);\n}\n";
        check_lib("host/lab", text, &[(2, "println! in a library"), (3, "exit in a library")]);
        check_lib("host/cli", text, &[]);
    }

    #[test]
    fn allow_has_a_better_sister() {
        check_lib(
            "host/cli",
            "#[allow(dead_code)]\nfn a() {}\n#[expect(dead_code, reason = \"b\")]\nfn c() {}\n",
            &[(1, "#[expect")],
        );
    }

    #[test]
    fn what_test_binaries_share_may_allow_with_a_reason() {
        let files = |text: &'static str| {
            [
                ("host/cli/Cargo.toml", MANIFEST),
                ("host/cli/tests/a.rs", "mod common;\n"),
                ("host/cli/tests/common/mod.rs", text),
            ]
        };
        check(&files("#![allow(dead_code, reason = \"shared\")]\n"), &[]);
        check(&files("#![allow(dead_code)]\n"), &[("host/cli/tests/common/mod.rs:1", "#[expect")]);
    }

    #[test]
    fn what_does_not_parse_is_no_pass() {
        check_lib("host/cli", "fn a( {}\n", &[(1, "not Rust")]);
    }
}
