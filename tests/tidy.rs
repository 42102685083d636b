//! The project's habits, as a test: what each layer may use, words, lengths, documentation. Not responsible for what the
//! compiler, clippy or rustdoc find by themselves.
//!
//! Each rule is a function from text to findings, so that the tests below can plant violations. Rules about the product
//! see the source without comments, strings and test code; a rule that is wrong about a place is changed here, openly.

use std::fmt;
use std::fs;
use std::path::Path;

const FILE_LINES_MAX: usize = 600;
/// One function in twenty may be longer: the flat `match` whose arms are single calls.
const FUNCTION_LINES_MAX: usize = 55;

#[test]
fn the_source_keeps_the_habits() {
    let sources: Vec<Source> =
        files("src").into_iter().filter(|(path, _)| path.ends_with(".rs")).map(|(p, t)| Source::new(p, t)).collect();
    assert!(sources.len() > 3, "src is not where this test looks for it");
    let mut findings: Vec<Finding> = sources.iter().flat_map(in_source).collect();
    findings.extend(long_functions(&sources));
    for folder in ["src", "tests", "benches", "examples", "fuzz", "proto-docs", "deploy", ".ci"] {
        findings.extend(files(folder).iter().flat_map(|(path, text)| in_any_text(path, text)));
    }
    for file in ["README.md", "CHANGELOG.md", "SECURITY.md", "Cargo.toml", "deny.toml"] {
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        findings.extend(in_any_text(file, &text));
    }
    let list: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(list.is_empty(), "{} findings:\n{}", list.len(), list.join("\n"));
}

fn in_source(source: &Source) -> Vec<Finding> {
    let rules = [layers, no_async, module_docs, codec_does_not_panic, unfinished, words, file_length];
    rules.iter().flat_map(|rule| rule(source)).collect()
}

// ---- the rules ----------------------------------------------------------------------------------------------------

/// What a layer may not name. A path stands for itself and all below it; importing what holds it counts as well.
/// The clock, sockets and threads come from outside, and what is replayed or encoded must not depend on hash order.
const NEVER_IN_CRDT_OR_PROTO: &str = "tokio tokio_util quinn rustls std::fs std::env std::process std::thread
    std::time::Instant std::time::SystemTime
    std::net::TcpListener std::net::TcpStream std::net::UdpSocket std::net::ToSocketAddrs
    std::collections::HashMap std::collections::HashSet std::collections::hash_map std::collections::hash_set
    std::hash::RandomState rand::rng rand::random rand::rngs::SysRng rand::rngs::ThreadRng";
const NEVER_IN_CRDT: &str = "rand std::time std::net";
const NEVER_IN_RUNTIME: &str = "crate::http crate::cli crate::simulate axum clap rustyline ureq";

fn layers(source: &Source) -> Vec<Finding> {
    let (layer, own, never): (_, &[&str], _) = match source.layer() {
        Some(layer @ "crdt") => (layer, &["crate::crdt"], [NEVER_IN_CRDT, NEVER_IN_CRDT_OR_PROTO]),
        Some(layer @ "proto") => (layer, &["crate::crdt", "crate::proto"], ["", NEVER_IN_CRDT_OR_PROTO]),
        Some(layer @ "runtime") => (layer, &["crate"], ["", NEVER_IN_RUNTIME]),
        _ => return Vec::new(),
    };
    // The one place in crdt that uses a generator: the one it is handed.
    let draws_ids = source.path == "src/crdt/replica_id.rs";
    let is_above = |named: &Named| named.is_within("crate") && !own.iter().any(|own| named.is_within(own));
    let is_forbidden = |named: &Named| {
        let mut never = never.iter().flat_map(|list| list.split_whitespace());
        never.any(|path| named.reaches(path) && !(draws_ids && path == "rand"))
    };
    paths(source)
        .into_iter()
        .filter(|named| is_above(named) || is_forbidden(named))
        .map(|named| source.finding(named.line, format!("`{}` is not for {layer}", named.path)))
        .collect()
}

