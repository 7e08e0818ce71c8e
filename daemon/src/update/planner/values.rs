//! Config values for the releases of a plan.

use std::collections::BTreeMap;

use berth_format::config::{self, FieldError, FieldKind};
use berth_format::{Refusal, Release};

use crate::api::internal;
use crate::store::Store;

/// Of one release, by field.
type Values = BTreeMap<String, String>;

/// Every value of the form of each release that is known: what the admin set, what was generated
/// once, defaults; and what is wrong with the others.
///
/// Secrets that are to be generated are generated and kept here, so that a plan made twice is the
/// same plan.
pub fn values<'a>(
    store: &Store,
    releases: impl IntoIterator<Item = &'a Release>,
) -> Result<(Vec<Values>, Vec<FieldError>), Refusal> {
    let mut given = store.config().map_err(internal)?;
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for release in releases {
        let mut generated = BTreeMap::new();
        for field in &release.config {
            let name = field.name.to_string();
            if field.kind == FieldKind::Secret
                && let Some(length) = field.generate
                && !given.contains_key(&name)
            {
                let secret = secret(length).map_err(internal)?;
                given.insert(name.clone(), secret.clone());
                generated.insert(name, Some(secret));
            }
        }
        if !generated.is_empty() {
            store.set_config(&generated).map_err(internal)?;
        }
        let (values, errors) = config::resolve(&release.config, &given);
        all.push(values);
        for error in errors {
            // Several hops mostly ask for the same.
            if !problems.contains(&error) {
                problems.push(error);
            }
        }
    }
    Ok((all, problems))
}

/// `length` characters of A-Z, a-z and 0-9, each equally likely.
fn secret(length: u32) -> std::io::Result<String> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::new();
    while text.len() < length as usize {
        let mut bytes = [0_u8; 64];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        // 248 is the largest multiple of 62 in a byte: beyond it the first letters would be likelier.
        let fair = bytes
            .iter()
            .filter(|b| **b < 248)
            .map(|b| LETTERS[usize::from(*b) % 62]);
        text.extend(fair.map(char::from).take(length as usize - text.len()));
    }
    Ok(text)
}
