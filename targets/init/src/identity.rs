//! What the device is: its board and its slot, the keys of its updates, and the last update.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use sedge_init::keys::{self, PublicKey};
use sedge_init::settings::{self, REVOKED_KEYS, Settings, Slot, TRUSTED_KEYS};
use sedge_init::slot_image::Head;

use crate::{say, slot};

/// What the image of the slot says of itself.
const SLOT: &str = "/usr/share/sedge/slot.properties";
/// Keys that images of this device have revoked. Their list outlives the slots.
const REVOKED: &str = "/data/device/revoked.properties";
/// The last update.
const UPDATE: &str = "/data/device/update.properties";
/// The format of the broker's data.
const DATA: &str = "/data/sedge/meta.toml";

/// The device, as it was started.
#[derive(Debug, Clone)]
pub struct Identity {
    pub slot: Slot,
    /// Lines of [`SLOT`].
    image: String,
    trusted_keys: Vec<PublicKey>,
    revoked_keys: Vec<PublicKey>,
}

impl Identity {
    pub fn read(slot: Slot, settings: &Settings) -> Self {
        let image = fs::read_to_string(SLOT).unwrap_or_default();
        let of_image = |key| keys::read(settings::value(&image, key)).unwrap_or_default();
        let (mut trusted_keys, mut revoked_keys) = (of_image(TRUSTED_KEYS), of_image(REVOKED_KEYS));
        trusted_keys.extend(&settings.trusted_keys);
        revoked_keys.extend(&settings.revoked_keys);
        Self {
            slot,
            image,
            trusted_keys,
            revoked_keys,
        }
    }

    pub fn board(&self) -> &str {
        settings::value(&self.image, "board")
    }

    pub fn trusted_keys(&self) -> &[PublicKey] {
        &self.trusted_keys
    }

    /// Returns the revoked keys: those of the slot, of the owner, and of slots before.
    pub fn revoked_keys(&self) -> Vec<PublicKey> {
        let before = fs::read_to_string(REVOKED).unwrap_or_default();
        let before = keys::read(settings::value(&before, REVOKED_KEYS)).unwrap_or_default();
        [self.revoked_keys.clone(), before].concat()
    }

    /// Names the slot good.
    pub fn commit(&self) -> io::Result<()> {
        self.remember_revoked()?;
        slot::name_good(self.slot)?;
        end_update(self.slot, "good", "")
    }

    /// Remembers the keys that the image of the slot revokes, for the slots after it.
    pub fn remember_revoked(&self) -> io::Result<()> {
        let before = fs::read_to_string(REVOKED).unwrap_or_default();
        let [own, known] = [&self.image, &before].map(|text| settings::value(text, REVOKED_KEYS));
        if own.is_empty() || known.contains(own) {
            return Ok(());
        }
        replace(REVOKED, &format!("{REVOKED_KEYS}={own},{known}\n"))
    }

    /// Describes the device in lines.
    pub fn lines(&self, is_on_trial: bool) -> String {
        let value = |key| settings::value(&self.image, key);
        let update = fs::read_to_string(UPDATE).unwrap_or_default();
        format!(
            "board={}\nslot={}\nstate={}\nversion={}\nbuilt={}\nuptime.s={}\n{update}",
            value("board"),
            self.slot.letter(),
            if is_on_trial { "trial" } else { "good" },
            value("version"),
            value("built"),
            crate::journal::uptime().as_secs(),
        )
    }
}

/// Returns the format of the data on the device; `None` if there is none yet.
pub fn data_format() -> Option<u32> {
    let text = fs::read_to_string(DATA).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let mut formats = lines.filter(|(key, _)| key.trim() == "format");
    formats.next()?.1.trim().parse().ok()
}

/// Remembers an update of `slot` that the next start tries.
pub fn begin_update(slot: Slot, head: &Head) -> io::Result<()> {
    let (version, built) = (&head.version, head.built);
    let text = format!(
        "update.slot={}\nupdate.version={version}\nupdate.built={built}\nupdate.state=trial\n",
        slot.letter()
    );
    replace(UPDATE, &text)
}

/// Remembers how the trial of `slot` ended, if it is not known yet.
pub fn end_update(slot: Slot, state: &str, why: &str) -> io::Result<()> {
    let text = fs::read_to_string(UPDATE).unwrap_or_default();
    let is_open = settings::value(&text, "update.state") == "trial";
    if !is_open || settings::value(&text, "update.slot") != slot.letter().to_string() {
        return Ok(());
    }
    let ended = text.replace("update.state=trial", &format!("update.state={state}"));
    let why = why.replace('\n', "; ");
    replace(UPDATE, &format!("{ended}update.why={why}\n"))
}

/// Says that the device went back, if the other slot was tried and is not what runs.
pub fn settle(slot: Slot) {
    let other = slot.other();
    let text = fs::read_to_string(UPDATE).unwrap_or_default();
    let was_tried = settings::value(&text, "update.state") == "trial"
        && settings::value(&text, "update.slot") == other.letter().to_string();
    if !was_tried {
        return;
    }
    let why = "the slot did not start its init, or the device was switched off in the trial";
    say!("slot {} was tried and is not good: {why}", other.letter());
    if let Err(error) = end_update(other, "failed", why) {
        say!("the end of the update cannot be written: {error}");
    }
}

/// Replaces a file, whole or not at all.
fn replace(path: &str, text: &str) -> io::Result<()> {
    let path = Path::new(path);
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(directory)?.sync_all()
}
