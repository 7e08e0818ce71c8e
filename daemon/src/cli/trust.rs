//! `berth trust`: whose bundles this machine takes.

use berth_format::Digest;
use hyper::Method;
use jiff::Timestamp;

use super::Done;
use super::client::Client;
use super::terminal::{Terminal, Tone};
use super::text::minute;
use crate::api::TrustInfo;
use crate::http::wire::TrustRequest;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The fingerprint that the vendor gave you, over another way than the bundle came.
    fingerprint: Option<Digest>,
    /// Also when another root is trusted.
    #[arg(long, requires = "fingerprint")]
    replace: bool,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    let info: TrustInfo = match args.fingerprint {
        None => client.get("/v1/trust").await?,
        Some(fingerprint) => {
            let request = TrustRequest {
                fingerprint,
                replace: args.replace,
            };
            client.send(Method::PUT, "/v1/trust", &request).await?
        }
    };
    if terminal.json {
        terminal.document(&info)?;
        return Ok(0);
    }
    let Some(fingerprint) = info.fingerprint else {
        terminal.line("This machine trusts nobody yet.");
        terminal
            .line("Compare the fingerprint with the vendor's, then run `berth trust FINGERPRINT`.");
        return Ok(0);
    };
    let whom = match &info.product {
        Some(product) => {
            format!("This machine takes bundles of {product} from the holder of this root:")
        }
        None => "This machine takes bundles from the holder of this root, once one has brought it:"
            .to_owned(),
    };
    terminal.line(whom);
    let line = terminal.paint(Tone::Strong, &format!("  {fingerprint}"));
    terminal.line(line);
    if let Some(expires) = info.expires {
        let (tone, verb) = if expires < Timestamp::now() {
            (Tone::Bad, "It expired on")
        } else {
            (Tone::Dim, "It is good until")
        };
        let line = terminal.paint(tone, &format!("{verb} {}.", minute(expires)));
        terminal.line(line);
    }
    Ok(0)
}
