//! `$NAME` and `${NAME}` in configuration files.

/// Replaces each variable by what `value` says, or by nothing.
///
/// Source: Go `os.Expand`, without the shell's special variables.
pub fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, behind) = match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            Some((name, behind)) => (name, behind),
            None => after.split_at(after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(after.len())),
        };
        if name.is_empty() && behind.len() == after.len() {
            expanded.push('$');
        }
        expanded.push_str(&value(name).unwrap_or_default());
        rest = behind;
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn variables_become_their_values() {
        check("$A-${A}b$A_$", "x-xb$");
        check("${NOSUCH}$NOSUCH.", ".");
        check("no $ sign", "no $ sign");
        check("${A", "${A");

        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(expand(text, |name| (name == "A").then(|| "x".to_string())), want);
        }
    }
}
