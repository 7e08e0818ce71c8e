//! The config form: fields of the release, values of the admin.

use std::collections::BTreeMap;

use berth_format::config::{Field, FieldKind};
use berth_format::{Code, Refusal, Release};
use semver::Version;

use super::Appliance;
use crate::api::{BundleForm, ConfigValue, Result, internal};
use crate::engine::Engine;
use crate::host::Host;

impl<E: Engine, H: Host> Appliance<E, H> {
    /// Fields of everything that is here; the newest release's word for each holds.
    fn fields(&self) -> Result<BTreeMap<String, Field>> {
        let mut fields = BTreeMap::new();
        let held = self.0.store.releases().map_err(internal)?;
        let offers = self
            .0
            .offers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let offered = offers.values().flat_map(|o| &o.releases).map(|(r, _)| r);
        let online = self.0.store.offered().map_err(internal)?;
        let online = online.iter().map(|(release, _)| release);
        let held = held.iter().map(|h| &h.release);
        let mut all: Vec<&Release> = held.chain(offered).chain(online).collect();
        all.sort_by(|a, b| a.version.cmp(&b.version));
        for field in all.into_iter().flat_map(|r| &r.config) {
            fields.insert(field.name.to_string(), field.clone());
        }
        Ok(fields)
    }

    pub(super) fn answer_config(&self) -> Result<Vec<ConfigValue>> {
        let installed = self.0.store.installed().map_err(internal)?;
        let stored = match installed {
            Some(i) => self.0.store.release(&i.version).map_err(internal)?,
            None => None,
        };
        if let Some(stored) = stored {
            return self.form(&stored.release.config);
        }
        let fields: Vec<Field> = self.fields()?.into_values().collect();
        self.form(&fields)
    }

    pub(super) fn answer_set_config(
        &self,
        values: BTreeMap<String, Option<String>>,
    ) -> Result<Vec<ConfigValue>> {
        let fields = self.fields()?;
        let mut checked = BTreeMap::new();
        for (name, value) in values {
            let Some(field) = fields.get(&name) else {
                let known = fields.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(
                    Refusal::new(Code::ConfigUnknown, format!("there is no field {name}"))
                        .because(format!("one of {known}"), name),
                );
            };
            let value = value
                .map(|value| field.check(&value))
                .transpose()
                .map_err(|e| {
                    Refusal::new(Code::ConfigInvalid, format!("{name} cannot be set to this"))
                        .because(e.expected, e.found)
                })?;
            checked.insert(name, value);
        }
        self.0.store.set_config(&checked).map_err(internal)?;
        self.answer_config()
    }

    pub(super) fn answer_form(&self, id: u64, version: Option<&Version>) -> Result<BundleForm> {
        let offer = self.offer(id)?;
        let found = match version {
            Some(version) => offer.releases.iter().find(|(r, _)| r.version == *version),
            None => offer.releases.last(),
        };
        let Some((release, _)) = found else {
            return Err(Refusal::new(
                Code::NotFound,
                "the bundle does not hold this release",
            ));
        };
        self.form_of(release)
    }

    /// The newest that the channel offers, where no version is named: what an install would take.
    pub(super) fn answer_channel_form(&self, version: Option<&Version>) -> Result<BundleForm> {
        if self.0.store.following().map_err(internal)?.is_none() {
            let code = Code::ChannelMissing;
            return Err(Refusal::new(code, code.means()));
        }
        let offered = self.0.store.offered().map_err(internal)?;
        let found = match version {
            Some(version) => offered.iter().find(|(r, _)| r.version == *version),
            None => offered.last(),
        };
        let Some((release, _)) = found else {
            let summary = "the channel does not offer this release";
            return Err(
                Refusal::new(Code::NotFound, summary).next("Look at `berth channel check`.")
            );
        };
        self.form_of(release)
    }

    fn form_of(&self, release: &Release) -> Result<BundleForm> {
        Ok(BundleForm {
            version: release.version.clone(),
            config: self.form(&release.config)?,
            grants: release.grants.clone(),
        })
    }

    fn form(&self, fields: &[Field]) -> Result<Vec<ConfigValue>> {
        let given = self.0.store.config().map_err(internal)?;
        Ok(fields
            .iter()
            .map(|field| value(field, given.get(field.name.as_str())))
            .collect())
    }
}

fn value(field: &Field, given: Option<&String>) -> ConfigValue {
    let secret = field.kind == FieldKind::Secret;
    ConfigValue {
        name: field.name.to_string(),
        kind: field.kind,
        label: field.label.clone(),
        help: field.help.clone(),
        // What is generated, or has a default, need not be given.
        required: field.required && field.generate.is_none() && field.default.is_none(),
        choices: field.choices.clone(),
        set: given.is_some(),
        value: if secret {
            None
        } else {
            given.cloned().or_else(|| field.default.clone())
        },
    }
}
