//! Redis, as much of its protocol (RESP 2) as a counter needs.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(2);

/// Why the cache did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cache: {0}")]
    Io(#[from] std::io::Error),
    #[error("cache: {0}")]
    Refused(String),
    #[error("cache: no answer within {} s", PATIENCE.as_secs())]
    Timeout,
}

/// Where the cache is.
pub struct Cache {
    /// `host:port`
    pub address: String,
}

impl Cache {
    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), Error> {
        match self.command(&["PING"]).await?.as_str() {
            "+PONG" => Ok(()),
            other => Err(Error::Refused(other.to_owned())),
        }
    }

    /// Adds one to a counter and gives its new value.
    pub async fn count(&self, key: &str) -> Result<u64, Error> {
        let reply = self.command(&["INCR", key]).await?;
        match reply.strip_prefix(':').and_then(|n| n.parse().ok()) {
            Some(n) => Ok(n),
            None => Err(Error::Refused(reply)),
        }
    }

    /// Sends one command on a connection of its own; gives the first line of the reply.
    async fn command(&self, words: &[&str]) -> Result<String, Error> {
        let exchange = async {
            let mut stream = BufReader::new(TcpStream::connect(&self.address).await?);
            stream.write_all(encode(words).as_bytes()).await?;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            Ok(line.trim_end().to_owned())
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .unwrap_or(Err(Error::Timeout))
    }
}

/// An array of bulk strings.
fn encode(words: &[&str]) -> String {
    let bulk = words
        .iter()
        .map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), bulk.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        assert_eq!(encode(&["INCR", "né"]), "*2\r\n$4\r\nINCR\r\n$3\r\nné\r\n");
    }

    #[tokio::test]
    async fn an_error_reply_is_not_an_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cache = Cache {
            address: listener.local_addr().unwrap().to_string(),
        };
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream
                .write_all(b"-LOADING Redis is loading\r\n")
                .await
                .unwrap();
        });
        assert!(matches!(cache.ping().await, Err(Error::Refused(_))));
    }
}
