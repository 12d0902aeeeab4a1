//! JSON as an indented tree: `.status`, `.nodes` and the like.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// What a node answered. Numbers keep their digits; keys are in order.
pub enum Tree {
    Map(BTreeMap<String, Tree>),
    List(Vec<Tree>),
    Null,
    /// As it is printed.
    Scalar(String),
}

impl Tree {
    pub fn parse(json: &str) -> serde_json::Result<Tree> {
        let json = json.trim();
        Ok(match json.as_bytes().first() {
            Some(b'{') => {
                let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json)?;
                let fields = fields.into_iter().map(|(key, value)| Ok((key, Tree::parse(value.get())?)));
                Tree::Map(fields.collect::<serde_json::Result<_>>()?)
            }
            Some(b'[') => {
                let elements: Vec<Box<RawValue>> = serde_json::from_str(json)?;
                Tree::List(elements.iter().map(|element| Tree::parse(element.get())).collect::<Result<_, _>>()?)
            }
            Some(b'"') => Tree::Scalar(serde_json::from_str(json)?),
            _ if json == "null" => Tree::Null,
            // Checks it, so that what is no JSON is an error.
            _ => Tree::Scalar(serde_json::from_str::<Box<RawValue>>(json)?.get().to_string()),
        })
    }

    pub fn get(&self, key: &str) -> Option<&Tree> {
        match self {
            Tree::Map(fields) => fields.get(key),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Tree::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The fields of a map, or of one field of it: nothing if there is no such field.
    pub fn print(&self, only: Option<&str>) -> String {
        let mut text = String::new();
        if let Tree::Map(fields) = self {
            for (key, value) in fields.iter().filter(|(key, _)| only.is_none_or(|only| only == *key)) {
                value.print_field(key, 0, &mut text);
            }
        }
        text
    }

    fn print_field(&self, key: &str, depth: usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        match self {
            Tree::Null => {}
            Tree::Map(fields) => {
                text.push_str(&format!("{indent}{key}:\n"));
                for (key, value) in fields {
                    value.print_field(key, depth + 1, text);
                }
            }
            other => text.push_str(&format!("{indent}{key}: {}\n", other.inline())),
        }
    }

    /// Source: Go `fmt`, verb `%v`.
    fn inline(&self) -> String {
        match self {
            Tree::Null => "<nil>".to_string(),
            Tree::Scalar(text) => text.clone(),
            Tree::List(elements) => {
                let elements: Vec<String> = elements.iter().map(Tree::inline).collect();
                format!("[{}]", elements.join(" "))
            }
            Tree::Map(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(key, value)| format!("{key}:{}", value.inline())).collect();
                format!("map[{}]", fields.join(" "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tree;

    const STATUS: &str = r#"{"store":{"nodes":[{"id":"n1","addr":"h:1"},null],"time":4.5e-05,"none":null,"empty":{},
        "list":[],"ok":true},"build":{"version":"10"},"top":"x"}"#;

    #[test]
    fn trees() {
        let tree = Tree::parse(STATUS).unwrap();
        insta::assert_snapshot!(tree.print(None), @r"
        build:
          version: 10
        store:
          empty:
          list: []
          nodes: [map[addr:h:1 id:n1] <nil>]
          ok: true
          time: 4.5e-05
        top: x
        ");
        assert_eq!(tree.print(Some("build")), "build:\n  version: 10\n");
        assert_eq!(tree.print(Some("nosuch")), "");
        assert!(Tree::parse("{").is_err());
        assert!(Tree::parse("<html>").is_err());
    }
}
