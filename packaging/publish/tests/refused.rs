//! What would build here and fail at the customer, or give more than was granted.

mod common;

use common::told;

/// What is told of a service `web`; the volume v is defined as `volume`.
fn of_service(service: &str) -> String {
    let compose = format!("services:\n  web: {{image: web, {service}}}\n");
    told("", &[("compose.yaml", &compose)])
}

#[test]
fn a_volume_shows_no_path_of_the_host() {
    let berth =
        "config: [{name: DIR, type: string}, {name: OPTS, type: string, default: 'x,bind'}]\n";
    for options in [
        "{type: none, o: bind, device: /etc}",
        "{type: none, o: 'ro,rbind', device: '${DIR}'}",
        "{type: nfs, o: 'rw, bind', device: /etc}",
        "{type: nfs, o: '${DIR}', device: /etc}",
        "{type: nfs, o: 'addr=${OPTS}', device: /etc}",
        "{type: '${DIR}', device: /etc}",
        "{type: overlay, o: 'lowerdir=/etc', device: overlay}",
        "{type: ext4, device: /dev/sda1}",
        "{type: ext4, o: '${BIND}', device: /dev/sda1}",
    ] {
        let compose = format!(
            "services: {{web: {{image: web, volumes: ['v:/v']}}}}\nvolumes:\n  v: {{driver_opts: {options}}}\n"
        );
        let env = ("BIND=bind\n", ".env");
        let text = told(berth, &[("compose.yaml", &compose), (env.1, env.0)]);
        assert!(
            text.contains("compose.yaml:3:")
                && text.contains("volumes.v.driver_opts.")
                && text.contains("use a bind mount, which becomes a grant"),
            "{options}: {text}"
        );
    }
    for (options, expected) in [
        ("{type: nfs, o: 'addr=${DIR},rw', device: ':/data'}", ""),
        ("{type: tmpfs, device: tmpfs, o: 'size=1m'}", ""),
        ("{type: tmpfs}", "refuses `type` without `device`"),
        ("{device: x}", "refuses `device` without `type`"),
        ("{typ: x}", "is no option of the driver"),
    ] {
        let compose = format!(
            "services: {{web: {{image: web, volumes: ['v:/v']}}}}\nvolumes:\n  v: {{driver_opts: {options}}}\n"
        );
        let text = told("config: [{name: DIR}]\n", &[("compose.yaml", &compose)]);
        let fine = !text.contains("volumes.v");
        assert_eq!(fine, expected.is_empty(), "{options}: {text}");
        assert!(text.contains(expected), "{options}: {text}");
    }
}

#[test]
fn a_device_is_what_it_says_or_nothing() {
    for (devices, expected) in [
        (
            "[{source: /dev/kvm, permission: r}]",
            "did you mean `permissions`?",
        ),
        (
            "['/dev/kvm:/dev/kvm:r:w']",
            "expected /dev/SOURCE[:TARGET[:rwm]]",
        ),
        (
            "['/dev/kvm:/dev/kvm:x']",
            "expected /dev/SOURCE[:TARGET[:rwm]]",
        ),
        (
            "[{source: /dev/kvm, target: rw}]",
            "expected an absolute path",
        ),
    ] {
        let text = of_service(&format!("devices: {devices}"));
        assert!(
            text.contains("compose.yaml:2:") && text.contains(expected),
            "{devices}: {text}"
        );
    }
}
