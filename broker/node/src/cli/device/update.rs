//! `sedge device update`: writes a slot image to a device, and waits for the device's verdict.

use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use clap::Args;
use sedge_core::base64;
use serde_json::json;

use super::{One, read, sign};
use crate::cli::signing;
use crate::limits;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{self, Table};

/// Update a device.
#[derive(Debug, Args)]
#[command(after_help = "\
The device checks the signature before it writes, and starts the new slot once. If the broker there
stays well and the device has an address, the slot is good; otherwise the device goes back to the
slot that ran before. Data is not touched.")]
pub struct Update {
    /// The file BOARD.slot that `cargo xtask image` made and `sedge device sign` signed
    image: PathBuf,
    /// Ask the device whether it would take the image, and write nothing
    #[arg(long)]
    check: bool,
    /// Write the image, and do not restart the device: its next start tries the slot
    #[arg(long, conflicts_with = "check")]
    no_reboot: bool,
    #[command(flatten)]
    one: One,
}

impl Update {
    /// # Errors
    /// The image has no signature, or the device refuses it or goes back.
    pub fn run(&self) -> Result<(), Failure> {
        let image = sign::read(&self.image)?;
        let head = sign::head(&self.image, &image)?;
        let signature = signing::signature(&self.image, "sedge device sign")?;
        let signature = signature.ok_or_else(|| {
            let file = self.image.display();
            Failure::new(Exit::Data, format!("{file} is not signed"))
                .advise(format!("`sedge device sign {file} --key KEY` signs it"))
        })?;
        let signature = format!("signature={}\n", base64::encode(&signature));
        let signature = signature.as_bytes();
        let console = self.one.console()?;
        let taken = console.send("POST", "/device/check", &[signature, head])?;
        if self.check {
            return output::line(format_args!("{}", taken.trim_end()));
        }
        let mib = image.len() as f64 / f64::from(1 << 20);
        output::note(format_args!(
            "writing {mib:.1} MiB; the device reads them back"
        ));
        let written = console.send("PUT", "/device/slot", &[signature, &image])?;
        if self.no_reboot {
            return output::line(format_args!("{}", written.trim_end()));
        }
        output::note(format_args!("{}; restarting", written.trim_end()));
        console.send("POST", "/device/reboot", &[])?;
        self.wait()
    }

    /// Waits until the device says how the trial ended.
    fn wait(&self) -> Result<(), Failure> {
        let console = self.one.console()?;
        let until = Instant::now() + limits::TRIAL_WAIT_MAX;
        while Instant::now() < until {
            thread::sleep(limits::TRIAL_ASKED_EVERY);
            // A device that restarts does not answer.
            let Ok(lines) = console.get("/device") else {
                continue;
            };
            let of = read(&lines);
            let text = |key: &str| of.get(key).and_then(|it| it.as_str()).unwrap_or_default();
            match text("update.state") {
                "good" => {
                    let mut table = Table::new(&["slot", "state", "version"]);
                    let [slot, state, version] = ["slot", "state", "version"].map(text);
                    table.row([json!(slot), json!(state), json!(version)]);
                    return table.print(self.one.reach.output);
                }
                "failed" => {
                    let (slot, why) = (text("slot"), text("update.why"));
                    let what = format!("the device went back to slot {slot}: {why}");
                    return Err(Failure::new(Exit::Different, what)
                        .advise("`sedge device logs` has what the slot that runs now has logged"));
                }
                _ => {}
            }
        }
        let what = "the device has not said how the trial of the slot ended";
        Err(Failure::new(Exit::Temporary, what).advise("ask it later: `sedge device info`"))
    }
}
