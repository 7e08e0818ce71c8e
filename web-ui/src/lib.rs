//! Pages and assets; knows the API, never the insides of the daemon.

use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// How the page feels: one of four colours, never without its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Good,
    /// It takes care of itself, or wants a look.
    Attention,
    Bad,
    /// Nothing to say.
    Quiet,
}

/// A service, in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub good: bool,
    /// One short sentence.
    pub summary: String,
}

/// What the home page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The product's name.
    pub title: String,
    pub mood: Mood,
    /// One word for the whole.
    pub state: &'static str,
    /// One sentence that a tired person understands.
    pub sentence: String,
    pub version: Option<String>,
    /// Newer versions that are here.
    pub available: Vec<String>,
    pub services: Vec<Service>,
    /// Version of Berth.
    pub berth: String,
}

impl Home {
    /// The page: whole, without scripts, without anything from elsewhere.
    pub fn render(&self) -> String {
        let mut page = String::with_capacity(8 << 10);
        // Writing to a String does not fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let title = escape(&self.title);
        write!(
            page,
            "<!doctype html><html lang=en><meta charset=utf-8>\
             <meta name=viewport content=\"width=device-width\">\
             <title>{title}: {state}</title><style>{STYLE}</style>\n\
             <header><b>{title}</b></header>\n<main>\n\
             <div><span class=\"pill {class}\">{state}</span><h1>{sentence}</h1>",
            state = self.state,
            class = class(self.mood),
            sentence = escape(&self.sentence),
        )?;
        if let Some(version) = &self.version {
            write!(page, "<p class=dim>Version {}.</p>", escape(version))?;
        }
        page.push_str("</div>\n");
        if self.version.is_none() {
            page.push_str(
                "<div class=card><h2>Install a product</h2>\
                 <p>On this machine: <code>berth install BUNDLE</code></p></div>\n",
            );
        }
        if let Some(newest) = self.available.last() {
            writeln!(
                page,
                "<div class=card><h2>Version {} is here</h2>\
                 <p>See what it would do: <code>berth plan</code></p></div>",
                escape(newest)
            )?;
        }
        if !self.services.is_empty() {
            page.push_str(
                "<div class=card><h2>Services</h2><table>\n<tr><th>Service<th>State</tr>\n",
            );
            for service in &self.services {
                writeln!(
                    page,
                    "<tr><td>{}<td><span class=\"pill {}\">{}</span></tr>",
                    escape(&service.name),
                    class(if service.good {
                        Mood::Good
                    } else {
                        Mood::Attention
                    }),
                    escape(&service.summary),
                )?;
            }
            page.push_str("</table></div>\n");
        }
        writeln!(
            page,
            "</main>\n<footer class=dim>Berth {}</footer></html>",
            escape(&self.berth)
        )
    }
}

/// What a visitor of the product reads while it is away: whole in itself, asks again by itself.
pub fn away(title: &str, sentence: &str) -> String {
    let (title, sentence) = (escape(title), escape(sentence));
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><meta http-equiv=refresh content=5>\
         <title>{title} is away for a moment</title><style>{STYLE}</style>\n\
         <header><b>{title}</b></header>\n<main>\n\
         <div><span class=\"pill warn\">away</span><h1>{title} is away for a moment</h1>\
         <p class=dim>{sentence}</p></div>\n\
         <p class=dim>This page asks again every 5 seconds.</p>\n</main></html>"
    )
}

fn class(mood: Mood) -> &'static str {
    match mood {
        Mood::Good => "ok",
        Mood::Attention => "warn",
        Mood::Bad => "bad",
        Mood::Quiet => "idle",
    }
}

/// Text as it may stand in HTML, between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_vendor_writes_stays_text() {
        let home = Home {
            title: "<script>alert(1)</script>".into(),
            mood: Mood::Good,
            state: "healthy",
            sentence: "a & b \"c\" 'd'".into(),
            version: Some("1.0.0".into()),
            available: vec!["1.1.0".into()],
            services: vec![Service {
                name: "<b>".into(),
                good: false,
                summary: "</span><i>".into(),
            }],
            berth: "0.1.0".into(),
        };
        let page = home.render();
        for bad in ["<script", "<b>\n", "<i>"] {
            assert!(!page.contains(bad), "{bad} in {page}");
        }
        assert!(page.contains("a &amp; b &quot;c&quot; &#39;d&#39;"));
        assert!(page.contains("Version 1.1.0 is here"));
    }
}
