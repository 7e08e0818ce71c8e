//! The stable codes. `docs/errors.md` lists the same table, and a test holds it against this one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of refusal a code is; gives the exit code and the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Wrong use of a command or of the API.
    Usage,
    /// Nothing of that name is here.
    Missing,
    /// What was given is damaged or not what it says it is.
    Input,
    /// It is not signed by whom this appliance trusts.
    Trust,
    /// The machine is not ready.
    Preflight,
    /// The world has moved, or something else is under way.
    Conflict,
    /// The update failed and was undone.
    RolledBack,
    /// Docker, or berthd itself, does not answer.
    Engine,
    /// A rollback could not finish.
    Halted,
    /// A fault of Berth itself.
    Internal,
}

impl Kind {
    /// The exit code of `berth` and `berth-publish`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage | Self::Missing => 2,
            Self::Input => 3,
            Self::Trust => 4,
            Self::Preflight => 5,
            Self::Conflict => 6,
            Self::RolledBack => 7,
            Self::Engine => 8,
            Self::Halted => 9,
        }
    }

    /// The status of the API's answer.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Usage | Self::Input => 400,
            Self::Trust => 403,
            Self::Missing => 404,
            Self::Preflight => 422,
            Self::Conflict | Self::RolledBack | Self::Halted => 409,
            Self::Engine => 503,
            Self::Internal => 500,
        }
    }
}

macro_rules! codes {
    ($($variant:ident $text:literal $kind:ident $means:literal $next:literal;)*) => {
        /// A stable code: what scripts and support match on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $means] #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of docs/errors.md.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What kind of refusal it is.
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// What it means, in one line.
            pub fn means(self) -> &'static str {
                match self { $(Self::$variant => $means,)* }
            }

            /// What to do next, where the refusal itself does not know better.
            pub fn next(self) -> &'static str {
                match self { $(Self::$variant => $next,)* }
            }
        }
    };
}

