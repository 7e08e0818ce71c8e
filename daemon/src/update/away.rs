//! Who answers at the front door while the product is away for an update: Berth itself.
//!
//! Only doors that are known to speak HTTP are answered: those that the release's own probe asks
//! over HTTP. Everything here is best effort and leaves nothing behind: an update does not fail,
//! and no port is held past the moment in which the product wants it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use berth_format::service::{Port, Protocol, Service};
use berth_format::{Name, Release};
use tokio::sync::{Mutex, watch};

use super::steps::has_doors;
use super::transition::{Phase, Step};
use crate::host::{AwayPage, Host, StandIn};
use crate::store::Run;

/// The stand-in of an appliance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Away {
    page: Arc<watch::Sender<AwayPage>>,
    stand_in: Arc<Mutex<StandIn>>,
}

impl Default for Away {
    fn default() -> Self {
        Self {
            page: Arc::new(watch::Sender::default()),
            stand_in: Arc::default(),
        }
    }
}

impl Away {
    /// Answers for a service that was stopped.
    pub async fn answer_for<H: Host>(
        &self,
        host: &H,
        release: &Release,
        values: &BTreeMap<String, String>,
        name: &Name,
    ) {
        let doors = doors(release, values, name);
        if doors.is_empty() {
            return;
        }
        let listening = host.stand_in(&doors, &self.page.subscribe()).await;
        self.stand_in.lock().await.join(listening);
    }

    /// When it returns, every port is free for the product.
    pub async fn leave(&self) {
        std::mem::take(&mut *self.stand_in.lock().await)
            .leave()
            .await;
    }

    /// What a visitor is told from now on.
    pub fn say(&self, run: &Run) {
        let Some(sentence) = sentence(run) else {
            return;
        };
        let title = &run.plan.title;
        let page = AwayPage {
            html: berth_web::away(title, &sentence),
            text: format!("{title} is away for a moment. {sentence}\n"),
        };
        self.page.send_replace(page);
    }
}

fn sentence(run: &Run) -> Option<String> {
    let hop = run.plan.hops.get(run.hop)?;
    let to = &hop.to;
    let from = hop.from.as_ref();
    let step = match run.phase {
        Phase::Idle => return None,
        Phase::Forward(step) => match step {
            Step::Fetch | Step::Prepare | Step::Premigrate | Step::Stop => "it is being stopped",
            Step::Snapshot => "a copy of its data is made",
            Step::Migrate => "its data is brought to the new version",
            Step::Start => "the new version is starting",
            Step::Commit | Step::Open | Step::Prune => "it is back in a moment",
        },
        Phase::Back(_) => {
            let version = from.map_or_else(|| "what was before".to_owned(), ToString::to_string);
            return Some(format!("It goes back to {version}."));
        }
        Phase::Halted(_) => {
            return Some("It stands still until its administrator has looked at it.".into());
        }
    };
    Some(format!("It is being updated to {to}: {step}."))
}

/// Where the machine publishes the ports of a service that speak HTTP.
fn doors(
    release: &Release,
    values: &BTreeMap<String, String>,
    name: &Name,
) -> Vec<(Option<IpAddr>, u16)> {
    // One that must reach out before the commit publishes its ports before the commit.
    let early = release.services.values().any(|s| s.egress);
    let Some(service) = release.services.get(name).filter(|_| !early) else {
        return Vec::new();
    };
    if !has_doors(release, name) {
        return Vec::new();
    }
    let speaks_http = |port: &&Port| port.protocol == Protocol::Tcp && asks(service, name, port);
    let place = |port: &Port| {
        let render = |t: &berth_format::Template| t.render(values).ok();
        let published = render(port.published.as_ref()?)?.parse().ok()?;
        let ip = match &port.host_ip {
            None => None,
            Some(ip) => Some(render(ip)?.parse().ok()?),
        };
        Some((ip, published))
    };
    service
        .ports
        .iter()
        .filter(speaks_http)
        .filter_map(place)
        .collect()
}

/// Whether the service's own probe asks this port over HTTP.
fn asks(service: &Service, name: &Name, port: &Port) -> bool {
    service.probe.as_ref().is_some_and(|probe| {
        probe.path.is_some() && probe.service == *name && probe.port == port.target
    })
}
