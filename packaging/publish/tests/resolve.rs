//! Folders as a vendor has them, resolved.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use berth_format::release::FileEntry;
use berth_format::service::{Mount, NetworkMode, Restart};
use berth_publish::compose::{Resolved, resolve};
use berth_publish::problem::Problem;

const BERTH: &str = "product: shop\nversion: 1.0.0\n";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    if !dir.path().join("berth.yaml").exists() {
        fs::write(dir.path().join("berth.yaml"), BERTH).unwrap();
    }
    dir
}

fn good(files: &[(&str, &str)]) -> Resolved {
    let dir = folder(files);
    match resolve(dir.path()) {
        Ok(resolved) => resolved,
        Err(refused) => panic!("{}", show(&refused.problems)),
    }
}

fn bad(files: &[(&str, &str)]) -> Vec<Problem> {
    resolve(folder(files).path()).unwrap_err().problems
}

fn show(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n") + "\n"
}

fn json(resolved: &Resolved) -> serde_json::Value {
    serde_json::to_value(&resolved.release).unwrap()
}

#[test]
fn a_plain_product() {
    let resolved = good(&[
        (
            "berth.yaml",
            "product: shop\nversion: 1.2.0\nconfig:\n- {name: PORT, type: port, default: 80}\n- {name: DB_PASSWORD, type: secret, generate: 32}\n",
        ),
        (
            "compose.yaml",
            "
services:
  web:
    image: shop/web:${VERSION}
    environment: {DB: 'postgres://u:${DB_PASSWORD}@db/shop', A: $$5}
    ports: ['${PORT}:8080']
    depends_on: {db: {condition: service_healthy}}
    restart: unless-stopped
    volumes: [./nginx.conf:/etc/nginx.conf:ro]
    mem_limit: 512m
  db:
    image: postgres:16
    volumes: [data:/var/lib/postgresql/data]
    healthcheck: {test: pg_isready, interval: 1s}
volumes:
  data:
",
        ),
        (".env", "VERSION=1.2.0\nDB_PASSWORD=for developers\n"),
        ("nginx.conf", "events {}"),
    ]);
    let release = &resolved.release;
    let web = &release.services["web"];
    assert_eq!(release.images[&web.image].source, "shop/web:1.2.0");
    assert_eq!(release.images["web"].tag, "berth.local/shop/web:1.2.0");
    assert_eq!(
        web.environment["DB"].source(),
        "postgres://u:${DB_PASSWORD}@db/shop"
    );
    assert_eq!(web.environment["A"].source(), "$$5");
    assert_eq!(web.ports[0].published.as_ref().unwrap().source(), "${PORT}");
    assert_eq!(web.restart, Restart::UnlessStopped);
    assert_eq!(web.resources.memory, Some(512 << 20));
    let NetworkMode::Networks(networks) = &web.network else {
        panic!()
    };
    assert!(networks.contains_key("default") && release.networks.contains_key("default"));
    let Mount::Files { files, .. } = &web.mounts[0] else {
        panic!()
    };
    let FileEntry::File { digest, size, mode } = release.files[files].entries[""] else {
        panic!()
    };
    assert_eq!((size, mode), (9, 0o644));
    assert!(resolved.blobs[&digest].ends_with("nginx.conf"));
    assert!(release.volumes["data"].snapshot);
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let problems = bad(&[(
        "compose.yaml",
        "services:\n  web:\n    build: .\n  db:\n    image: ${NO}\n    privileged: true\n    links: [x]\n    imagee: x\n    mem_limit: lots\nnetworks:\n  n: {external: true}\n",
    )]);
    let text = show(&problems);
    for line in [
        "compose.yaml:3:5: services.web.build: ",
        "compose.yaml:5:12: services.db.image: ${NO} has no value",
        "compose.yaml:6:17: services.db.privileged: db gets more than a container has (privileged)",
        "grants: {db: [\"privileged\"]}",
        "compose.yaml:7:5: services.db.links: ",
        "compose.yaml:8:5: services.db.imagee: is no key of the Compose specification; did you mean `image`?",
        "compose.yaml:9:16: services.db.mem_limit: expected a size",
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
}

#[test]
fn the_reference_product_resolves() {
    let versions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/lantern/versions");
    let Ok(all) = fs::read_dir(versions) else {
        return;
    };
    for version in all {
        let dir = version.unwrap().path();
        if !dir.join("berth.yaml").exists() {
            continue;
        }
        let resolved =
            resolve(&dir).unwrap_or_else(|r| panic!("{}: {}", dir.display(), show(&r.problems)));
        assert!(resolved.release.services.len() >= 4, "{}", dir.display());
        assert_eq!(json(&resolved), json(&resolve(&dir).unwrap()));
    }
}

#[test]
fn volumes_of_images_get_names_that_outlive_generations() {
    let mut resolved = good(&[
        (
            "berth.yaml",
            "product: shop\nversion: 1.0.0\nmigrations:\n- {name: dump, service: db, command: [dump]}\n- {name: other, image: 'postgres:16'}\n",
        ),
        (
            "compose.yaml",
            "services:\n  db: {image: 'postgres:16', volumes: ['logs:/var/log/']}\nvolumes: {logs: }\n",
        ),
    ]);
    let paths = ["/var/lib/data".to_owned(), "/var/log".to_owned()];
    let inherits = resolved.inherits.clone();
    berth_publish::compose::add_image_volumes(&mut resolved.release, &inherits, "db", &paths);
    let release = &resolved.release;
    let volumes = |mounts: &[Mount]| -> Vec<String> {
        mounts
            .iter()
            .filter_map(|m| match m {
                Mount::Volume { volume, .. } => Some(volume.to_string()),
                _ => None,
            })
            .collect()
    };
    assert_eq!(
        volumes(&release.services["db"].mounts),
        ["logs", "db-var-lib-data"]
    );
    let [dump, other] = release.migrations.as_slice() else {
        panic!()
    };
    assert_eq!(volumes(&dump.service.mounts), ["logs", "db-var-lib-data"]);
    assert_eq!(
        volumes(&other.service.mounts),
        ["other-var-lib-data", "other-var-log"]
    );
    assert!(release.volumes["db-var-lib-data"].snapshot);
    assert!(!release.volumes["other-var-lib-data"].snapshot);
    assert!(berth_format::validate::check(release).is_empty());
}

/// `BERTH_BLESS=1 cargo test` writes what it finds; read the difference before you commit it.
#[test]
fn products_in_the_style_of_real_ones() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for name in ["forge", "cloud", "errors", "photos", "layers"] {
        let dir = data.join(name);
        let resolved = resolve(&dir).unwrap_or_else(|r| panic!("{name}: {}", show(&r.problems)));
        let warnings: Vec<_> = resolved.warnings.iter().map(ToString::to_string).collect();
        let sources: std::collections::BTreeMap<_, _> = resolved
            .image_sources
            .iter()
            .map(|(k, s)| {
                (
                    k,
                    format!("{s:?}").replace(&format!("{}/", dir.display()), ""),
                )
            })
            .collect();
        let found = serde_json::json!({
            "release": json(&resolved), "warnings": warnings, "images": sources,
            "platforms": resolved.platforms, "inherits": resolved.inherits,
        });
        let found = format!("{found:#}\n");
        let golden = dir.join("resolved.json");
        if std::env::var_os("BERTH_BLESS").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert!(
            found == expected,
            "{name} resolves to something else than resolved.json; run with BERTH_BLESS=1 and look at the difference"
        );
    }
}

#[test]
#[ignore = "prints what a folder resolves to: BERTH_DIR=… cargo test -- --ignored --nocapture"]
fn print() {
    let dir = std::env::var("BERTH_DIR").unwrap();
    match resolve(Path::new(&dir)) {
        Ok(r) => println!("{}{:#}", show(&r.warnings), json(&r)),
        Err(refused) => println!("{}", show(&refused.problems)),
    }
}

#[test]
#[ignore = "tries real Compose files: BERTH_FILES='a.yaml b.yaml' cargo test -- --ignored"]
fn try_init() {
    for file in std::env::var("BERTH_FILES").unwrap().split_whitespace() {
        let file = Path::new(file);
        let text =
            berth_publish::compose::init(&[file.to_owned()]).unwrap_or_else(|p| p.to_string());
        fs::write(file.with_file_name("berth.yaml"), &text).unwrap();
        println!("=== {}\n{text}---", file.display());
        match resolve(file.parent().unwrap()) {
            Ok(r) => println!("{}fine", show(&r.warnings)),
            Err(refused) => println!("{}", show(&refused.problems)),
        }
    }
}
