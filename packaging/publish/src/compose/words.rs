//! Text to words, as a shell would split them; nothing is expanded.

/// Splits a command. The error says what is open at its end.
pub fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a single quote is open"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '`' | '$')) => word.push(c),
                            Some('\n') => {}
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a double quote is open"),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a double quote is open"),
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("a backslash stands at the end"),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_a_shell_would() {
        for (text, words) in [
            ("a  b\tc\n", vec!["a", "b", "c"]),
            ("sh -c 'a \"b\" c'", vec!["sh", "-c", "a \"b\" c"]),
            ("a\"b c\"'d e'", vec!["ab cd e"]),
            ("a '' \"\"", vec!["a", "", ""]),
            ("a\\ b \"\\\"\" \"\\n\"", vec!["a b", "\"", "\\n"]),
            ("", vec![]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text:?}");
        }
        for bad in ["'", "\"a", "\\"] {
            assert!(split(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("[a-z \"\\\\$]{0,8}", 0..5)) {
            let text = words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split(&text).unwrap(), words);
        }
    }
}