fn no_async(source: &Source) -> Vec<Finding> {
    if !source.is_pure() {
        return Vec::new();
    }
    let waits = |token: &&Token| matches!(token.text.as_str(), "async" | "await");
    source.tokens.iter().filter(waits).map(|t| source.finding(t.line, "a pure layer never waits".into())).collect()
}

fn module_docs(source: &Source) -> Vec<Finding> {
    let is_documented = source.text.trim_start().starts_with("//!");
    let finding = || source.finding(1, "begin the file with //! docs: what it is, and is not, responsible for".into());
    if is_documented { Vec::new() } else { vec![finding()] }
}

fn codec_does_not_panic(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("src/proto/codec") {
        return Vec::new();
    }
    find_in(source, &source.product, &[".unwrap()", "panic!("], "a decoder returns an error")
}

fn unfinished(source: &Source) -> Vec<Finding> {
    find_in(source, &source.code, &["todo!(", "unimplemented!(", "dbg!("], "unfinished")
}

/// Words that have another name in `proto-docs/glossary.md`: (word, the word to use, where it is forbidden).
const WORDS: &[(&str, &str, &[&str])] = &[
    ("actor", "replica", &["src/"]),
    ("garbage", "tombstone, truncate", &["src/"]),
    ("full_sync", "catch_up", &["src/"]),
    ("op_id", "dot", &["src/"]),
    ("vector_clock", "context", &["src/"]),
    ("routing_table", "view", &["src/"]),
    ("replication_loop", "anti_entropy", &["src/"]),
    ("site", "replica", &["src/crdt/", "src/proto/"]),
    ("conflict", "sibling", &["src/crdt/", "src/proto/"]),
    ("conflicts", "siblings", &["src/crdt/", "src/proto/"]),
    ("patch", "delta", &["src/crdt/", "src/proto/"]),
    ("diff", "delta", &["src/crdt/", "src/proto/"]),
    ("history", "context", &["src/crdt/", "src/proto/"]),
    ("ack", "done", &["src/crdt/", "src/proto/"]),
    ("checksum", "audit", &["src/crdt/", "src/proto/"]),
    ("newer", "after", &["src/crdt/"]),
    ("older", "before", &["src/crdt/"]),
    ("newest", "the greatest (timestamp, dot)", &["src/crdt/"]),
    ("driver", "nothing: it is the shell's", &["src/crdt/", "src/proto/"]),
    ("connection", "link", &["src/crdt/", "src/proto/"]),
    ("stream", "nothing: it is the shell's", &["src/crdt/"]),
    ("frame", "nothing: it is the shell's", &["src/crdt/"]),
];

/// Looks at identifiers, not at prose. A field of another crate (`dot.actor`) keeps its name.
fn words(source: &Source) -> Vec<Finding> {
    let here: Vec<_> =
        WORDS.iter().filter(|(_, _, places)| places.iter().any(|p| source.path.starts_with(p))).collect();
    let mut findings = Vec::new();
    for (i, token) in source.tokens.iter().enumerate() {
        let before = i.checked_sub(1).map_or("", |i| source.tokens[i].text.as_str());
        let name = snake_case(&token.text);
        let forbidden = here.iter().find(|(word, _, _)| before != "." && contains_word(&name, word));
        if let Some((word, use_instead, _)) = forbidden {
            findings.push(source.finding(token.line, format!("`{}`: not {word} but {use_instead}", token.text)));
        }
        if before == "fn" && source.is_pure() && name.starts_with("get_") {
            findings.push(source.finding(token.line, format!("`{}`: a getter goes without get_", token.text)));
        }
    }
    findings
}

fn file_length(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count() - source.test_lines;
    let finding = || source.finding(1, format!("{lines} lines without tests, of at most {FILE_LINES_MAX}: split it"));
    if lines > FILE_LINES_MAX { vec![finding()] } else { Vec::new() }
}

