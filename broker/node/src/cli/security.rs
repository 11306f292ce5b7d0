//! `sedge security`: users ([`super::user`]), and `init`, which creates a local CA, certificates
//! for the broker and its clients, and the configuration files that use them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::user::UserCommand;
use crate::process::failure::{Exit, Failure};
use crate::process::output::{Output, Table};
use crate::process::private_file;
use crate::tls::authority::{Authority, Signed, Subject};

/// Create certificates for listeners and clients, and manage users.
#[derive(Debug, Args)]
pub struct SecurityCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a local CA and certificates for the broker and clients; existing files are kept
    Init(Init),
    /// Users with passwords, in the data directory of a stopped broker
    User(UserCommand),
}

#[derive(Debug, Args)]
struct Init {
    /// Directory of the created files
    #[arg(long, value_name = "DIR", default_value = "sedge-security")]
    dir: PathBuf,
    /// Host name or IP address of the broker, as clients use it; may be repeated; localhost is
    /// always included [default: this machine's host name]
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Name of a client; may be repeated [default: client]
    #[arg(long, value_name = "NAME")]
    client: Vec<String>,
    /// Days until the certificates expire; the CA's own certificate is valid for ten years
    #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// Replace the certificates of the broker and of the named clients by new ones
    #[arg(long)]
    renew: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

impl SecurityCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// The files cannot be written, or the existing CA cannot be read; or the errors of
    /// [`UserCommand::run`].
    pub fn run(&self) -> Result<(), Failure> {
        match &self.verb {
            Verb::Init(init) => init.run(),
            Verb::User(user) => user.run(),
        }
    }
}

/// Whether a file was created or already existed.
enum Made {
    Made,
    Kept,
}

impl Init {
    fn run(&self) -> Result<(), Failure> {
        for name in &self.client {
            check_name(name)?;
        }
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now_s.map_or(0, |since| since.as_secs());
        fs::create_dir_all(&self.dir)
            .map_err(|error| Failure::io(&format!("create {}", self.dir.display()), &error))?;
        // Absolute paths, so that the properties work from any directory.
        let dir = fs::canonicalize(&self.dir)
            .map_err(|error| Failure::io(&format!("find {}", self.dir.display()), &error))?;
        let mut table = Table::new(&["file", "what", "for"]);
        let mut say = |path: &Path, made: &Made, whom: &str| {
            let made = match made {
                Made::Made => "made",
                Made::Kept => "kept",
            };
            table.row([path.display().to_string().into(), made.into(), whom.into()]);
        };

        let ca_path = dir.join("ca.pem");
        let (authority, made) = authority(&ca_path, &dir.join("ca.key"), now_s)?;
        say(
            &ca_path,
            &made,
            "the broker and all clients: the CA certificate",
        );
        say(
            &dir.join("ca.key"),
            &made,
            "signing certificates; keep it secret",
        );

        let hosts = self.hosts();
        let broker_path = dir.join("broker.pem");
        let broker = Subject::Broker { hosts: &hosts };
        let made = self.identity(&authority, &broker_path, &broker, now_s)?;
        say(
            &broker_path,
            &made,
            &format!("the broker at {}", hosts.join(", ")),
        );
        let lines = broker_properties(&dir, &broker_path, &ca_path);
        let path = dir.join("broker.properties");
        say(&path, &text(&path, &lines)?, "sedge serve --config");

        let default = ["client".to_owned()];
        let clients = if self.client.is_empty() {
            &default[..]
        } else {
            &self.client
        };
        for name in clients {
            let path = dir.join(format!("{name}.pem"));
            let made = self.identity(&authority, &path, &Subject::Client { name }, now_s)?;
            say(&path, &made, &format!("User:CN={name}"));
            let properties = dir.join(format!("{name}.properties"));
            let lines = client_properties(&path, &ca_path);
            let made = text(&properties, &lines)?;
            say(
                &properties,
                &made,
                "--command-config of Kafka's tools and sedge; Java clients",
            );
            let conf = dir.join(format!("{name}.kcat.conf"));
            let made = text(&conf, &kcat_conf(&path, &ca_path))?;
            say(&conf, &made, "kcat -F; librdkafka clients");
        }
        table.print(self.output)
    }

    /// Returns the host names and addresses in the broker's certificate.
    fn hosts(&self) -> Vec<String> {
        let mut hosts = self.host.clone();
        if hosts.is_empty() {
            let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            hosts.extend(Some(name.trim().to_owned()).filter(|name| !name.is_empty()));
        }
        for own in ["localhost", "127.0.0.1", "::1"] {
            if !hosts.iter().any(|host| host == own) {
                hosts.push(own.to_owned());
            }
        }
        hosts
    }

