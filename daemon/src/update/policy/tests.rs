use super::*;
use berth_format::image::Platform;
use serde_json::{Value, json};

/// A release of two services on one network, changed by `edit`.
fn release(version: &str, edit: impl FnOnce(&mut Value)) -> Release {
    let digest = |n: u8| Digest::of(&[n]).to_string();
    let image = json!({
        "tag": format!("berth.local/p/web:{version}"), "source": "web",
        "platforms": {"linux/amd64": {
            "config": {"digest": digest(1), "size": 1}, "manifest": digest(2), "layers": [],
        }},
    });
    let service = |ports: Value| {
        json!({
            "image": "web", "network": {"networks": {"default": {}}}, "settle_ms": 0,
            "restart": "always", "ports": ports,
        })
    };
    let mut value = json!({
        "format": 1, "product": "p", "title": "P", "version": version,
        "upgrade": {"from": "*"}, "requires": {"engine": "*"}, "data": "may-change",
        "services": {
            "db": service(json!([])),
            "web": service(json!([{"target": 80, "protocol": "tcp", "published": "8080"}])),
        },
        "networks": {"default": {}},
        "volumes": {"data": {"snapshot": true}, "scratch": {"snapshot": false}},
        "images": {"web": image}, "layers": {},
    });
    edit(&mut value);
    serde_json::from_value(value).unwrap()
}

fn place() -> Place {
    Place {
        platform: Platform::linux("amd64"),
        mounts: "/m".into(),
    }
}

fn plan(current: Option<&Current<'_>>, release: &Release, generation: u64) -> Hop {
    let values = BTreeMap::new();
    let target = Target {
        release,
        digest: Digest::of(b"r"),
        values: &values,
        generation,
    };
    let (hop, problems) = hop(current, target, Way::Forward, &place());
    assert!(problems.is_empty(), "{problems:?}");
    hop
}

fn stand<'a>(release: &'a Release, hop: &Hop) -> Current<'a> {
    let (services, networks) = placed(hop);
    Current {
        release,
        services,
        networks,
    }
}

fn actions(hop: &Hop) -> Vec<(&str, Action)> {
    hop.services
        .iter()
        .map(|(name, change)| (name.as_str(), change.action))
        .collect()
}

#[test]
fn what_did_not_change_is_kept_or_cycled_as_the_release_promises() {
    let first = release("1.0.0", |_| {});
    let before = plan(None, &first, 1);
    assert_eq!(
        actions(&before),
        [("db", Action::Add), ("web", Action::Add)]
    );
    let current = stand(&first, &before);

    let web = |v: &mut Value| v["services"]["web"]["environment"] = json!({"A": "1"});
    let may_change = release("1.1.0", web);
    let hop = plan(Some(&current), &may_change, 2);
    assert_eq!(
        actions(&hop),
        [("db", Action::Cycle), ("web", Action::Replace)]
    );
    assert_eq!(hop.services["db"].new.as_deref(), Some("p-db-1"));
    assert_eq!(hop.services["web"].new.as_deref(), Some("p-web-2"));
    assert_eq!(hop.snapshot, ["p_data"]);
    assert_eq!(hop.not_covered, ["p_scratch"]);

    let unchanged = release("1.1.0", |v| {
        web(v);
        v["data"] = json!("unchanged");
    });
    let hop = plan(Some(&current), &unchanged, 2);
    assert_eq!(
        actions(&hop),
        [("db", Action::Keep), ("web", Action::Replace)]
    );
    assert!(hop.snapshot.is_empty() && !hop.data_may_change);
}

#[test]
fn the_version_in_a_tag_changes_no_container() {
    let first = release("1.0.0", |_| {});
    let before = plan(None, &first, 1);
    let second = release("1.1.0", |v| v["data"] = json!("unchanged"));
    let hop = plan(Some(&stand(&first, &before)), &second, 2);
    assert_eq!(actions(&hop), [("db", Action::Keep), ("web", Action::Keep)]);
}

#[test]
fn a_changed_network_takes_its_services_with_it() {
    let first = release("1.0.0", |_| {});
    let before = plan(None, &first, 1);
    let second = release("1.1.0", |v| v["networks"]["default"]["ipv6"] = json!(true));
    let hop = plan(Some(&stand(&first, &before)), &second, 2);
    assert_eq!(hop.networks["default"].name, "p-default-2");
    assert_eq!(
        actions(&hop),
        [("db", Action::Replace), ("web", Action::Replace)]
    );
}

#[test]
fn a_front_service_reaches_out_only_when_doors_are_open() {
    let hop_of = |r: &Release| plan(None, r, 1).networks;
    let first = release("1.0.0", |_| {});
    let names = hop_of(&first)
        .into_iter()
        .map(|(l, n)| (l, n.name))
        .collect();
    let values = BTreeMap::new();
    let place = place();
    let resolver = Resolver {
        release: &first,
        values: &values,
        place: &place,
        networks: &names,
        generation: 1,
    };
    let networks = |service: &str| {
        let (spec, _) = resolver.service(&service.parse().unwrap(), None).unwrap();
        match spec.network {
            crate::engine::spec::NetworkChoice::Networks(list) => {
                list.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        }
    };
    assert_eq!(networks("db"), ["p-default-1", "p-egress"]);
    assert_eq!(networks("web"), ["p-default-1"]);
}

#[test]
fn the_way_goes_through_every_stop() {
    let v = |text: &str| text.parse::<Version>().unwrap();
    let all = [
        release("1.0.0", |_| {}),
        release("1.1.0", |r| r["upgrade"]["stop"] = json!(true)),
        release("1.2.0", |_| {}),
        release("1.3.0", |r| r["upgrade"]["from"] = json!(">=1.2.0")),
    ];
    let here: Vec<&Release> = all.iter().collect();
    let way = |from: &str, to: &str, here: &[&Release]| {
        route(Some(&v(from)), &v(to), here)
            .map(|way| {
                way.iter()
                    .map(|r| r.version.to_string())
                    .collect::<Vec<_>>()
            })
            .map_err(|refusal| refusal.code)
    };
    assert_eq!(way("1.0.0", "1.2.0", &here).unwrap(), ["1.1.0", "1.2.0"]);
    assert_eq!(
        way("1.0.0", "1.3.0", &here).unwrap(),
        ["1.1.0", "1.2.0", "1.3.0"]
    );
    assert_eq!(way("1.1.0", "1.2.0", &here).unwrap(), ["1.2.0"]);
    assert_eq!(way("1.2.0", "1.2.0", &here), Err(Code::AlreadyInstalled));
    assert_eq!(way("1.2.0", "1.1.0", &here), Err(Code::Downgrade));
    assert_eq!(way("1.0.0", "9.0.0", &here), Err(Code::NotFound));
    // The one that 1.3.0 wants to come from is not here.
    let without: Vec<&Release> = here
        .iter()
        .copied()
        .filter(|r| r.version != v("1.2.0"))
        .collect();
    assert_eq!(way("1.0.0", "1.3.0", &without), Err(Code::StopSkipped));
}

#[test]
fn a_plan_is_the_same_plan_when_nothing_moved() {
    let first = release("1.0.0", |_| {});
    assert_eq!(plan(None, &first, 1), plan(None, &first, 1));
    assert_ne!(plan(None, &first, 1), plan(None, &first, 2));
}