/// Nothing while one function in twenty at most is long; else all that are.
fn long_functions(sources: &[Source]) -> Vec<Finding> {
    let lengths: Vec<(Finding, usize)> = sources.iter().flat_map(functions).collect();
    let (count, is_long) = (lengths.len(), |lines: usize| lines > FUNCTION_LINES_MAX);
    let long: Vec<Finding> = lengths.into_iter().filter(|(_, lines)| is_long(*lines)).map(|(f, _)| f).collect();
    if long.len() * 20 > count { long } else { Vec::new() }
}

fn functions(source: &Source) -> Vec<(Finding, usize)> {
    let mut found = Vec::new();
    for (i, token) in source.tokens.iter().enumerate().filter(|(_, token)| token.text == "fn") {
        let Some(name) = source.tokens.get(i + 1).filter(|t| t.is_name()) else { continue };
        let Some(end) = end_of_item(&source.tokens[i..]) else { continue };
        let lines = end - token.line + 1;
        found.push((source.finding(token.line, format!("`{}` has {lines} lines", name.text)), lines));
    }
    found
}

/// For every text of the repository, comments and tests included.
fn in_any_text(path: &str, text: &str) -> Vec<Finding> {
    // In two halves, so that this file does not find itself.
    let machine_paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let unfinished = [concat!("FIX", "ME"), concat!("XX", "X")];
    // A message that the harness captures is one that nobody reads: such a test writes to standard error itself.
    let captured = [concat!("println!(\"", "SKIPPED"), concat!("print!(\"", "SKIPPED")];
    let rules = [(machine_paths, "a path of one machine"), (unfinished, "unfinished"), (captured, "is captured")];
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (needles, why) in &rules {
            for needle in needles.iter().filter(|needle| line.contains(**needle)) {
                let what = format!("{needle}: {why}");
                findings.push(Finding { path: path.to_owned(), line: number + 1, what });
            }
        }
    }
    findings
}

// ---- reading source -----------------------------------------------------------------------------------------------

struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A file, in the shapes that the rules look at; line numbers are the same in all of them.
struct Source {
    path: String,
    text: String,
    /// Without comments and the contents of strings.
    code: String,
    /// Without tests, too.
    product: String,
    /// Those of `product`.
    tokens: Vec<Token>,
    test_lines: usize,
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let code = without_comments_and_strings(&text);
        let (product, test_lines) = without_tests(&path, &code);
        let tokens = tokens(&product);
        Self { path, text, code, product, tokens, test_lines }
    }

    /// `crdt` of `src/crdt/dot.rs`, and of `src/crdt.rs` if it were that.
    fn layer(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        Some(rest.split('/').next()?.trim_end_matches(".rs"))
    }

    fn is_pure(&self) -> bool {
        matches!(self.layer(), Some("crdt" | "proto"))
    }

    fn finding(&self, line: usize, what: String) -> Finding {
        Finding { path: self.path.clone(), line, what }
    }
}

fn find_in(source: &Source, text: &str, needles: &[&str], why: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for needle in needles.iter().filter(|needle| line.contains(**needle)) {
            findings.push(source.finding(number + 1, format!("{needle}: {why}")));
        }
    }
    findings
}

