//! Volumes, binds, tmpfs, secrets and configs: everything that is mounted.

use std::path::{Path, PathBuf};

use berth_format::release::GrantKind;
use berth_format::service::Mount;
use berth_format::{Name, Template};

use crate::compose::cursor::At;
use crate::compose::keys::{self, Scope};
use crate::compose::normalize::PROPAGATION;
use crate::compose::{Builder, units};
use crate::yaml::{Kind, Node};

impl Builder<'_> {
    /// All mounts of a service, in the order of the Compose file.
    pub fn mounts(&mut self, owner: &Name, service: &At) -> Vec<Mount> {
        let mut mounts = Vec::new();
        for key in ["volumes", "tmpfs", "configs", "secrets"] {
            for at in service.get(key).map(|a| a.items()).unwrap_or_default() {
                let mount = match key {
                    "volumes" => self.mount(owner, &at),
                    "tmpfs" => tmpfs_short(&at),
                    section => self.file_use(owner, &at, section),
                };
                let Some(mount) = mount else { continue };
                let target = target_path(&mount);
                if mounts.iter().any(|other| target_path(other) == target) {
                    at.fail(
                        format!("something is mounted at {target} already"),
                        "remove one of them, or give it another target",
                    );
                }
                mounts.push(mount);
            }
        }
        mounts
    }

    fn mount(&mut self, owner: &Name, at: &At) -> Option<Mount> {
        keys::check(at, Scope::Mount);
        let target = target(&at.need("target")?)?;
        let read_only = at.get("read_only").is_some_and(|a| a.bool() == Some(true));
        let kind = at.need("type")?;
        for (key, scope) in [
            ("bind", Scope::MountBind),
            ("volume", Scope::MountVolume),
            ("tmpfs", Scope::MountTmpfs),
        ] {
            if let Some(options) = at.get(key) {
                keys::check(&options, scope);
                if kind.node.as_text() != Some(key) {
                    options.fail(
                        format!("belongs to a mount of type {key}"),
                        "remove it, or correct `type`",
                    );
                }
            }
        }
        match kind.text()?.as_str() {
            "volume" => {
                let volume = match at.get("source") {
                    Some(source) => self.used_volume(&source)?,
                    None => self.own_volume(owner, &target),
                };
                let nocopy = at.get("volume").and_then(|v| v.get("nocopy")?.bool());
                Some(Mount::Volume {
                    volume,
                    target,
                    read_only,
                    nocopy: nocopy.unwrap_or(false),
                })
            }
            "tmpfs" => {
                for key in ["source", "read_only"] {
                    if let Some(at) = at.get(key) {
                        at.fail("means nothing for memory", "remove it");
                    }
                }
                let options = at.get("tmpfs");
                let get = |key| options.as_ref().and_then(|o| o.get(key));
                let size = get("size").and_then(|s| s.bytes());
                Some(Mount::Tmpfs {
                    target,
                    size: size.and_then(|s| u64::try_from(s).ok()),
                    mode: get("mode").and_then(|m| octal(&m)),
                })
            }
            "bind" => self.bind(owner, at, target, read_only),
            _ => {
                kind.expected("volume, bind or tmpfs");
                None
            }
        }
    }

    fn bind(&mut self, owner: &Name, at: &At, target: String, read_only: bool) -> Option<Mount> {
        let source = at.need("source")?;
        let path = source.template()?;
        let options = at.get("bind");
        let propagation = options.as_ref().and_then(|o| o.get("propagation"));
        if path.source().starts_with("./") {
            if let Some(propagation) = propagation {
                propagation.fail("means nothing for files of the release", "remove it");
            }
            return self.packed(at, &source, target, read_only);
        }
        if path.source().starts_with('~') {
            source.fail(
                "the customer's home folder is not yours",
                "write an absolute path and grant it, or use a named volume",
            );
            return None;
        }
        let clean = trim_slash(path.source()).to_owned();
        let path = Template::parse(&clean).ok()?;
        if is_socket(&clean) {
            self.grant(owner, GrantKind::DockerSocket, "", &source);
        } else {
            self.grant(owner, GrantKind::HostPath, &clean, &source);
        }
        let create = options.and_then(|o| o.get("create_host_path")?.bool());
        if let Some(data) = self.host_data.get_mut(&clean) {
            *data = true;
        }
        Some(Mount::Host {
            data: self.host_data.contains_key(&clean),
            path,
            target,
            read_only,
            // Docker would make a folder where the socket should be.
            create: create.unwrap_or(true) && !is_socket(&clean),
            propagation: propagation.and_then(|p| {
                let text = p.text()?;
                if !PROPAGATION.contains(&text.as_str()) {
                    p.expected(PROPAGATION.join(", "));
                }
                Some(text)
            }),
        })
    }

    /// Files of the vendor's folder.
    fn packed(&mut self, at: &At, source: &At, target: String, read_only: bool) -> Option<Mount> {
        let path = source.text()?;
        let full = self.find(source, &path)?;
        if !full.exists() {
            source.fail(
                format!("{path} does not exist"),
                "write it if the release brings it, or use a named volume if the service writes there",
            );
            return None;
        }
        if !read_only && full.is_dir() {
            at.fail(
                format!("{path} comes with the release, and such files are read-only"),
                "say :ro if the service only reads them, or use a named volume",
            );
        } else if !read_only {
            at.warn(
                format!("{path} comes with the release, and such files are read-only"),
                "say :ro",
            );
        }
        self.pack(source, &full, None)
            .map(|files| Mount::Files { files, target })
    }

    fn find(&self, at: &At, path: &str) -> Option<PathBuf> {
        let path = path.strip_prefix("./").unwrap_or(path);
        let found = self.root.find(path);
        found.map_err(|o| at.fail(o.what, o.instead)).ok()
    }

    fn pack(&mut self, at: &At, path: &Path, mode: Option<u32>) -> Option<berth_format::Digest> {
        match self.packer.pack(path, mode) {
            Ok(digest) => Some(digest),
            Err(error) => {
                at.fail(error.to_string(), "put regular files and folders there");
                None
            }
        }
    }

    /// A secret or a config that a service uses.
    fn file_use(&mut self, owner: &Name, at: &At, section: &'static str) -> Option<Mount> {
        keys::check(at, Scope::FileUse);
        let source = at.need("source")?;
        let name = source.text()?;
        let secret = section == "secrets";
        let folder = if secret { "/run/secrets/" } else { "/" };
        let target = match at.get("target") {
            None => format!("{folder}{name}"),
            Some(t) => {
                let text = t.text()?;
                let full = if text.starts_with('/') {
                    text
                } else {
                    format!("{folder}{text}")
                };
                target_of(&t, &full)?
            }
        };
        let mode = at.get("mode").and_then(|m| octal(&m));
        let id = |key: &str| at.get(key).and_then(|a| a.parse::<u32>("a number"));
        let (uid, gid) = (id("uid"), id("gid"));
        let report = self.report;
        let model = self.model;
        let Some(node) = model.get(section).and_then(|s| s.get(&name)) else {
            source.fail(
                format!("{owner} uses {name}, which `{section}` does not define"),
                format!("define it under `{section}:`"),
            );
            return None;
        };
        self.used_files.insert((section, name.clone()));
        let from = At::new(node, format!("{section}.{name}"), report);
        if let Some(variable) = from.get("environment") {
            let variable_name = variable.text()?;
            if self.variables.is_field(&variable_name) {
                return Some(Mount::Value {
                    field: variable_name,
                    target,
                    mode: mode.unwrap_or(0o444),
                    uid,
                    gid,
                });
            }
            let Some(value) = self.variables.get(&variable_name) else {
                variable.fail(
                    format!("{variable_name} has no value"),
                    format!("make {variable_name} a field under `config:` in berth.yaml"),
                );
                return None;
            };
            let content = Template::parse(&value).ok()?;
            return Some(self.rendered(at, content, mode, target));
        }
        if let Some(content) = from.get("content") {
            if secret {
                content.fail("belongs to configs", "use `file:` or `environment:`");
                return None;
            }
            return Some(self.rendered(at, content.template()?, mode, target));
        }
        let file = from.need("file")?;
        let path = file.text()?;
        if secret {
            file.warn(
                "this secret is in the release, the same at every customer",
                "use `environment:` with a config field of `type: secret` unless that is meant",
            );
        }
        no_owner(at);
        let full = self.find(&file, &path)?;
        self.pack(&file, &full, mode)
            .map(|files| Mount::Files { files, target })
    }

    fn rendered(&mut self, at: &At, content: Template, mode: Option<u32>, target: String) -> Mount {
        no_owner(at);
        let files = self.packer.rendered(content, mode.unwrap_or(0o444));
        Mount::Files { files, target }
    }
}

