//! The operator of a device: certificates, a token, and the command `sedge device`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sedge_tests::process::{Finished, Process};
use sedge_tests::tls::Certificates;
use sedge_tests::tools;

use super::device::{BOOT, CONSOLE, Device, images, run};

const TOKEN: &str = "operator-0123456789";
/// Longest update: the device writes it, reads it back, starts, and stays well for a while.
const UPDATE: Duration = Duration::from_mins(12);

pub struct Operator {
    command_config: PathBuf,
}

impl Operator {
    /// Gives the device's console TLS and a token. The device must be switched off.
    pub fn of(device: &Device) -> Self {
        let directory = device.file("operator");
        fs::create_dir(&directory).expect("a scratch directory");
        let certificates = Certificates::make(&directory);
        device.put(
            "config",
            Path::new(&certificates.file("broker.pem")),
            "broker.pem",
        );
        let before = device.get("config", "sedge.toml");
        let others = before
            .lines()
            .filter(|line| !line.contains("sedge.console"));
        let own = format!(
            "\"sedge.console\" = \"https://0.0.0.0:9644\"\n\
             \"sedge.console.device.token\" = \"{TOKEN}\"\n\
             \"listener.name.console.ssl.keystore.location\" = \"/config/broker.pem\"\n\
             \"listener.name.console.ssl.keystore.type\" = \"PEM\"\n{}\n",
            others.collect::<Vec<_>>().join("\n")
        );
        let settings = directory.join("sedge.toml");
        fs::write(&settings, own).expect("a scratch file");
        device.put("config", &settings, "sedge.toml");
        let command_config = directory.join("operator.properties");
        let properties = format!(
            "ssl.truststore.location={}\nssl.truststore.type=PEM\nsedge.console.device.token={TOKEN}\n",
            certificates.file("ca.pem")
        );
        fs::write(&command_config, properties).expect("a scratch file");
        Self { command_config }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tools::sedge());
        command
            .arg("device")
            .args(arguments)
            .args(["--host", CONSOLE]);
        command.arg("--command-config").arg(&self.command_config);
        command
    }

    /// Runs `sedge device VERB …`.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        Process::run("sedge device", &mut self.command(arguments), b"", UPDATE)
    }

    /// Runs a command that has to succeed, and returns what it prints.
    pub fn must(&self, arguments: &[&str]) -> String {
        tools::must(self.run(arguments), "sedge device").stdout
    }

    /// Starts an update.
    pub fn start_update(&self, image: &Path) -> Process {
        let image = image.to_str().expect("scratch paths are UTF-8");
        Process::spawn("sedge device", &mut self.command(&["update", image]))
    }

    /// Updates the device, which has to refuse the image or to go back. Returns why.
    pub fn fails_to_update(&self, image: &Path) -> String {
        let image = image.to_str().expect("scratch paths are UTF-8");
        let done = self.run(&["update", image]);
        assert!(!done.status.success(), "{}", done.stdout);
        done.stderr
    }

    /// Updates the device, which has to take the image.
    pub fn updates(&self, image: &Path) {
        let image = image.to_str().expect("scratch paths are UTF-8");
        let told = self.must(&["update", image]);
        assert!(told.contains("good"), "{told}");
    }

    /// What the device says of itself.
    pub fn info(&self) -> BTreeMap<String, String> {
        let lines = self.must(&["info"]);
        let pairs = lines.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// Checks the slot that runs, and waits until it is good.
    pub fn runs(&self, slot: &str) {
        let until = Instant::now() + BOOT;
        loop {
            let info = self.info();
            assert_eq!(info["slot"], slot, "{info:?}");
            if info["state"] == "good" {
                return;
            }
            assert!(Instant::now() < until, "{info:?}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Signs an image with a key of the tests.
pub fn sign(image: &Path, key: &str) {
    let mut command = Command::new(tools::sedge());
    command.args(["device", "sign"]).arg(image);
    command.arg("--key").arg(images().join(key));
    run("sedge device sign", &mut command);
}
