//! What would build here and fail at the customer, or give more than was granted.

mod common;

use berth_format::release::{MigrationPhase, Need};
use berth_format::{Release, Template, validate};
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
fn what_docker_would_refuse_is_refused_here() {
    for (service, expected) in [
        (
            "network_mode: 'service:db', hostname: x",
            "hostname: belongs to db, whose network this is",
        ),
        (
            "network_mode: 'service:db', dns: 1.1.1.1",
            "dns: belongs to db",
        ),
        (
            "network_mode: 'service:db', extra_hosts: ['a:1.1.1.1']",
            "extra_hosts: belongs to db",
        ),
        (
            "network_mode: 'service:db', expose: ['80']",
            "expose: belongs to db",
        ),
        (
            "network_mode: 'service:db', ports: ['80:80']",
            "has no network of its own",
        ),
        (
            "network_mode: 'service:db', networks: [default]",
            "stands beside `network_mode`",
        ),
        (
            "network_mode: host, sysctls: {net.core.somaxconn: 1024}",
            "services.web.sysctls.net.core.somaxconn: is the machine's own with `network_mode: host`",
        ),
        (
            "network_mode: host, sysctls: [net.ipv4.ip_forward=1]",
            "net.ipv4.ip_forward: is the machine's own with `network_mode: host`",
        ),
        (
            "ipc: host, sysctls: {kernel.shmmax: 1}",
            "kernel.shmmax: is the machine's own with `ipc: host`",
        ),
        (
            "network_mode: 'service:dev'",
            "network_mode: dev is left out",
        ),
        (
            "network_mode: 'service:nobody'",
            "network_mode: nobody is no service",
        ),
        (
            "volumes: ['/h:/d:rexecutable']",
            "\"rexecutable\" is no mode of a mount",
        ),
        (
            "volumes: ['db:/d:rslave']",
            "\"rslave\" is no mode of a mount",
        ),
        (
            "volumes: [{type: bind, source: /h, target: /d, bind: {propagation: up}}]",
            "propagation: expected private, rprivate, shared",
        ),
        (
            "expose: [http]",
            "expose[0]: expected PORT[-PORT][/PROTOCOL]",
        ),
        ("expose: ['80/ip']", "expected PORT[-PORT][/PROTOCOL]"),
        (
            "cap_add: [NET_ADMINS]",
            "NET_ADMINS is no capability of Linux",
        ),
        ("cap_drop: [ROOT]", "ROOT is no capability of Linux"),
        ("ulimits: {files: 5}", "files is no limit that Docker knows"),
        (
            "ulimits: {nofile: {soft: 5, hard: 4}}",
            "a soft limit beyond the hard one",
        ),
        (
            "ulimits: {nofile: {soft: -1, hard: 4}}",
            "a soft limit beyond the hard one",
        ),
        (
            "volumes: ['db:/x'], tmpfs: /x",
            "tmpfs[0]: something is mounted at /x already",
        ),
        (
            "depends_on: [db]",
            "depends_on: waits for itself: db -> web -> db; break the circle",
        ),
        (
            "network_mode: 'service:db'",
            "waits for itself: db -> web -> db",
        ),
        ("depends_on: [web]", "waits for itself: web -> web"),
    ] {
        let compose = format!(
            "services:\n  db: {{image: db, depends_on: [web]}}\n  web: {{image: web, {service}}}\n  dev: {{image: dev, profiles: [dev]}}\nvolumes: {{db: }}\n"
        );
        let text = told("", &[("compose.yaml", &compose)]);
        let line = text.lines().find(|l| l.contains(expected));
        let line = line.unwrap_or_else(|| panic!("{service}: {expected} is not in\n{text}"));
        assert!(
            line.starts_with("compose.yaml:3:") || line.starts_with("compose.yaml:2:"),
            "{line}"
        );
    }
}

#[test]
fn a_range_of_exposed_ports_becomes_single_ones() {
    let compose = "services: {web: {image: web, expose: ['80-82', 53/udp, 9]}}";
    let dir = common::folder("", &[("compose.yaml", compose)]);
    let web = &berth_publish::compose::resolve(dir.path())
        .unwrap()
        .release
        .services["web"];
    let all: Vec<_> = web.expose.iter().map(String::as_str).collect();
    assert_eq!(all, ["53/udp", "80", "81", "82", "9"]);
}

#[test]
fn files_of_this_machine_stay_out_of_the_release() {
    for compose in [
        "include: [/etc/compose.yaml]\nservices: {web: {image: web}}",
        "include: /\nservices: {web: {image: web}}",
        "include: '~'\nservices: {web: {image: web}}",
        "include: [../sub.yaml]\nservices: {web: {image: web}}",
        "include: [{path: f, project_directory: /}]\nservices: {web: {image: web}}",
        "include: [{path: f, project_directory: ../..}]\nservices: {web: {image: web}}",
        "include: [{path: f, env_file: /etc/passwd}]\nservices: {web: {image: web}}",
        "services: {web: {image: web, extends: {file: /etc/x.yaml, service: a}}}",
        "services: {web: {image: web, extends: {file: ../x.yaml, service: a}}}",
        "services: {web: {image: web, env_file: /etc/environment}}",
        "services: {web: {image: web, env_file: [{path: ../e, required: false}]}}",
        "services: {web: {image: web, env_file: link/environment}}",
        "services: {web: {image: web, volumes: ['../x:/x:ro']}}",
        "services: {web: {image: web, volumes: ['./link/passwd:/x:ro']}}",
        "services: {web: {image: web, secrets: [s]}}\nsecrets: {s: {file: ../s}}",
        "services: {web: {image: web, secrets: [s]}}\nsecrets: {s: {file: ~/.ssh/id}}",
        "services: {web: {image: web, configs: [s]}}\nconfigs: {s: {file: /etc/hosts}}",
    ] {
        let dir = common::folder("", &[("compose.yaml", compose), ("f", "{}")]);
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        let refused = berth_publish::compose::resolve(dir.path()).unwrap_err();
        let found = refused.problems.iter().any(|p| {
            p.line > 0
                && (p.what.contains("of this machine") || p.what.contains("outside of the product"))
        });
        assert!(found, "{compose}: {:#?}", refused.problems);
    }
}