/// A name, `::`, or one other character.
struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.starts_with(is_name_char)
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let name = rest.find(|c| !is_name_char(c)).unwrap_or(rest.len());
            let length = match rest {
                _ if name > 0 => name,
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            tokens.push(Token { text: rest[..length].to_owned(), line: number + 1 });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// A path that the source names, from its crate on: `std::time::Instant`, `crate::proto::Node`.
struct Named {
    path: String,
    line: usize,
    is_import: bool,
}

impl Named {
    fn is_within(&self, module: &str) -> bool {
        self.path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }

    /// Names `forbidden`, or imports what it can then be reached through.
    fn reaches(&self, forbidden: &str) -> bool {
        let opens = || {
            let module = self.path.trim_end_matches("::*");
            forbidden.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"))
        };
        self.is_within(forbidden) || (self.is_import && self.path.contains("::") && opens())
    }
}

fn paths(source: &Source) -> Vec<Named> {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    let mut rest = &tokens[..];
    while let Some(first) = rest.first() {
        let length = match first.text.as_str() {
            // Not the `use<'a>` of a return type.
            "use" if rest.get(1).is_some_and(|next| next.text != "<") => imports(&rest[1..], &mut found) + 1,
            _ if first.is_name() => plain_path(rest, &mut found),
            _ => 1,
        };
        rest = &rest[length..];
    }
    for named in &mut found {
        named.path = absolute(&source.path, &named.path);
    }
    found
}

/// `a::b::c`; returns how many tokens it is.
fn plain_path(tokens: &[Token], found: &mut Vec<Named>) -> usize {
    let names = |i: usize| tokens.get(i).is_some_and(Token::is_name) && tokens[i - 1].text == "::";
    let length = (1..).step_by(2).find(|i| !names(i + 1)).unwrap_or(1);
    if length > 1 {
        let path = tokens[..length].iter().map(|t| t.text.as_str()).collect();
        found.push(Named { path, line: tokens[0].line, is_import: false });
    }
    length
}

/// `a::b`, `a::{b, c::*}` up to the semicolon; returns how many tokens it is.
fn imports(tokens: &[Token], found: &mut Vec<Named>) -> usize {
    let mut groups: Vec<String> = Vec::new();
    let mut path = String::new();
    let mut rest = tokens.iter().enumerate();
    while let Some((i, token)) = rest.next() {
        let group = groups.last().cloned().unwrap_or_default();
        match token.text.as_str() {
            "{" => groups.push(path.clone()),
            "as" => drop(rest.next()),
            "," | "}" | ";" => {
                if path != group {
                    let path = path.trim_end_matches("::self").to_owned();
                    found.push(Named { path, line: token.line, is_import: true });
                }
                if token.text == ";" {
                    return i + 1;
                }
                if token.text == "}" {
                    groups.pop();
                }
                path = groups.last().cloned().unwrap_or_default();
            }
            "::" if path.is_empty() => {}
            part => path.push_str(part),
        }
    }
    tokens.len()
}

/// `super::X` in `src/crdt/dot.rs` is `crate::crdt::X`; `core` and `alloc` count as `std`.
fn absolute(file: &str, path: &str) -> String {
    let (first, rest) = path.split_once("::").unwrap_or((path, ""));
    let mut module = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let mut rest = match first {
        "core" | "alloc" => return format!("std::{rest}"),
        "super" => path,
        "self" => rest,
        _ => return path.to_owned(),
    };
    while let Some(outer) = rest.strip_prefix("super::") {
        (module, rest) = (module.rsplit_once('/').map_or("", |(outer, _)| outer), outer);
    }
    let parts = ["crate"].into_iter().chain(module.split('/')).chain([rest]).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("::")
}

/// The line on which the item that begins here ends, if it has a body or a semicolon.
fn end_of_item(tokens: &[Token]) -> Option<usize> {
    let (mut depth, mut braces) = (0_i32, 0_i32);
    for token in tokens {
        match token.text.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "{" => braces += 1,
            "}" => braces -= 1,
            _ => {}
        }
        let ends = matches!(token.text.as_str(), "}" | ";");
        if ends && depth <= 0 && braces <= 0 {
            return Some(token.line);
        }
    }
    None
}

