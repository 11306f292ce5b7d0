//! An image of containers: a layout of the OCI image specification 1.1, made without a daemon. Each
//! target is a manifest of one index.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{Edition, Packaged, gzip, put, put_text};
use crate::{
    error::{Error, Result},
    process,
    target_file::Target,
};

/// Limit of the archive, in MiB.
const ARCHIVE_MAX_MIB: u64 = 20;
/// The user of the broker, as on devices.
const USER: u32 = 990;
const USERS: &str = "root:x:0:0:root:/:/bin/false\nsedge:x:990:990:sedge:/data:/bin/false\n";
const GROUPS: &str = "root:x:0:\nsedge:x:990:\n";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Writes the layout of all targets, in an archive.
pub fn write(edition: &Edition<'_>, packaged: &[Packaged]) -> Result<PathBuf> {
    let name = format!("sedge-{}.oci", edition.version);
    let layout = Layout(edition.staging(&name)?);
    let mut manifests = Vec::new();
    for of in packaged {
        if !of.target.static_crt {
            return Err(Error::Missing {
                what: format!("a static broker; {} has libraries", of.target.triple),
                remedy: "the image has nothing but the broker: name a target with musl".to_owned(),
            });
        }
        manifests.push(manifest(edition, &layout, of)?);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    put_text(&index.to_string(), &layout.0.join("index.json"), 0o644)?;
    let version = json!({"imageLayoutVersion": "1.0.0"});
    put_text(&version.to_string(), &layout.0.join("oci-layout"), 0o644)?;
    let archive = edition.directory.join(format!("{name}.tar"));
    edition.archive(
        "create",
        &archive,
        &layout.0,
        &["oci-layout", "index.json", "blobs"],
        0,
    )?;
    let bytes = fs::metadata(&archive).map_err(Error::file(&archive))?.len();
    if bytes > ARCHIVE_MAX_MIB << 20 {
        println!("TOO LARGE: {} MiB of {ARCHIVE_MAX_MIB}", bytes >> 20);
        return Err(Error::Checks { failed: 1 });
    }
    Ok(archive)
}

/// Adds a target, and returns the descriptor of its manifest.
fn manifest(edition: &Edition<'_>, layout: &Layout, of: &Packaged) -> Result<Value> {
    let (layer, plain) = layer(edition, of)?;
    let layer = layout.add(&layer, LAYER)?;
    let mut date = Command::new("date");
    let at = format!("@{}", edition.built);
    let created = process::output(date.args(["-u", "-d", &at, "+%Y-%m-%dT%H:%M:%SZ"]))?;
    let mut config = platform(&of.target)?;
    let settings = json!({
        "User": format!("{USER}:{USER}"),
        "Entrypoint": ["/usr/bin/sedge"],
        "Cmd": ["serve", "--data", "/data"],
        "WorkingDir": "/data",
        "Env": ["PATH=/usr/bin", "HOME=/data"],
        "Volumes": {"/data": {}},
        "ExposedPorts": {"9092/tcp": {}, "9644/tcp": {}},
        "StopSignal": "SIGTERM",
        "Labels": {
            "org.opencontainers.image.title": "sedge",
            "org.opencontainers.image.version": edition.version,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    });
    config["created"] = json!(created);
    config["config"] = settings;
    config["rootfs"] = json!({"type": "layers", "diff_ids": [plain]});
    config["history"] = json!([{"created": created, "created_by": "cargo xtask package oci"}]);
    let config = layout.add_json(&config, CONFIG)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
    });
    let mut manifest = layout.add_json(&manifest, MANIFEST)?;
    manifest["platform"] = platform(&of.target)?;
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": edition.version});
    Ok(manifest)
}

/// Returns the words for a target's machine.
fn platform(target: &Target) -> Result<Value> {
    match target.deb_arch.as_str() {
        arch @ ("amd64" | "arm64") => Ok(json!({"os": "linux", "architecture": arch})),
        "armhf" => Ok(json!({"os": "linux", "architecture": "arm", "variant": "v7"})),
        other => Err(Error::Unknown {
            kind: "platform of containers for",
            name: other.to_owned(),
            known: ["amd64", "arm64", "armhf"].map(str::to_owned).into(),
        }),
    }
}

/// Writes the one layer of a target. Returns its file, and the digest of what is compressed in it.
fn layer(edition: &Edition<'_>, of: &Packaged) -> Result<(PathBuf, String)> {
    let name = format!("layer-{}", of.target.triple);
    let staging = edition.staging(&name)?;
    put(&of.broker, &staging.join("usr/bin/sedge"), 0o755)?;
    put_text(USERS, &staging.join("etc/passwd"), 0o644)?;
    put_text(GROUPS, &staging.join("etc/group"), 0o644)?;
    let owned = staging.join("data");
    fs::create_dir(&owned).map_err(Error::file(&owned))?;
    let archive = edition.directory.join(format!("{name}.tar"));
    edition.archive("create", &archive, &staging, &["etc", "usr"], 0)?;
    edition.archive("append", &archive, &staging, &["data"], USER)?;
    let plain = sha256(&archive)?;
    Ok((gzip(&archive)?, plain))
}

/// A directory with blobs by their digests.
struct Layout(PathBuf);

impl Layout {
    /// Moves a file to the blobs, and returns its descriptor.
    fn add(&self, file: &Path, media_type: &str) -> Result<Value> {
        let digest = sha256(file)?;
        let bytes = fs::metadata(file).map_err(Error::file(file))?.len();
        let blobs = self.0.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(Error::file(&blobs))?;
        let to = blobs.join(digest.trim_start_matches("sha256:"));
        fs::rename(file, &to).map_err(Error::file(&to))?;
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes}))
    }

    fn add_json(&self, value: &Value, media_type: &str) -> Result<Value> {
        let file = self.0.join("new.json");
        put_text(&value.to_string(), &file, 0o644)?;
        self.add(&file, media_type)
    }
}

fn sha256(file: &Path) -> Result<String> {
    let listed = process::output(Command::new("sha256sum").arg(file))?;
    let digits = listed.split_whitespace().next().unwrap_or_default();
    Ok(format!("sha256:{digits}"))
}