fn no_owner(at: &At) {
    for key in ["uid", "gid"] {
        if let Some(id) = at.get(key)
            && id.text().is_some_and(|t| t != "0")
        {
            id.fail(
                "files of the release belong to root",
                "remove it and use `mode`, or take the value from a config field",
            );
        }
    }
}

/// `PATH[:OPTIONS]`.
fn tmpfs_short(at: &At) -> Option<Mount> {
    let text = at.text()?;
    let (path, options) = text.split_once(':').unwrap_or((&text, ""));
    let path = target_of(at, path)?;
    let (mut size, mut mode) = (None, None);
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) if units::bytes(value).is_some() => {
                size = units::bytes(value).and_then(|s| u64::try_from(s).ok());
            }
            Some(("mode", value)) if u32::from_str_radix(value, 8).is_ok() => {
                mode = u32::from_str_radix(value, 8).ok();
            }
            // What Docker sets anyway.
            None if matches!(option, "rw" | "noexec" | "nosuid" | "nodev") => {}
            _ => at.fail(
                format!("the tmpfs option {option:?} is not supported"),
                "there are size and mode",
            ),
        }
    }
    Some(Mount::Tmpfs {
        target: path,
        size,
        mode,
    })
}

/// Where a mount is in the container.
pub fn target_path(mount: &Mount) -> &str {
    match mount {
        Mount::Volume { target, .. }
        | Mount::Files { target, .. }
        | Mount::Value { target, .. }
        | Mount::Tmpfs { target, .. }
        | Mount::Host { target, .. } => target,
    }
}

