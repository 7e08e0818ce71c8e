//! The channel: what it offers, and its releases into Docker.

use std::path::PathBuf;
use std::sync::Arc;

use berth_format::channel::{Channel, Standing};
use berth_format::rollout::Asked;
use berth_format::root::Root;
use berth_format::{Code, Refusal, Release};
use semver::Version;

use super::Appliance;
use crate::api::{ChannelRelease, ChannelStatus, Notice, Result, internal};
use crate::engine::Engine;
use crate::host::Host;
use crate::release::download::{
    Client, Credential, Mirror, ProxySetting, Secret, Settings, Wanted, sweep,
};
use crate::release::follow;
use crate::release::import::{self, Needed, Source};
use crate::store::ChannelSettings;
use crate::update::context::Bring;

impl<E: Engine, H: Host> Appliance<E, H> {
    pub(super) fn answer_channel(&self) -> Result<ChannelStatus> {
        let store = &self.0.store;
        let Some(following) = store.following().map_err(internal)? else {
            return Err(Refusal::new(
                Code::ChannelMissing,
                Code::ChannelMissing.means(),
            ));
        };
        let channel = self.kept_channel()?;
        let installed = store.installed().map_err(internal)?.map(|i| i.version);
        let appliance = store.appliance().map_err(internal)?;
        let trust = store.trust().map_err(internal)?;
        let now = trust.seen.now(self.0.host.now());
        let releases = channel.iter().flat_map(|channel| {
            channel.releases.iter().map(|(version, entry)| {
                let by_itself = Asked::ByItself;
                ChannelRelease {
                    version: version.clone(),
                    published: entry.published,
                    security: entry.security,
                    offered: channel.is_offered(version, entry, &appliance, now, by_itself),
                    withdrawn: withdrawn(channel, version),
                    instead: channel.successor(version).cloned(),
                }
            })
        });
        Ok(ChannelStatus {
            serial: channel.as_ref().map(|c| c.serial),
            expires: channel.as_ref().map(|c| c.expires),
            checked: following.checked,
            releases: releases.collect(),
            installed: channel
                .as_ref()
                .zip(installed.as_ref())
                .and_then(|(channel, version)| told(channel, version)),
            offer: channel.as_ref().and_then(|channel| {
                let offer = channel.offer(installed.as_ref(), &appliance, now, Asked::ByItself);
                offer.cloned()
            }),
            settings: shown(following.settings),
        })
    }

    /// The channel that was last believed, if its bytes still count: the one that is followed, else
    /// that of the last bundle.
    pub(super) fn kept_channel(&self) -> Result<Option<Channel>> {
        let store = &self.0.store;
        let trust = store.trust().map_err(internal)?;
        let Some(text) = &trust.root else {
            return Ok(None);
        };
        let root = Root::parse(text.as_bytes()).map_err(|error| error.refusal())?;
        if let Some(following) = store.following().map_err(internal)? {
            let name = &following.settings.name;
            return Ok(follow::kept(&following, &trust, &root, name));
        }
        let carried = store.carried().map_err(internal)?;
        Ok(carried.and_then(|c| follow::counts(&c.channel, &trust, &root, &c.name)))
    }

    pub(super) async fn answer_check(&self) -> Result<ChannelStatus> {
        let store = &self.0.store;
        let client = self.client()?;
        let installed = store.installed().map_err(internal)?.map(|i| i.version);
        let now = self.0.host.now();
        let checked = follow::check(&client, store, installed.as_ref(), now).await;
        let failed = checked.err().map(|error| error.refusal());
        self.0.watch.checked(failed.clone());
        failed.map_or_else(|| self.answer_channel(), Err)
    }

    fn client(&self) -> Result<Client> {
        let following = self.0.store.following().map_err(internal)?;
        let Some(following) = following else {
            return Err(Refusal::new(
                Code::ChannelMissing,
                Code::ChannelMissing.means(),
            ));
        };
        Ok(Client::new(settings(&following.settings)))
    }

    /// Fetches the blobs of releases, each checked as it arrives, and then brings them in.
    pub(super) fn bring_from_channel(&self, run: i64) -> Bring {
        let appliance = self.clone();
        Arc::new(move |versions: Vec<Version>| {
            let appliance = appliance.clone();
            Box::pin(async move { appliance.fetch_in(run, &versions).await })
        })
    }

