//! A mail over SMTP, in plain text, to people.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailboxes, Message, header};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::settings::mailbox;
use super::{Letter, Mail, NotifyError, Security, host_name};
use crate::release::download::{bad_file, pem, printable, secret};

/// For name, connection and TLS.
const CONNECT: Duration = Duration::from_secs(10);

/// For all of it: mail servers make strangers wait on purpose.
const WHOLE: Duration = Duration::from_mins(1);

/// The last of the year 9998: the library panics at later ones.
const LAST_SECOND: u64 = 253_370_764_799;

/// Sends it once. Every address is told or none.
pub(super) async fn send(mail: &Mail, letter: &Letter) -> Result<(), NotifyError> {
    let transport = transport(mail)?;
    let message = message(mail, letter)?;
    let at = format!("{}:{}", mail.server, mail.port());
    match tokio::time::timeout(WHOLE, transport.send(message)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(refused(at, &error)),
        Err(_) => Err(NotifyError::Silent { at, within: WHOLE }),
    }
}

fn transport(mail: &Mail) -> Result<AsyncSmtpTransport<Tokio1Executor>, NotifyError> {
    let tls = match mail.security {
        Security::Tls => Tls::Wrapper(tls(mail)?),
        Security::Starttls => Tls::Required(tls(mail)?),
        Security::Plain => Tls::None,
    };
    // "Dangerous" is only that the next line could be missing.
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.server)
        .tls(tls)
        .port(mail.port())
        .timeout(Some(CONNECT))
        .hello_name(ClientId::Domain(host_name()));
    if let (Some(user), Some(file)) = (&mail.user, &mail.password_file) {
        builder = builder.credentials(Credentials::new(user.clone(), secret(file)?));
    }
    Ok(builder.build())
}

fn tls(mail: &Mail) -> Result<TlsParameters, NotifyError> {
    let mut builder = TlsParameters::builder(mail.server.clone());
    if let Some(path) = &mail.ca_file {
        let found = Certificate::from_pem(&pem(path)?)
            .map_err(|_| bad_file(path, "not a bundle of certificates in PEM"))?;
        builder = builder.add_root_certificate(found);
    }
    builder
        .build_rustls()
        .map_err(|error| NotifyError::Unusable(error.to_string()))
}

fn message(mail: &Mail, letter: &Letter) -> Result<Message, NotifyError> {
    let from = mailbox(&mail.from)?;
    let domain = from.email.domain().to_owned();
    let to = mail.to.iter().map(|to| mailbox(to));
    let to: Mailboxes = to.collect::<Result<_, _>>()?;
    Message::builder()
        .from(from)
        .mailbox(header::To::from(to))
        .subject(letter.headline())
        .date(date(letter.timestamp))
        // The same each time that it is tried, so that a mail that came twice can be seen as one.
        .message_id(Some(format!("<{}@{domain}>", letter.id)))
        // Nobody's holiday answers it.
        .raw_header(raw(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated",
        ))
        .raw_header(raw(
            HeaderName::new_from_ascii_str("X-Berth-Event"),
            letter.event.as_str(),
        ))
        .header(ContentType::TEXT_PLAIN)
        .body(body(letter))
        .map_err(|error| NotifyError::Unusable(error.to_string()))
}

/// What lettre can write as a date; a clock may say anything.
fn date(at: Timestamp) -> SystemTime {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND))
}

fn raw(name: HeaderName, value: &str) -> HeaderValue {
    HeaderValue::new(name, value.to_owned())
}

fn body(letter: &Letter) -> String {
    let data = &letter.data;
    let mut text = format!("{}\n", data.summary);
    // Writing to a text cannot fail.
    if let Some(next) = &data.next {
        let _ = write!(text, "\nNext: {next}\n");
    }
    text.push('\n');
    let rows = [
        ("event", Some(letter.event.to_string())),
        ("when", Some(letter.timestamp.to_string())),
        ("host", Some(data.host.clone())),
        ("product", data.product.as_ref().map(ToString::to_string)),
        ("from", data.from.as_ref().map(ToString::to_string)),
        ("to", data.to.as_ref().map(ToString::to_string)),
        ("service", data.service.as_ref().map(ToString::to_string)),
        (
            "update",
            data.run
                .map(|run| format!("{run}  (`berth history {run}`)")),
        ),
        ("code", data.code.map(|code| code.to_string())),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            let _ = writeln!(text, "{name:<9}{value}");
        }
    }
    text
}

fn refused(at: String, error: &Error) -> NotifyError {
    let why = printable(error.to_string().as_bytes());
    if error.is_timeout() {
        return NotifyError::Silent {
            at,
            within: CONNECT,
        };
    }
    match error.status().map(u16::from) {
        Some(status) => NotifyError::Mail {
            at,
            why,
            // A wrong password is mended here, and the mail is then wanted.
            permanent: status >= 500 && !matches!(status, 530 | 534 | 535 | 538),
        },
        None => NotifyError::Unreachable { at, why },
    }
}