fn target(at: &At) -> Option<String> {
    target_of(at, &at.text()?)
}

fn target_of(at: &At, text: &str) -> Option<String> {
    let trimmed = trim_slash(text);
    let inside = trimmed.split('/').all(|part| part != "." && part != "..");
    if !text.starts_with('/') || trimmed == "/" || !inside {
        at.fail(
            format!("expected an absolute path in the container, found {text:?}"),
            "begin it with /",
        );
        return None;
    }
    Some(trimmed.to_owned())
}

fn trim_slash(text: &str) -> &str {
    let trimmed = text.trim_end_matches('/');
    if trimmed.is_empty() { "/" } else { trimmed }
}

fn is_socket(path: &str) -> bool {
    path.ends_with("/docker.sock") || path.ends_with("/containerd.sock")
}

/// Permission bits: `0440` and `"0440"` are octal, as in Compose.
fn octal(at: &At) -> Option<u32> {
    let text = at.text()?;
    let digits = text.strip_prefix("0o").unwrap_or(&text);
    let quoted = matches!(
        &at.node,
        Node {
            kind: Kind::Scalar { plain: false, .. },
            ..
        }
    );
    // Without a leading zero, YAML reads a plain number as decimal.
    let mode = if digits.starts_with('0') || quoted || text != digits {
        u32::from_str_radix(digits, 8).ok()
    } else {
        digits.parse().ok()
    };
    let mode = mode.filter(|m| *m <= 0o1777);
    if mode.is_none() {
        at.expected("permission bits such as 0440");
    }
    mode
}