codes! {
    Internal "internal" Internal "Berth failed in a way that it does not know" "Look at `journalctl -u berthd`; tell the vendor.";
    Usage "usage" Usage "the command or the request is not one that Berth knows" "See `berth help`.";
    NotFound "not-found" Missing "no such service, update or release" "Look at `berth status` and `berth history`.";

    BundleNotABundle "bundle-not-a-bundle" Input "the file is not a Berth bundle" "Choose the .berth file that the vendor sent.";
    BundleTruncated "bundle-truncated" Input "the bundle ends too early" "Copy or download the bundle again and compare its size.";
    BundleTrailing "bundle-trailing" Input "there are bytes after the end of the bundle" "Copy or download the bundle again.";
    BundleDamaged "bundle-damaged" Input "bytes of the bundle differ from what its maker signed" "Copy or download the bundle again.";
    BundleMember "bundle-member" Input "a member of the bundle is missing, extra, repeated, misplaced or of a wrong kind, name or size" "Get the bundle from the vendor again.";
    BundleTooLarge "bundle-too-large" Input "a signed file is larger than Berth reads" "Get the bundle from the vendor again.";
    ManifestInvalid "manifest-invalid" Input "a signed file says what this Berth does not understand" "Update Berth, or ask the vendor for a release for this version of it.";

    ComposeInvalid "compose-invalid" Input "compose.yaml or berth.yaml cannot become a release" "Mend each of the problems, then try again.";
    ImageMissing "image-missing" Input "an image of the release is not where it should come from" "Pull or build the image, or name its archive in berth.yaml.";
    ImageDamaged "image-damaged" Input "an image is not what its config says it is" "Pull, build or save the image again.";
    ReleaseExists "release-exists" Conflict "a release of this version is there already, and differs" "Raise the version, or say --replace if nobody has it yet.";
    ReleaseWithdrawn "release-withdrawn" Conflict "the vendor has withdrawn this release" "Install the release that replaces it.";
    KeyUnusable "key-unusable" Usage "a signing key cannot be made or used" "Give the folder that `berth-publish keygen` made, and its password.";

    SignatureMissing "signature-missing" Trust "a file that must be signed is not" "Get the bundle from the vendor; do not install this one.";
    SignatureInvalid "signature-invalid" Trust "a signature is damaged, or not by a key that this appliance trusts" "Get the bundle from the vendor; do not install this one.";
    SignatureLegacy "signature-legacy" Trust "a signature has minisign's legacy form" "The vendor has to sign with `minisign -H` or berth-publish.";
    SignatureMismatch "signature-mismatch" Trust "a signature is good, but says that it is for something else" "Get the bundle from the vendor; do not install this one.";
    TrustMissing "trust-missing" Trust "this appliance trusts nobody yet" "Compare the fingerprint with the vendor's, then run `berth trust FINGERPRINT`.";
    TrustFingerprint "trust-fingerprint" Trust "the root of trust is another than the one that was confirmed" "Ask the vendor for the fingerprint, over another way than this file came.";
    TrustExpired "trust-expired" Trust "signed metadata is past its expiry" "Get a fresh bundle from the vendor, and check this machine's clock.";
    BundleExpired "bundle-expired" Trust "the channel in the bundle is past its expiry: nobody says that there is nothing newer" "Get a fresh bundle from the vendor. If you know why this one is old, say --accept-expired-channel.";
    ChannelRollback "channel-rollback" Trust "the channel is older than one that this appliance has seen" "Wait: a mirror may lag behind; if it stays so, tell the vendor which server this is.";
    ChannelMismatch "channel-mismatch" Trust "a file is not the one that the channel names" "Try again; if it stays so, tell the vendor which server or mirror this is.";
    ChannelEquivocation "channel-equivocation" Trust "the channel says two things under one serial" "Install nothing from it; tell the vendor: a key was stolen, or two people published at once.";

    DownloadSettings "download-settings" Preflight "what is set for downloads cannot be used" "Mend the setting or the file that it names, then try again.";
    DownloadMissing "download-missing" Input "a file of the channel is on none of its mirrors" "Try again later; tell the vendor.";
    DownloadCut "download-cut" Preflight "the line was cut, or is too slow" "Try again: what is verified is kept.";
    DownloadDamaged "download-damaged" Input "what a mirror sent is not what was signed, or not what was asked for" "Try another mirror; tell the vendor.";
    MirrorUnreachable "mirror-unreachable" Preflight "no mirror of the channel answers" "Check the network, the proxy and the mirrors that are set, then try again.";
    MirrorRefused "mirror-refused" Preflight "a mirror refused a request" "Check its token or password, then try again later.";
    MirrorRedirect "mirror-redirect" Input "a mirror sends on to where Berth does not go" "Set the place itself as a mirror, if you trust it.";
    MirrorCertificate "mirror-certificate" Trust "a mirror's certificate is not trusted" "Check this machine's clock; if a proxy of yours opens TLS, set its certificate file.";
    PolicyInvalid "policy-invalid" Usage "the update policy cannot be meant" "Mend it: `berth policy set --help`.";
    PolicySilent "policy-silent" Usage "updates by themselves, and nobody would be told" "Set a notification (`berth notify set`), or say that it is meant: `berth policy set --silent`.";
    ChannelMissing "channel-missing" Conflict "no channel is followed" "Run `berth channel set URL`.";

    NotifySettings "notify-settings" Usage "what is set for notifications cannot be used" "Mend the setting or the file that it names, then try again.";
    NotifyMissing "notify-missing" Conflict "no notification is set" "Run `berth notify set`.";
    NotifyFailed "notify-failed" Preflight "a notification could not be delivered" "Look at the reason; try it with `berth notify test`.";

    WrongChannel "wrong-channel" Input "the bundle is of another channel than the one that is followed" "Get a bundle of the channel that is followed, or follow the other one: `berth channel set URL --name NAME`.";
    WrongProduct "wrong-product" Input "the bundle is for another product" "Choose a bundle of the installed product.";
    WrongArchitecture "wrong-architecture" Input "the release was not made for this machine's architecture" "Ask the vendor for a bundle for this architecture.";
    Downgrade "downgrade" Input "the release is older than what is installed" "Use `berth rollback` to go back.";
    StopSkipped "stop-skipped" Input "there is no way to this release without a version that is not here" "Get a bundle with the stops between.";
    AlreadyInstalled "already-installed" Conflict "this release is installed" "Nothing to do.";
    NotInstalled "not-installed" Conflict "no product is installed" "Run `berth install BUNDLE`.";
    Quarantined "quarantined" Conflict "this release failed here before" "Install a newer release, or say --retry-quarantined.";
    NotDrained "not-drained" Preflight "a background migration of the installed release is not done" "Wait for it, then try again.";

    ConfigMissing "config-missing" Preflight "a required config value is not set" "Run `berth config set NAME=VALUE`.";
    ConfigInvalid "config-invalid" Usage "a config value is not of its type" "Run `berth config set NAME=VALUE` with a value of that type.";
    ConfigUnknown "config-unknown" Usage "the release has no such config field" "Look at `berth config get`.";
    GrantsNotAccepted "grants-not-accepted" Preflight "the release asks for more than a container, and nobody has agreed" "Read the list, then say --accept-grants.";

    PreflightFailed "preflight-failed" Preflight "several checks of the machine failed" "Mend each of the checks, then try again.";
    DiskSpace "disk-space" Preflight "there is not enough disk space" "Free space, or make the disk larger.";
    MemoryLow "memory-low" Preflight "the machine has less memory than the release needs" "Use a machine with more memory.";
    CpuFew "cpu-few" Preflight "the machine has fewer CPUs than the release needs" "Use a machine with more CPUs.";
    PortInUse "port-in-use" Preflight "a port of the product is in use" "Stop the program that holds it, or choose another port with `berth config set`.";
    VolumeElsewhere "volume-elsewhere" Preflight "a volume is not on the mount of Docker's own data, so that an update of it could not be undone" "Move it there, or mount all of Docker's data from that disk.";
    EngineOld "engine-old" Preflight "Docker is older than the release needs" "Update Docker.";
    ClockWrong "clock-wrong" Preflight "this machine's clock is before the time of signed metadata" "Set the clock (`timedatectl`).";

    BerthdGone "berthd-gone" Engine "berthd does not answer" "Look at `systemctl status berthd`.";
    EngineGone "engine-gone" Engine "Docker does not answer" "Look at `systemctl status docker`.";
    EngineRefused "engine-refused" Engine "Docker refused a request" "Look at `journalctl -u docker`.";

    PlanMoved "plan-moved" Conflict "the plan no longer fits: something has changed since it was made" "Run `berth plan` again and read it.";
    Busy "busy" Conflict "another update or rollback is under way" "Wait for it: `berth events`.";
    ConfirmationWanted "confirmation-wanted" Conflict "this loses writes, and the version was not typed" "Read what will be lost, then say --confirm VERSION.";
    NoWayBack "no-way-back" Conflict "there is nothing to roll back to" "Restore a backup instead.";

    FetchFailed "fetch-failed" RolledBack "the images could not be brought into Docker" "Look at the reason, then try again.";
    PrepareFailed "prepare-failed" RolledBack "the new containers could not be made" "Look at the reason; tell the vendor.";
    StopFailed "stop-failed" RolledBack "the old containers could not be stopped" "Look at the reason, then try again.";
    SnapshotFailed "snapshot-failed" RolledBack "the volumes could not be copied" "Look at the reason, then try again.";
    MigrationFailed "migration-failed" RolledBack "a migration failed" "Send the vendor the last lines of its log; stay on this version.";
    Unhealthy "unhealthy" RolledBack "the new version did not become healthy" "Send the vendor the last lines of the log; stay on this version.";
    Interrupted "interrupted" RolledBack "the update was cut off, and undone" "Try again.";
    Cancelled "cancelled" Usage "you said no; nothing was changed" "Nothing to do.";
    RollbackFailed "rollback-failed" Halted "the rollback could not finish" "Mend the reason, then run `berth rollback --resume`.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
