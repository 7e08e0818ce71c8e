//! The documents that are searched. Each schema keeps them differently; a version of Lantern only
//! knows the schema that it was written for, and the later ones that have not broken it.

use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::db::Error;

/// The schema that brought `docs.lang`.
const LANGUAGES: i32 = 2;
/// The schema that moved the text out of `docs`, each text once.
const BLOBS: i32 = 3;

/// Most hits of one search.
const LIMIT: i64 = 50;

/// Documents, as the SQL of one schema sees them.
pub struct Docs<'a> {
    pub client: &'a Client,
    pub schema: i32,
}

/// A document that holds what was searched.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Hit {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// Number of the first line that matches, from 1.
    pub line: usize,
    pub text: String,
}

impl Docs<'_> {
    /// Adds a document or replaces the one of that name. Writes nothing when nothing changed.
    pub async fn put(&self, name: &str, source: &str, text: &str) -> Result<(), Error> {
        let lang = language(name);
        let text_of = if self.schema >= BLOBS {
            self.client
                .execute(
                    "INSERT INTO blobs (sha256, text) VALUES (sha256(convert_to($1, 'UTF8')), $1) \
                     ON CONFLICT DO NOTHING",
                    &[&text],
                )
                .await?;
            ("blob", "sha256(convert_to($3, 'UTF8'))")
        } else {
            ("text", "$3")
        };
        let (column, value) = text_of;
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&name, &source, &text];
        let (lang_column, lang_value) = if self.schema >= LANGUAGES {
            (", lang", ", $4")
        } else {
            ("", "")
        };
        if self.schema >= LANGUAGES {
            parameters.push(&lang);
        }
        let sql = format!(
            "INSERT INTO docs (name, source, {column}{lang_column}) \
             VALUES ($1, $2, {value}{lang_value}) ON CONFLICT (name) DO UPDATE \
             SET source = excluded.source, {column} = excluded.{column}, updated_at = now() \
             WHERE (docs.source, docs.{column}) IS DISTINCT FROM (excluded.source, excluded.{column})"
        );
        self.client.execute(sql.as_str(), &parameters).await?;
        Ok(())
    }

    /// Removes the documents of a source that are not in `names`.
    pub async fn keep_only(&self, source: &str, names: &[String]) -> Result<u64, Error> {
        let sql = "DELETE FROM docs WHERE source = $1 AND NOT name = ANY($2)";
        Ok(self.client.execute(sql, &[&source, &names]).await?)
    }

    /// How many there are.
    pub async fn count(&self) -> Result<i64, Error> {
        Ok(self
            .client
            .query_one("SELECT count(*) FROM docs", &[])
            .await?
            .get(0))
    }

    /// Documents with `query` in them, whatever the case, by name.
    pub async fn search(&self, query: &str) -> Result<Vec<Hit>, Error> {
        let lang = if self.schema >= LANGUAGES {
            "docs.lang"
        } else {
            "NULL::text"
        };
        let (text, from) = if self.schema >= BLOBS {
            ("blobs.text", "docs JOIN blobs ON blobs.sha256 = docs.blob")
        } else {
            ("docs.text", "docs")
        };
        let sql = format!(
            "SELECT docs.name, {lang}, {text} FROM {from} WHERE {text} ILIKE $1 \
             ORDER BY docs.name LIMIT $2"
        );
        let rows = self
            .client
            .query(sql.as_str(), &[&pattern(query), &LIMIT])
            .await?;
        let hits = rows.iter().map(|row| {
            let (line, text) = first_line(row.get(2), query);
            Hit {
                name: row.get(0),
                lang: row.get(1),
                line,
                text,
            }
        });
        Ok(hits.collect())
    }
}

/// A LIKE pattern that means the text itself.
fn pattern(query: &str) -> String {
    let mut pattern = String::from("%");
    for c in query.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern + "%"
}

/// The first line with `query` in it; the first line at all when the match spans lines.
fn first_line(text: &str, query: &str) -> (usize, String) {
    let query = query.to_lowercase();
    let line = text
        .lines()
        .enumerate()
        .find(|(_, line)| line.to_lowercase().contains(&query))
        .unwrap_or((0, text.lines().next().unwrap_or_default()));
    (line.0 + 1, line.1.trim().chars().take(200).collect())
}

/// The language of a file, by its name. The migration to schema 2 says the same in SQL.
fn language(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("rs") => "rust",
        Some("py") => "python",
        Some("go") => "go",
        Some("c" | "h") => "c",
        Some("sh") => "shell",
        Some("md") => "markdown",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_of_like_are_searched_as_they_are() {
        assert_eq!(pattern(r"100%_\"), r"%100\%\_\\%");
    }

    #[test]
    fn the_first_matching_line_is_shown() {
        assert_eq!(
            first_line("a\n  Foo bar\nfoo", "foo"),
            (2, "Foo bar".to_owned())
        );
        assert_eq!(first_line("", "foo"), (1, String::new()));
    }
}
