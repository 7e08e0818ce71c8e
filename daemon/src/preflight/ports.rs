//! Ports that the product publishes: free, or held by the version that goes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use berth_format::service::Protocol;
use berth_format::{Code, Refusal};

use super::{bad, good};
use crate::api::Check;
use crate::engine::Engine;
use crate::engine::spec::PortSpec;
use crate::host::Host;
use crate::update::context::{Context, Scene, installed_spec};

type Door = (Option<IpAddr>, u16, Protocol);

pub(super) async fn ports<E: Engine, H: Host>(ctx: &Context<E, H>, scene: &Scene) -> Vec<Check> {
    let door = |p: &PortSpec| p.published.map(|port| (p.host_ip, port, p.protocol));
    let mut held: BTreeSet<Door> = BTreeSet::new();
    if let Some((release, installed)) = &scene.old {
        for name in installed.services.keys() {
            if let Ok((spec, _)) = installed_spec(release, installed, &scene.place, name) {
                held.extend(spec.ports.iter().filter_map(door));
            }
        }
    }
    let mut checks = Vec::new();
    for name in scene.new.services.keys() {
        let Ok((spec, _)) = scene.new_spec(name) else {
            continue;
        };
        for (ip, port, protocol) in spec.ports.iter().filter_map(door) {
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
                    let refusal = Refusal::new(Code::PortInUse, format!("{what} is in use"))
                        .because(
                            format!("{what} free for {name}"),
                            format!("{} is held by {by}", holder.address),
                        );
                    bad("ports", refusal)
                }
                Err(error) => bad("ports", crate::api::internal(error)),
            });
        }
    }
    checks
}