/// Blanks what only a test build has; returns also how many lines that is.
fn without_tests(path: &str, code: &str) -> (String, usize) {
    let is_test_file = path.ends_with("tests.rs") || path.contains("/tests/") || code.contains("#![cfg(test)]");
    let tokens = tokens(code);
    let mut is_test_line = vec![is_test_file; code.lines().count()];
    for i in 0..tokens.len() {
        let attribute: String = tokens[i..].iter().take(7).map(|t| t.text.as_str()).collect();
        if attribute == "#[cfg(test)]" || attribute == "#[cfg(all(test" {
            let behind = i + 1 + tokens[i..].iter().position(|t| t.text == "]").unwrap_or(0);
            let end = end_of_item(&tokens[behind..]).unwrap_or(tokens[i].line);
            is_test_line[tokens[i].line - 1..end].fill(true);
        }
    }
    let product = code.lines().zip(&is_test_line).map(|(line, is_test)| if *is_test { "" } else { line });
    (product.collect::<Vec<_>>().join("\n"), is_test_line.iter().filter(|is_test| **is_test).count())
}

/// Blanks comments, strings and characters, and leaves every line where it was.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (blank, next) = rest.split_at(length_without_code(rest));
        code.extend(blank.chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = next;
        if blank.is_empty() {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// How many bytes of comment or literal the text begins with.
fn length_without_code(text: &str) -> usize {
    let to_end_of = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some('/'), Some('/')) => text.find('\n').unwrap_or(text.len()),
        (Some('/'), Some('*')) => block_comment_length(text),
        (Some('"'), _) => string_length(text),
        (Some('\''), Some('\\')) => to_end_of("'", 3),
        (Some('\''), Some(c)) if chars.next() == Some('\'') => 2 + c.len_utf8(),
        (Some('r'), Some('"' | '#')) => {
            let hashes = text[1..].chars().take_while(|c| *c == '#').count();
            let is_string = text[1 + hashes..].starts_with('"');
            if is_string { to_end_of(&format!("\"{}", "#".repeat(hashes)), 2 + hashes) } else { 0 }
        }
        _ => 0,
    }
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        match (rest.starts_with(b"/*"), rest.starts_with(b"*/")) {
            (true, _) => (depth, at) = (depth + 1, at + 2),
            (_, true) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        if c.is_uppercase() && was_lower {
            snake.push('_');
        }
        was_lower = c.is_lowercase();
        snake.extend(c.to_lowercase());
    }
    snake
}

/// Whole words: `op_id` is in `last_op_id`, and `diff` not in `differ`.
fn contains_word(snake_name: &str, word: &str) -> bool {
    format!("_{snake_name}_").contains(&format!("_{word}_"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text below the folder, by its path from the root of the repository, in an order that does not change.
/// Folders of what nobody has written: builds and fuzzers leave it.
const MADE: [&str; 4] = ["target", "corpus", "artifacts", "logs"];

fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return found };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !MADE.contains(&name.as_str()));
    names.sort();
    for path in names.iter().map(|name| format!("{folder}/{name}")) {
        if root().join(&path).is_dir() {
            found.extend(files(&path));
        } else if let Ok(text) = fs::read_to_string(root().join(&path)) {
            found.push((path, text));
        }
    }
    found
}

// ---- the rules find what they are for -----------------------------------------------------------------------------

/// As `line: …` or `line: … | line: …`, without the path.
fn found_in(path: &str, text: &str) -> String {
    let source = Source::new(path.to_owned(), text.to_owned());
    let findings = in_source(&source).into_iter().chain(in_any_text(path, text));
    findings.map(|f| format!("{}: {}", f.line, f.what)).collect::<Vec<_>>().join(" | ")
}

#[track_caller]
fn assert_found(path: &str, code: &str, expected: &str) {
    let found = found_in(path, &format!("//! Docs.\n{code}\n"));
    assert!(found.starts_with(expected), "{path}: {code}\nexpected {expected}\nfound    {found}");
}

#[track_caller]
fn assert_clean(path: &str, code: &str) {
    assert_eq!(found_in(path, &format!("//! Docs.\n{code}\n")), "", "{path}: {code}");
}

