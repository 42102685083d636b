//! A line as words. Not responsible for what they mean.

/// Splits at white space. A word that starts with a quote ends with it, and may hold spaces; within double quotes a
/// backslash takes the next character as it is. Quotes within a word are characters like any other: JSON can be typed.
pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' | '\'' => quoted(rest, first)?,
            _ => plain(rest),
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// As [`split`] reads it back as one word.
pub(super) fn quoted_word(word: &str) -> String {
    let needs = word.is_empty() || word.starts_with(['"', '\'']) || word.contains(char::is_whitespace);
    if needs { format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")) } else { word.to_owned() }
}

fn plain(rest: &str) -> (String, &str) {
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    (rest[..end].to_owned(), &rest[end..])
}

fn quoted(rest: &str, quote: char) -> Result<(String, &str), String> {
    let mut word = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => word.extend(chars.next().map(|(_, next)| next)),
            c if c == quote => return after_quote(word, &rest[at + 1..]),
            c => word.push(c),
        }
    }
    Err(format!("the quote {quote} is not closed"))
}

fn after_quote(word: String, after: &str) -> Result<(String, &str), String> {
    match after.chars().next() {
        Some(c) if !c.is_whitespace() => Err(format!("a space is missing after the quoted {word:?}")),
        _ => Ok((word, after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).expect("words")
    }

    #[test]
    fn words_in_quotes_hold_spaces() {
        assert_eq!(words("  put 'a key'  \"a \\\"value\\\"\" "), ["put", "a key", "a \"value\""]);
        assert_eq!(words("put k ''"), ["put", "k", ""]);
        assert_eq!(words("\t "), [""; 0]);
    }

    #[test]
    fn what_is_quoted_is_read_back_as_one_word() {
        for word in ["plain", "", "two words", "\"quoted\"", "it's", "back\\slash and space", "{\"a\":1}"] {
            assert_eq!(words(&quoted_word(word)), [word]);
        }
    }

    #[test]
    fn json_can_be_typed_as_it_is() {
        assert_eq!(words(r#"put k {"a":"b"}"#), ["put", "k", r#"{"a":"b"}"#]);
        assert_eq!(words(r#"put k '{"a": "it is"}'"#), ["put", "k", r#"{"a": "it is"}"#]);
    }

    #[test]
    fn an_open_quote_is_an_error() {
        assert!(split("put k 'v").is_err());
        assert!(split("put \"a\"b c").is_err());
    }
}