#[test]
fn the_folder_of_the_product_may_lie_above_berth_yaml() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "common/stack.yaml",
        "services: {web: {image: web, env_file: web.env, volumes: ['./f:/f:ro']}}",
    );
    write("common/web.env", "A=1\n");
    write("common/f", "x");
    write(
        "versions/1/compose.yaml",
        "include: [../../common/stack.yaml]\n",
    );
    let told = |root: &str| {
        write(
            "versions/1/berth.yaml",
            &format!("product: shop\nversion: 1.0.0\n{root}"),
        );
        let resolved = berth_publish::compose::resolve(&dir.path().join("versions/1"));
        resolved.map_or_else(|r| r.problems[0].to_string(), |_| "fine".into())
    };
    assert_eq!(told("root: ../..\n"), "fine");
    assert!(
        told("root: ..\n").contains("../../common/stack.yaml is outside of the product's folder")
    );
    assert!(told("").contains("`root: ..` or `root: ../..`"));
    for bad in ["/", "../common", "x"] {
        assert!(
            told(&format!("root: {bad}\n")).contains("root: expected the folder that holds all")
        );
    }
    let file = dir.path().join("versions/1/compose.yaml");
    let text = berth_publish::compose::init(&[file]).unwrap();
    assert!(text.contains("\nroot: ../..\n"), "{text}");
}

#[test]
fn a_migration_can_be_undone_or_comes_after_the_snapshot() {
    let compose = "services:\n  db: {image: db}\n  migrate-x: {image: x}\n  dev: {image: x, profiles: [dev]}\n";
    for (migration, expected) in [
        (
            "name: m, image: m, phase: before",
            "phase: m runs before the snapshot and is not reversible",
        ),
        (
            "name: m, image: m, phase: before, reversible: false",
            "let it run in `phase: stopped`",
        ),
        ("name: m, image: m, phase: before, reversible: true", ""),
        (
            "name: x, image: m",
            "name: its container is called like that of the service migrate-x",
        ),
        (
            "name: m, image: m, needs: [db, db@old]",
            "needs: needs db and db@old",
        ),
        ("name: m, image: m, needs: [dev]", "needs: dev is left out"),
        ("name: m, image: m, needs: [dev@old, db]", ""),
    ] {
        let text = told(
            &format!("migrations:\n  - {{{migration}}}\n"),
            &[("compose.yaml", compose)],
        );
        assert_eq!(
            text.contains("berth.yaml:4:"),
            !expected.is_empty(),
            "{migration}: {text}"
        );
        assert!(text.contains(expected), "{migration}: {text}");
    }
}

/// The daemon asks the same of a release that was made elsewhere.
#[test]
fn a_release_that_berth_publish_would_not_make_is_not_valid() {
    let compose = "services: {db: {image: db, volumes: ['v:/v']}}\nvolumes: {v: }\n";
    let berth = "migrations: [{name: m, image: m, needs: [db]}]\n";
    let dir = common::folder(berth, &[("compose.yaml", compose)]);
    let good = berth_publish::compose::resolve(dir.path()).unwrap().release;
    assert!(validate::check(&good).is_empty());
    let told = |change: &dyn Fn(&mut Release)| {
        let mut bad = good.clone();
        change(&mut bad);
        validate::check(&bad).join("\n")
    };
    let before = told(&|r| r.migrations[0].phase = MigrationPhase::Before);
    assert!(
        before.contains("runs before the snapshot, and is not reversible"),
        "{before}"
    );
    let clash = told(&|r| {
        let db = r.services["db"].clone();
        r.services.insert("migrate-m".parse().unwrap(), db);
    });
    assert!(
        clash.contains("its container is called like that of migrate-m"),
        "{clash}"
    );
    let both = told(&|r| {
        let service = "db".parse().unwrap();
        r.migrations[0].needs.push(Need { service, old: true });
    });
    assert!(both.contains("needs db and db@old"), "{both}");
    for (key, value) in [
        ("o", "bind"),
        ("o", "rw,rbind"),
        ("o", "${O}"),
        ("type", "ext4"),
    ] {
        let bind = told(&|r| {
            let volume = r.volumes.values_mut().next().unwrap();
            let value = Template::parse(value).unwrap();
            volume.driver_opts.insert(key.to_owned(), value);
        });
        assert!(
            bind.contains(&format!("volume v: {key} reaches the host")),
            "{bind}"
        );
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
