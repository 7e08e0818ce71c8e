//! Ports that the product publishes on its way: free, or held by the version that goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use berth_format::service::Protocol;
use berth_format::{Code, Refusal, Release};

use super::{bad, good};
use crate::api::Check;
use crate::engine::Engine;
use crate::host::Host;
use crate::store::Installed;
use crate::update::context::Context;
use crate::update::planner::Planned;
use crate::update::resolve;

type Door = (Option<IpAddr>, u16, Protocol);

/// Each port once. What cannot be filled in is told elsewhere, and is no port yet.
pub(super) async fn ports<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    planned: &Planned,
    old: Option<&(Release, Installed)>,
) -> Vec<Check> {
    let held: BTreeSet<Door> = old
        .into_iter()
        .flat_map(|(release, installed)| doors(release, &installed.values))
        .map(|(door, _)| door)
        .collect();
    // From the last: what it wants too is wanted by it.
    let mut wanted: BTreeMap<Door, String> = BTreeMap::new();
    let hops = planned.releases.iter().zip(&planned.values);
    for (n, (release, values)) in hops.rev().enumerate() {
        for (door, service) in doors(release, values) {
            wanted.entry(door).or_insert_with(|| match n {
                0 => service,
                _ => format!("{service} of {}", release.version),
            });
        }
    }
    let mut checks = Vec::new();
    for ((ip, port, protocol), name) in wanted {
        // Held by the version that goes.
        if held
            .iter()
            .any(|(h, p, proto)| (p, proto) == (&port, &protocol) && (h.is_none() || *h == ip))
        {
            continue;
        }
        let what = format!("port {port}/{}", protocol.as_str());
        checks.push(match ctx.host.port_holder(ip, port, protocol).await {
            Ok(None) => good("ports", format!("{what} is free")),
            Ok(Some(holder)) => {
                let by = match (&holder.program, holder.pid) {
                    (Some(program), Some(pid)) => format!("{program} (process {pid})"),
                    _ => "another program".to_owned(),
                };
                let refusal = Refusal::new(Code::PortInUse, format!("{what} is in use")).because(
                    format!("{what} free for {name}"),
                    format!("{} is held by {by}", holder.address),
                );
                bad("ports", refusal)
            }
            Err(error) => bad("ports", crate::api::internal(error)),
        });
    }
    checks
}

/// The doors of a release, and the service behind each.
fn doors(release: &Release, values: &BTreeMap<String, String>) -> Vec<(Door, String)> {
    let mut all = Vec::new();
    for (name, service) in &release.services {
        for port in resolve::ports(service, values, name.as_str()).flatten() {
            if let Some(published) = port.published {
                let door = (port.host_ip, published, port.protocol);
                all.push((door, name.to_string()));
            }
        }
    }
    all
}