    /// Writes a certificate and its private key to one file, unless the file exists and `--renew`
    /// is not set.
    fn identity(
        &self,
        authority: &Authority,
        path: &Path,
        subject: &Subject<'_>,
        now_s: u64,
    ) -> Result<Made, Failure> {
        if path.exists() && !self.renew {
            return Ok(Made::Kept);
        }
        let signed = authority.sign(subject, now_s, self.days);
        let Signed {
            certificate_pem,
            key_pem,
        } = signed.map_err(|why| {
            Failure::new(
                Exit::Data,
                format!("cannot create {}: {why}", path.display()),
            )
        })?;
        let both = Zeroizing::new(format!("{}{certificate_pem}", *key_pem));
        write(path, &both, 0o600)?;
        Ok(Made::Made)
    }
}

/// Writes a world-readable file, unless the file exists.
fn text(path: &Path, text: &str) -> Result<Made, Failure> {
    if path.exists() {
        return Ok(Made::Kept);
    }
    write(path, text, 0o644)?;
    Ok(Made::Made)
}

/// Loads the existing CA, or creates a new one.
fn authority(path: &Path, key_path: &Path, now_s: u64) -> Result<(Authority, Made), Failure> {
    let wrong = |why: String| {
        let what = format!(
            "cannot use the CA in {} and {}: {why}",
            path.display(),
            key_path.display()
        );
        Failure::new(Exit::Data, what)
            .advise("to create a new CA, choose another directory with --dir")
    };
    let read = |path: &Path| {
        let text = fs::read_to_string(path).map(Zeroizing::new);
        text.map_err(|error| wrong(error.to_string()))
    };
    if path.exists() || key_path.exists() {
        let metadata = fs::metadata(key_path).map_err(|error| wrong(error.to_string()))?;
        private_file::check(key_path, &metadata, "the CA's key").map_err(wrong)?;
        let (certificate, key) = (read(path)?, read(key_path)?);
        let authority = Authority::read(&certificate, &key).map_err(wrong)?;
        return Ok((authority, Made::Kept));
    }
    let (authority, key) = Authority::make(now_s).map_err(wrong)?;
    write(key_path, &key, 0o600)?;
    write(path, authority.certificate_pem(), 0o644)?;
    Ok((authority, Made::Made))
}

/// Checks the name of a client, which becomes part of file names and of the principal.
fn check_name(name: &str) -> Result<(), Failure> {
    let fine = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let is_taken = matches!(name, "ca" | "broker");
    if is_taken
        || name.is_empty()
        || name.len() > 64
        || name.starts_with('.')
        || !name.chars().all(fine)
    {
        let what = format!(
            "{name:?} is not a valid client name; use 1 to 64 letters, digits, `-`, `_` and `.`, \
             with no `.` at the start; ca and broker are reserved"
        );
        return Err(Failure::new(Exit::Usage, what));
    }
    Ok(())
}

/// Writes a file atomically, by a rename.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(&format!("write {}", path.display()), &error);
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let _ = fs::remove_file(&beside);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

fn broker_properties(dir: &Path, broker: &Path, ca: &Path) -> String {
    format!(
        "# sedge serve --config {}/broker.properties\n\
         listeners=SSL://:9093\n\
         ssl.keystore.location={}\n\
         ssl.truststore.location={}\n\
         ssl.client.auth=required\n\
         # Uncomment for principals like User:truck-7 instead of User:CN=truck-7:\n\
         #ssl.principal.mapping.rules=RULE:CN=([^,]+)/$1/,DEFAULT\n",
        dir.display(),
        broker.display(),
        ca.display()
    )
}

fn client_properties(client: &Path, ca: &Path) -> String {
    let (client, ca) = (client.display(), ca.display());
    format!(
        "security.protocol=SSL\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={client}\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={ca}\n"
    )
}

fn kcat_conf(client: &Path, ca: &Path) -> String {
    let (client, ca) = (client.display(), ca.display());
    format!(
        "security.protocol=ssl\n\
         ssl.ca.location={ca}\n\
         ssl.certificate.location={client}\n\
         ssl.key.location={client}\n\
         ssl.endpoint.identification.algorithm=https\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_name_is_safe_in_a_path() {
        for name in ["truck-7", "a.b_c", "X"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "../x", "a b", ".hidden", "ca", "broker", "a/b"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
