//! The search page.

use crate::docs::Hit;

/// What the page shows.
pub struct Page<'a> {
    pub version: &'a str,
    /// `None`: the database is away.
    pub schema: Option<i32>,
    pub accent: &'a str,
    pub external_url: &'a str,
    /// A word of the installation's admin, from a config file.
    pub motd: &'a str,
    pub query: &'a str,
    pub hits: &'a [Hit],
    pub problem: Option<&'a str>,
}

impl Page<'_> {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let body = match self.problem {
            Some(problem) => format!("<p role=alert>{}</p>", escape(problem)),
            None if self.query.is_empty() => String::new(),
            None => {
                let hits: String = self.hits.iter().map(row).collect();
                format!("<p>{} found</p><ol>{hits}</ol>", self.hits.len())
            }
        };
        let schema = self
            .schema
            .map_or("away".to_owned(), |schema| schema.to_string());
        format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>Lantern</title>\
             <meta name=viewport content=\"width=device-width\"><style>\
             body{{font:16px/1.5 sans-serif;margin:0}}header{{background:{accent};color:#fff;\
             padding:1rem}}main{{padding:1rem;max-width:60rem}}pre{{background:#f3f3f3;\
             padding:.5rem;overflow-x:auto}}</style>\
             <header><h1>Lantern</h1>Version {version}, schema {schema}</header>\
             <main><p>{motd}</p><form><label>Search <input name=q value=\"{query}\"></label> \
             <button>Go</button></form>{body}<p><small>{url}</small></p></main></html>",
            accent = escape(self.accent),
            version = escape(self.version),
            motd = escape(self.motd),
            query = escape(self.query),
            url = escape(self.external_url),
        )
    }
}

fn row(hit: &Hit) -> String {
    format!(
        "<li><b>{}</b>:{} <i>{}</i><pre>{}</pre></li>",
        escape(&hit.name),
        hit.line,
        escape(hit.lang.as_deref().unwrap_or_default()),
        escape(&hit.text)
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_searched_is_text_and_not_markup() {
        let page = Page {
            version: "1",
            schema: None,
            accent: "red",
            external_url: "http://x",
            motd: "",
            query: "\"><script>",
            hits: &[],
            problem: None,
        };
        assert!(!page.html().contains("<script>"));
    }
}
