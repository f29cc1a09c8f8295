//! Rules about Rust source: how long a file may grow, and where `unsafe` lives.

use super::{Finding, SourceFile};

/// Above this a file holds more than one thing.
const MAX_LINES: usize = 600;

/// Files that may be longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// The one crate that talks to the kernel in ways the compiler cannot check.
const UNSAFE_HOME: &str = "crates/sys/";

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        findings.extend(check_length(file));
        findings.extend(check_unsafe(file));
    }
    for (path, reason) in LONG_FILES {
        let long = |file: &SourceFile| file.path == *path && file.text.lines().count() > MAX_LINES;
        if !files.iter().any(long) {
            findings.push(Finding::new(
                *path,
                format!("is excused for its length ({reason}) and does not need it"),
                "remove it from LONG_FILES in xtask/src/tidy/source.rs",
            ));
        }
    }
    findings
}

fn check_length(file: &SourceFile) -> Option<Finding> {
    if is_test(&file.path) || LONG_FILES.iter().any(|(path, _)| *path == file.path) {
        return None;
    }
    let lines = file.text.lines().count();
    (lines > MAX_LINES).then(|| {
        Finding::new(
            &file.path,
            format!("has {lines} lines, more than {MAX_LINES}"),
            "split it by what it holds; long tests go to a sibling tests.rs",
        )
    })
}

fn check_unsafe(file: &SourceFile) -> Vec<Finding> {
    if file.path.starts_with(UNSAFE_HOME) {
        return Vec::new();
    }
    code_lines(&file.text)
        .filter(|(_, code)| has_word(code, "unsafe"))
        .map(|(number, _)| {
            Finding::new(
                format!("{}:{number}", file.path),
                "`unsafe` outside crates/sys",
                "give crates/sys a small safe function for it",
            )
        })
        .collect()
}

/// Whether the file only exists for tests.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Numbered lines without line comments and without what stands in plain string literals.
///
/// Block comments and raw strings are not understood; a false alarm there is easily reworded.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    text.lines().enumerate().map(|(index, line)| (index + 1, code_of(line)))
}

fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut characters = line.chars().peekable();
    let mut in_string = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => {
                characters.next();
            }
            '"' => in_string = !in_string,
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if !in_string => code.push(character),
            _ => {}
        }
    }
    code
}

/// Whether `word` stands in `code` on its own, not as a part of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn unsafe_is_found_in_code_only() {
        let source =
            "// unsafe words\nlet x = \"unsafe { }\";\n#![deny(unsafe_code)]\nunsafe { f() }\n";
        let found = check_unsafe(&file("crates/content/src/lib.rs", source));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().starts_with("crates/content/src/lib.rs:4:"), "{}", found[0]);
        assert!(check_unsafe(&file("crates/sys/src/lib.rs", source)).is_empty());
    }

    #[test]
    fn long_files_are_found_and_long_tests_are_not() {
        let long = "//\n".repeat(MAX_LINES + 1);
        assert!(check_length(&file("crates/x/src/lib.rs", &long)).is_some());
        assert!(check_length(&file("crates/x/src/tests.rs", &long)).is_none());
        assert!(check_length(&file("crates/x/tests/pull.rs", &long)).is_none());
        assert!(check_length(&file("crates/x/src/lib.rs", &"//\n".repeat(MAX_LINES))).is_none());
    }

    #[test]
    fn strings_with_escapes_end_where_they_end() {
        assert_eq!(code_of(r#"f("a\"b"); g() // c"#), "f(); g() ");
    }
}