    async fn fetch_in(&self, run: i64, versions: &[Version]) -> Result<()> {
        let store = &self.0.store;
        let held = store.releases().map_err(internal)?;
        let releases: Vec<Release> = held
            .into_iter()
            .map(|held| held.release)
            .filter(|release| versions.contains(&release.version))
            .collect();
        let known = self.known().await?;
        let info = self.0.engine.info().await.map_err(internal)?;
        let files = store.files_dir();
        let needed = import::needed(&releases, &info, &known, &files);
        let needed = needed.map_err(|error| error.refusal())?;
        let notices = self.0.notices.clone();
        let tell = move |done: u64, total: u64| {
            // An error only says that nobody listens.
            drop(notices.send(Notice::Progress {
                run,
                what: "download".to_owned(),
                done,
                total,
            }));
        };
        let folder = self.download(needed, tell).await?;
        let source = Source::Folder(folder.clone());
        self.import(run, source, &releases, &known).await?;
        // Docker has it now; what cannot be removed is taken up again or removed next time.
        if let Err(error) = self.0.host.remove_tree(&folder).await {
            log::warn!("downloads stay on the disk: {error}");
        }
        Ok(())
    }

    /// Fetches blobs, as far as they are not there; `tell` gets verified and all bytes.
    pub(super) async fn download(
        &self,
        needed: Vec<Needed>,
        tell: impl Fn(u64, u64) + Send + Sync,
    ) -> Result<PathBuf> {
        let _one = self.0.downloading.lock().await;
        let folder = self.0.store.downloads_dir();
        self.0.host.make_dir(&folder).await.map_err(internal)?;
        let mut total = 0;
        let (mut wanted, mut empty) = (Vec::new(), Vec::new());
        for one in needed {
            let (blob, size) = match one {
                // There is nothing to fetch of an empty file.
                Needed::Small { blob, .. } if blob.size == 0 => {
                    empty.push(folder.join(blob.digest.hex()));
                    continue;
                }
                Needed::Small { name, blob } => (Wanted::unframed(name, blob), blob.size),
                Needed::Layer { diff_id, layer } => {
                    (Wanted::layer(&diff_id, &layer), layer.stored.size)
                }
            };
            total += size;
            wanted.push((blob.map_err(|error| error.refusal())?, size));
        }
        // Of a version that was to come next, until a newer one did.
        let swept = sweep(&folder, wanted.iter().map(|(blob, _)| blob)).await;
        swept.map_err(internal)?;
        for path in empty {
            tokio::fs::write(path, b"").await.map_err(internal)?;
        }
        let client = self.client()?;
        let mut before = 0;
        for (blob, size) in wanted {
            client
                .blob(&blob, &folder, |bytes| tell(before + bytes, total))
                .await
                .map_err(|error| error.refusal())?;
            before += size;
        }
        log::info!("{} bytes came over the line", client.fetched());
        Ok(folder)
    }
}

/// Why nobody should install a release, if so.
pub(super) fn withdrawn(channel: &Channel, version: &Version) -> Option<String> {
    match channel.standing(version) {
        Standing::Withdrawn { reason, .. } => Some(reason.unwrap_or("it is superseded").to_owned()),
        Standing::Listed | Standing::Unlisted => None,
    }
}

/// What an admin is told of the version that runs.
pub(super) fn told(channel: &Channel, version: &Version) -> Option<String> {
    let Standing::Withdrawn { reason, instead } = channel.standing(version) else {
        return None;
    };
    let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let what = instead.map_or_else(String::new, |version| format!(" Update to {version}."));
    Some(format!("The vendor has withdrawn {version}{why}.{what}"))
}

/// The settings without a password that may be in the proxy's address.
fn shown(settings: ChannelSettings) -> ChannelSettings {
    let proxy = settings.proxy.map(|proxy| match proxy.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://{host}"),
            None => proxy,
        },
        None => proxy,
    });
    ChannelSettings { proxy, ..settings }
}

/// Refuses settings that the first check of the channel would refuse, by the same road; nobody is
/// asked for anything.
pub(super) async fn must_be_ready(set: &ChannelSettings) -> Result<()> {
    let ready = Client::new(settings(set)).ready().await;
    ready.map_err(|error| error.refusal())
}

fn settings(set: &ChannelSettings) -> Settings {
    let credential = set.token_file.as_ref().map(|file| match &set.user {
        Some(user) => Credential::Basic {
            user: user.clone(),
            password_file: file.clone(),
        },
        None => Credential::Bearer {
            token_file: file.clone(),
        },
    });
    Settings {
        mirrors: set
            .mirrors
            .iter()
            .map(|url| Mirror {
                url: url.clone(),
                credential: credential.clone(),
            })
            .collect(),
        proxy: match set.proxy.as_deref() {
            None => ProxySetting::Environment,
            Some("direct") => ProxySetting::Direct,
            Some(url) => ProxySetting::Use {
                url: Secret(url.to_owned()),
                except: None,
            },
        },
        ca_file: set.ca_file.clone(),
        bandwidth: set.bandwidth,
        allow_http: set.allow_http,
        allow_private: set.allow_private,
    }
}