#[test]
fn a_layer_that_names_what_is_above_it_is_found() {
    let path_of_crdt = "src/crdt/or_map.rs";
    assert_found(path_of_crdt, "use crate::proto::Node;", "2: `crate::proto::Node` is not for crdt");
    assert_found(path_of_crdt, "use super::super::store;", "2: `crate::store` is not for crdt");
    assert_found("src/crdt/mod.rs", "use super::Store;", "2: `crate::Store` is not for crdt");
    assert_found(path_of_crdt, "use std::{\n    fmt,\n    time::Duration,\n};", "4: `std::time::Duration`");
    assert_found(path_of_crdt, "use std::collections::{BTreeMap, HashMap};", "2: `std::collections::HashMap`");
    assert_found(path_of_crdt, "use std::collections::*;", "2: `std::collections::*`");
    assert_found(path_of_crdt, "fn f() { let now = std::time::SystemTime::now(); }", "2: `std::time::SystemTime::now`");
    assert_found(path_of_crdt, "use rand::Rng;", "2: `rand::Rng`");
    assert_found(path_of_crdt, "async fn f() {}", "2: a pure layer never waits");
    let path_of_proto = "src/proto/sync/session.rs";
    assert_found(path_of_proto, "use crate::{crdt::Dot, runtime::Driver};", "2: `crate::runtime::Driver`");
    assert_found(path_of_proto, "use std::time::{Duration, Instant};", "2: `std::time::Instant`");
    assert_found(path_of_proto, "use std::time::{self, Duration};", "2: `std::time` is not for proto");
    assert_found(path_of_proto, "use std::net::{SocketAddr, UdpSocket};", "2: `std::net::UdpSocket`");
    assert_found(path_of_proto, "fn f() { tokio::spawn(g()); }", "2: `tokio::spawn`");
    assert_found(path_of_proto, "fn f() { rand::rng(); }", "2: `rand::rng`");
    assert_found("src/runtime/driver.rs", "use crate::http::Api as _;", "2: `crate::http::Api` is not for runtime");
}

#[test]
fn a_layer_may_name_what_is_below_it() {
    assert_clean("src/crdt/replica_id.rs", "use rand::RngExt;");
    assert_clean("src/crdt/dot.rs", "use super::ReplicaId;\nuse core::fmt;\nuse std::collections::BTreeMap;");
    assert_clean("src/proto/node.rs", "use crate::crdt::{OrMap, ReplicaId};\nuse super::time::Instant;");
    assert_clean("src/proto/node.rs", "use rand::{Rng, RngExt, rngs::StdRng};\nuse std::net::SocketAddr;");
    assert_clean("src/proto/sync/mod.rs", "use std::time::{\n    Duration,\n};\nuse super::{codec, message::Pull};");
    assert_clean("src/runtime/driver.rs", "use crate::proto;\nuse tokio::{net::UdpSocket, sync::mpsc};");
    assert_clean("src/crdt/or_map.rs", "fn f<'a>() -> impl Sized + use<'a> {}\nfn g() { let fs: proto::X; }");
    assert_clean("src/http/api.rs", "use crate::runtime::Handle;\nuse std::collections::HashMap;");
}

#[test]
fn comments_strings_and_tests_are_not_the_product() {
    let path = "src/crdt/or_map.rs";
    assert_clean(
        path,
        "/// As [`crate::proto::Node`]; /* std::fs */ never dbg!(x).\nfn f<'a>(x: &'a str) -> char { '\\'' }",
    );
    assert_clean(path, "/* /* std::fs::read */ std::fs::read */ fn f() {}");
    assert_clean(path, "fn f() { g(\"\\\" std::fs::read\", r#\"\" tokio::spawn\"#, b'\"', '\"'); }");
    assert_clean(path, "#[cfg(test)]\nmod tests {\n    use std::collections::HashMap;\n    fn f() { {} }\n}");
    assert_clean(
        path,
        "#[cfg(test)]\nuse std::time::Instant;\n#[cfg(all(test, feature = \"net\"))]\nfn f() { std::fs::read(); }",
    );
    assert_clean("src/crdt/or_map/tests.rs", "use std::collections::HashMap;");
    assert_found(path, "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nuse std::fs;", "6: `std::fs`");
    assert_found(path, "#[cfg(test)]\nfn f() { dbg!(1); }", "3: dbg!(: unfinished");
    assert_found(path, "fn f() { g('\"'); std::fs::read(\"\"); }", "2: `std::fs::read`");
}

