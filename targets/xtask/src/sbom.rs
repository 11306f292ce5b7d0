//! `cargo xtask sbom`: writes the broker's bill of materials, CycloneDX 1.5 in JSON.
//!
//! The same `Cargo.lock`, target and features give the same file: it has no time and no serial
//! number.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    packages::{Id, Packages},
    target_file::Target,
    workspace::Workspace,
};

/// Writes the list of a target's components to `to`, by default beside the binaries.
pub fn run(workspace: &Workspace, target: &Target, to: Option<&Path>) -> Result<()> {
    let features = target.features.join(",");
    let mut arguments = Vec::new();
    if !target.compiler {
        arguments.push("--no-default-features");
    }
    if !features.is_empty() {
        arguments.extend(["--features", &features]);
    }
    let packages = Packages::read(workspace)?;
    let parts = Packages::in_broker(workspace, &target.triple, &arguments)?;
    let path = to.map_or_else(
        || {
            workspace
                .target
                .join(format!("sedge-{}.cdx.json", target.triple))
        },
        PathBuf::from,
    );
    let list = list(&packages, &parts).map_err(|wrong| Error::Content {
        path: workspace.root.join("Cargo.lock"),
        wrong,
    })?;
    fs::write(&path, format!("{list:#}\n")).map_err(Error::file(&path))?;
    println!("{}: {} components", path.display(), parts.len() - 1);
    Ok(())
}

/// Returns the document for `parts`, of which the first is the broker.
fn list(packages: &Packages, parts: &[Id]) -> std::result::Result<Value, String> {
    let known: BTreeSet<&Id> = parts.iter().collect();
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for id in parts {
        components.push(component(packages, id)?);
        let needs = packages.needs.get(id).into_iter().flatten();
        let needs: BTreeSet<String> = needs.filter(|of| known.contains(of)).map(url).collect();
        dependencies.push(json!({ "ref": url(id), "dependsOn": needs }));
    }
    if components.is_empty() {
        return Err("the broker is not a package of the workspace".to_owned());
    }
    let mut broker = components.remove(0);
    broker["type"] = json!("application");
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": broker },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(packages: &Packages, id: &Id) -> std::result::Result<Value, String> {
    let (name, version) = id;
    let package = packages.all.iter().find(|package| package.id() == *id);
    let package = package
        .ok_or_else(|| format!("{name} {version} is not in the output of `cargo metadata`"))?;
    let mut component = json!({
        "type": "library",
        "bom-ref": url(id),
        "name": name,
        "version": version,
        "purl": url(id),
    });
    if let Some(license) = &package.license {
        // Before SPDX, cargo separated alternatives by a slash.
        let expression = license.replace(" / ", " OR ").replace('/', " OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    match packages.checksums.get(id) {
        Some(sum) => component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]),
        None if package.is_ours() => {}
        None => return Err(format!("{name} {version} has no checksum in Cargo.lock")),
    }
    if let Some(repository) = &package.repository {
        let at = json!([{ "type": "vcs", "url": repository }]);
        component["externalReferences"] = at;
    }
    Ok(component)
}

/// Returns a package URL. A `+` in a version is encoded, because it would mean a space.
fn url((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::HOST_TRIPLE;

    /// The list of this checkout.
    fn ours() -> Value {
        let workspace = Workspace::find();
        let packages = Packages::read(&workspace).unwrap();
        let parts = Packages::in_broker(&workspace, HOST_TRIPLE, &[]).unwrap();
        list(&packages, &parts).unwrap()
    }

    #[test]
    fn each_part_of_the_broker_is_listed_with_its_licence_sum_and_needs() {
        let list = ours();
        assert_eq!(
            (&list["bomFormat"], &list["specVersion"]),
            (&json!("CycloneDX"), &json!("1.5"))
        );
        assert_eq!(list["metadata"]["component"]["name"], "sedge");
        let components = list["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|of| of["name"] == name);
        for part in ["sedge-core", "rustls", "ring", "fjall", "wasmtime"] {
            assert!(named(part).is_some(), "{part}");
        }
        // These are used only by tests, macros and builds.
        for other in ["wat", "serde_derive", "cc", "xtask"] {
            assert!(named(other).is_none(), "{other}");
        }
        let mut refs = BTreeSet::new();
        for part in components {
            let name = &part["name"];
            assert!(part["licenses"][0]["expression"].is_string(), "{name}");
            let sum = part["hashes"][0]["content"].as_str().unwrap_or_default();
            let is_ours = name.as_str().unwrap().starts_with("sedge-");
            assert!(is_ours || sum.len() == 64, "{name}");
            assert!(
                refs.insert(part["bom-ref"].as_str().unwrap()),
                "{name} twice"
            );
        }
        refs.insert(list["metadata"]["component"]["bom-ref"].as_str().unwrap());
        let dependencies = list["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), refs.len());
        for dependency in dependencies {
            let needs = dependency["dependsOn"].as_array().unwrap();
            for end in needs.iter().chain([&dependency["ref"]]) {
                assert!(refs.contains(end.as_str().unwrap()), "{end}");
            }
        }
        let broker = dependencies
            .iter()
            .find(|of| of["ref"] == "pkg:cargo/sedge@0.1.0");
        let needs = broker.unwrap()["dependsOn"].as_array().unwrap();
        assert!(
            needs.contains(&json!("pkg:cargo/sedge-core@0.1.0")),
            "{needs:?}"
        );
    }

    #[test]
    fn a_package_without_a_checksum_is_refused() {
        let metadata = r#"{"packages": [{"name": "a", "version": "1.0.0+b", "id": "x",
            "source": "git+https://example.org/a"}], "resolve": {"nodes": []}}"#;
        let packages = Packages::parse(metadata, "package = []").unwrap();
        let part = ("a".to_owned(), "1.0.0+b".to_owned());
        let refused = list(&packages, std::slice::from_ref(&part)).unwrap_err();
        assert!(refused.contains("no checksum"), "{refused}");
        assert_eq!(url(&part), "pkg:cargo/a@1.0.0%2Bb");
    }
}
