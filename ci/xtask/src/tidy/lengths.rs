//! The length of functions, as a ratchet: none above the limit but those that are known, and those may only become shorter.

use super::code::Parsed;
use super::{Finding, LONG_FUNCTIONS};
use std::collections::BTreeMap;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines from the signature to the closing brace.
const LINES_MAX: usize = 60;

struct Function {
    path: String,
    name: String,
    line: usize,
    lines: usize,
}

pub(super) fn examine(parsed: &[Parsed], known: &str) -> Vec<Finding> {
    let long: Vec<_> = parsed.iter().flat_map(functions).filter(|function| function.lines > LINES_MAX).collect();
    let (mut known, mut findings) = read_known(known);
    for function in &long {
        let key = format!("{}::{}", function.path, function.name);
        let was = known.remove(&key);
        let Function { path, name, line, lines } = function;
        match was {
            Some((_, limit)) if *lines <= limit => {}
            Some((_, limit)) => {
                let what = format!("{name} grew from {limit} to {lines} lines: split it at a decision");
                findings.push(Finding::new(path, *line, what));
            }
            None => {
                let what = format!("{name} has {lines} lines, more than {LINES_MAX}: split it at a decision");
                findings.push(Finding::new(path, *line, what));
            }
        }
    }
    for (key, (line, _)) in known {
        findings.push(Finding::new(LONG_FUNCTIONS, line, format!("{key} is not long any more: take this line out")));
    }
    findings
}

/// Lines of `path::function lines`, with the number of the line.
fn read_known(text: &str) -> (BTreeMap<String, (usize, usize)>, Vec<Finding>) {
    let mut known = BTreeMap::new();
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = line.split_once(' ').and_then(|(key, lines)| Some((key.to_owned(), lines.parse().ok()?)));
        match entry {
            Some((key, lines)) => {
                known.insert(key, (index + 1, lines));
            }
            None => findings.push(Finding::new(LONG_FUNCTIONS, index + 1, "expected `path::function lines`")),
        }
    }
    (known, findings)
}

fn functions(file: &Parsed) -> Vec<Function> {
    let mut scan = Scan { path: &file.path, found: Vec::new() };
    scan.visit_file(&file.tree);
    scan.found
}

struct Scan<'a> {
    path: &'a str,
    found: Vec<Function>,
}

impl Scan<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.span().start().line;
        let lines = block.span().end().line + 1 - line;
        self.found.push(Function { path: self.path.to_owned(), name: signature.ident.to_string(), line, lines });
    }
}

impl<'ast> Visit<'ast> for Scan<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{MANIFEST, check};

    fn function(lines: usize) -> String {
        format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2))
    }

    #[track_caller]
    fn check_long(lines: usize, known: &str, expected: &[(&str, &str)]) {
        let files =
            [("ci/xtask/Cargo.toml", MANIFEST), ("ci/xtask/src/main.rs", &function(lines)), (LONG_FUNCTIONS, known)];
        check(&files, expected);
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        check_long(LINES_MAX, "", &[]);
        check_long(LINES_MAX + 1, "", &[("ci/xtask/src/main.rs:1", "a has 61 lines, more than 60")]);
    }

    #[test]
    fn a_known_long_function_may_shrink_and_not_grow() {
        let known = "# why\nci/xtask/src/main.rs::a 70\n";
        check_long(70, known, &[]);
        check_long(65, known, &[]);
        check_long(71, known, &[("ci/xtask/src/main.rs:1", "grew from 70 to 71")]);
    }

    #[test]
    fn an_entry_that_is_over_must_go_and_a_wrong_one_is_no_entry() {
        check_long(20, "ci/xtask/src/main.rs::a 70\n", &[("ci/xtask/long-functions.txt:1", "not long any more")]);
        check_long(
            20,
            "ci/xtask/src/main.rs::a\n",
            &[("ci/xtask/long-functions.txt:1", "expected `path::function lines`")],
        );
    }
}
