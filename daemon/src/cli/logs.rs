//! `berth logs`: what a service writes.

use berth_format::Name;
use hyper::Method;

use super::Done;
use super::client::Client;
use super::terminal::Terminal;
use crate::api::{LogLine, internal};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service, as `berth status` names it.
    service: Name,
    /// Go on with what comes.
    #[arg(long, short)]
    follow: bool,
    /// So many of the last lines.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    tail: u32,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    let path = format!(
        "/v1/services/{}/logs?tail={}&follow={}",
        args.service, args.tail, args.follow
    );
    let mut lines = client.lines(Method::GET, &path, None::<&()>).await?;
    while let Some(line) = lines.next().await? {
        if terminal.json {
            terminal.line(line);
        } else {
            let line: LogLine = serde_json::from_str(&line).map_err(internal)?;
            terminal.line(line.line);
        }
        if terminal.gone() {
            break;
        }
    }
    Ok(0)
}