#[test]
fn what_is_missing_unfinished_or_of_one_machine_is_found() {
    assert!(found_in("src/lib.rs", "pub mod crdt;").starts_with("1: begin the file with //! docs"));
    assert_found("src/proto/codec.rs", "fn f() { g().unwrap(); }", "2: .unwrap(): a decoder returns an error");
    assert_found("src/proto/codec/frame.rs", "fn f() { g().unwrap(); }", "2: .unwrap()");
    assert_clean(
        "src/proto/codec.rs",
        "fn f() { g().unwrap_or(1); }\n#[cfg(test)]\nmod tests { fn f() { g().unwrap(); } }",
    );
    assert_clean("src/proto/node.rs", "fn f() { g().unwrap(); }");
    for (code, expected) in
        [("todo!()", "2: todo!("), ("unimplemented!()", "2: unimplemented!("), ("dbg!(x)", "2: dbg!(")]
    {
        assert_found("src/store.rs", &format!("fn f() {{ {code}; }}"), expected);
    }
    assert_found("src/store.rs", concat!("// see /wo", "rk/notes"), "2: /");
    assert_found("src/store.rs", concat!("// FIX", "ME"), "2: FIX");
    assert_found("tests/net.rs", concat!("fn f() { eprintln!(\"SKIP", "PED: no net\"); }"), "2: println!(");
}

#[test]
fn words_that_have_another_name_are_found() {
    assert_found("src/crdt/dot.rs", "struct Dot { actor: u8 }", "2: `actor`: not actor but replica");
    assert_found(
        "src/proto/node.rs",
        "enum Output { CloseConnection }",
        "2: `CloseConnection`: not connection but link",
    );
    assert_found("src/crdt/entry.rs", "fn has_conflict() {}", "2: `has_conflict`: not conflict but sibling");
    assert_found("src/http/api.rs", "fn start_full_sync() {}", "2: `start_full_sync`: not full_sync but catch_up");
    assert_found("src/proto/node.rs", "fn get_peer() {}", "2: `get_peer`: a getter goes without get_");
    assert_clean("src/crdt/dot.rs", "fn f() { g(dot.actor); }");
    assert_clean("src/proto/node.rs", "fn get() {}\nfn differ(background: u8, frame: u8) { dispatch(); }");
    assert_clean("src/runtime/net/connection.rs", "struct Connection { driver: u8 }");
}

#[test]
fn what_is_too_long_is_found() {
    let lines = |count: usize| "let x = 1;\n".repeat(count);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}", lines(FILE_LINES_MAX));
    assert_clean("src/store.rs", &format!("{}{tests}", lines(FILE_LINES_MAX - 1)));
    assert_found("src/store.rs", &format!("{}{tests}", lines(FILE_LINES_MAX)), "1: 601 lines without tests");

    let source = |text: String| Source::new("src/store.rs".into(), text);
    let long = format!("fn long(x: [u8; 4])\nwhere\n{{\n{}}}\n", lines(FUNCTION_LINES_MAX));
    let found = long_functions(&[source(format!("fn short() {{}}\n{long}"))]);
    assert_eq!(found.iter().map(Finding::to_string).collect::<Vec<_>>(), ["src/store.rs:2: `long` has 59 lines"]);
    assert!(long_functions(&[source("fn short() {}\n".repeat(19) + &long)]).is_empty());
}
