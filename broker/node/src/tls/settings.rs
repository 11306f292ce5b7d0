//! The `ssl.*` keys, by Kafka's names.

use std::fmt;
use std::path::PathBuf;

use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::files::Stamp;
pub use crate::process::secret::Secret;

/// What to do with a Java key store.
pub const FROM_JKS: &str = "`keytool -importkeystore -srckeystore OLD.jks -destkeystore NEW.p12 \
                            -deststoretype PKCS12` makes PKCS12 of JKS";

/// Keys that listeners and clients have alike.
pub const KEYS: &[&str] = &[
    "ssl.cipher.suites",
    "ssl.enabled.protocols",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.protocol",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// Keys of listeners alone.
pub const LISTENER_KEYS: &[&str] = &["ssl.client.auth", "ssl.principal.mapping.rules"];

/// Keys of clients alone.
pub const CLIENT_KEYS: &[&str] = &["ssl.endpoint.identification.algorithm"];

/// A key that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    pub key: &'static str,
    pub why: String,
}

impl KeyError {
    pub fn new(key: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { key, why }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl std::error::Error for KeyError {}

/// The value of a key, if it is set and not empty.
pub type Get<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where certificates and keys are.
#[derive(Clone, Debug)]
pub struct Store {
    pub content: Content,
    /// What the content is; none: what it looks like.
    pub kind: Option<Kind>,
    /// Of a PKCS#12 file.
    pub password: Option<Secret>,
    /// Of the private key.
    pub key_password: Option<Secret>,
    /// The key that says where, for errors.
    pub key: &'static str,
}

#[derive(Clone, Debug)]
pub enum Content {
    /// A file, or a directory of files.
    Path(PathBuf),
    /// PEM in the configuration itself.
    Inline(Secret),
}

/// `ssl.keystore.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pem,
    Pkcs12,
}

/// What a handshake may agree on.
#[derive(Clone, Debug)]
pub struct Handshake {
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// None: all that are safe.
    pub cipher_suites: Option<Vec<SupportedCipherSuite>>,
}

/// What listeners and clients have alike.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    pub keystore: Option<Store>,
    pub truststore: Option<Store>,
    pub handshake: Handshake,
}

/// `ssl.client.auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Requested,
    Required,
}

impl TlsSettings {
    /// Reads the keys.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn read(get: Get<'_>) -> Result<Self, KeyError> {
        Ok(Self {
            keystore: keystore(get)?,
            truststore: truststore(get)?,
            handshake: Handshake {
                versions: versions(get)?,
                cipher_suites: cipher_suites(get)?,
            },
        })
    }

    /// Looks at the files that the keys name.
    pub(super) fn stamp(&self) -> Stamp {
        let stores = [&self.keystore, &self.truststore].into_iter().flatten();
        let paths = stores.filter_map(|store| match &store.content {
            Content::Path(path) => Some(path.as_path()),
            Content::Inline(_) => None,
        });
        Stamp::of(&paths.collect::<Vec<_>>())
    }
}

/// Reads `ssl.client.auth`.
///
/// # Errors
/// It is none of Kafka's values.
pub fn client_auth(get: Get<'_>) -> Result<ClientAuth, KeyError> {
    const KEY: &str = "ssl.client.auth";
    match get(KEY).as_deref() {
        None | Some("none") => Ok(ClientAuth::None),
        Some("requested") => Ok(ClientAuth::Requested),
        Some("required") => Ok(ClientAuth::Required),
        Some(other) => Err(KeyError::new(
            KEY,
            format!("`{other}` is none of none, requested and required"),
        )),
    }
}

/// Reads `ssl.endpoint.identification.algorithm`: whether a broker's certificate has to be for the
/// host that was connected to. Set to nothing, it does not.
///
/// # Errors
/// It is another algorithm than https.
pub fn checks_host(set: Option<&str>) -> Result<bool, KeyError> {
    match set.map(str::trim) {
        Some("") => Ok(false),
        None => Ok(true),
        Some(https) if https.eq_ignore_ascii_case("https") => Ok(true),
        Some(other) => Err(KeyError::new(
            "ssl.endpoint.identification.algorithm",
            format!("`{other}` is not https; nothing at all turns the check off"),
        )),
    }
}

fn keystore(get: Get<'_>) -> Result<Option<Store>, KeyError> {
    const LOCATION: &str = "ssl.keystore.location";
    const KEY: &str = "ssl.keystore.key";
    const CHAIN: &str = "ssl.keystore.certificate.chain";
    let key_password = get("ssl.key.password").map(Secret::new);
    let inline = match (get(KEY), get(CHAIN)) {
        (None, None) => None,
        (Some(key), Some(chain)) => Some(format!("{key}\n{chain}")),
        (Some(_), None) => return Err(KeyError::new(CHAIN, "needed beside ssl.keystore.key")),
        (None, Some(_)) => return Err(KeyError::new(KEY, "needed beside the certificates")),
    };
    let at = (LOCATION, KEY, "ssl.keystore.type", "ssl.keystore.password");
    let store = store(get, at, inline)?;
    Ok(store.map(|store| Store {
        key_password,
        ..store
    }))
}

fn truststore(get: Get<'_>) -> Result<Option<Store>, KeyError> {
    const CERTIFICATES: &str = "ssl.truststore.certificates";
    let at = (
        "ssl.truststore.location",
        CERTIFICATES,
        "ssl.truststore.type",
        "ssl.truststore.password",
    );
    store(get, at, get(CERTIFICATES))
}

/// The keys of a store: where it is, where it is written out, its type and its password.
type StoreKeys = (&'static str, &'static str, &'static str, &'static str);

fn store(
    get: Get<'_>,
    (location, inline_key, type_key, password_key): StoreKeys,
    inline: Option<String>,
) -> Result<Option<Store>, KeyError> {
    let kind = match get(type_key) {
        None => None,
        Some(kind) if kind.eq_ignore_ascii_case("PEM") => Some(Kind::Pem),
        Some(kind) if kind.eq_ignore_ascii_case("PKCS12") => Some(Kind::Pkcs12),
        Some(kind) => {
            return Err(KeyError::new(
                type_key,
                format!("`{kind}` is neither PEM nor PKCS12; {FROM_JKS}"),
            ));
        }
    };
    let password = get(password_key).map(Secret::new);
    if password.is_some() && (kind == Some(Kind::Pem) || inline.is_some()) {
        let why = "a PEM store has no password; ssl.key.password is that of an encrypted key";
        return Err(KeyError::new(password_key, why));
    }
    let (content, key) = match (get(location), inline) {
        (None, None) => return Ok(None),
        (Some(path), None) => (Content::Path(PathBuf::from(path)), location),
        (None, Some(_)) if kind == Some(Kind::Pkcs12) => {
            return Err(KeyError::new(inline_key, "is PEM, and the type is PKCS12"));
        }
        (None, Some(text)) => (Content::Inline(Secret::new(text)), inline_key),
        (Some(_), Some(_)) => {
            return Err(KeyError::new(
                location,
                format!("{inline_key} is set as well; leave one of them out"),
            ));
        }
    };
    Ok(Some(Store {
        content,
        kind,
        password,
        key_password: None,
        key,
    }))
}

/// `ssl.enabled.protocols`, of which `ssl.protocol` is the newest.
fn versions(get: Get<'_>) -> Result<Vec<&'static SupportedProtocolVersion>, KeyError> {
    const KEY: &str = "ssl.enabled.protocols";
    const NEWEST: &str = "ssl.protocol";
    let is_13_off = match get(NEWEST).as_deref() {
        None | Some("TLSv1.3" | "TLS") => false,
        Some("TLSv1.2") => true,
        Some(other) => return Err(KeyError::new(NEWEST, not_a_version(other))),
    };
    let mut versions = Vec::new();
    let names = get(KEY).unwrap_or_else(|| "TLSv1.2,TLSv1.3".to_owned());
    for name in names.split(',').map(str::trim) {
        match name {
            "TLSv1.3" if is_13_off => {}
            "TLSv1.3" => versions.push(&rustls::version::TLS13),
            "TLSv1.2" => versions.push(&rustls::version::TLS12),
            "" => {}
            other => return Err(KeyError::new(KEY, not_a_version(other))),
        }
    }
    if versions.is_empty() {
        return Err(KeyError::new(KEY, "no version is left of it"));
    }
    Ok(versions)
}

fn not_a_version(name: &str) -> String {
    format!("`{name}` is neither TLSv1.2 nor TLSv1.3; older versions are broken")
}

fn cipher_suites(get: Get<'_>) -> Result<Option<Vec<SupportedCipherSuite>>, KeyError> {
    const KEY: &str = "ssl.cipher.suites";
    let Some(names) = get(KEY) else {
        return Ok(None);
    };
    let all = super::provider().cipher_suites;
    let mut suites = Vec::new();
    for name in names.split(',').map(str::trim).filter(|of| !of.is_empty()) {
        let suite = all.iter().find(|suite| java_name(**suite) == name);
        let suite = suite.ok_or_else(|| {
            let known: Vec<String> = all.iter().map(|suite| java_name(*suite)).collect();
            let why = format!("`{name}` is not known; these are: {}", known.join(", "));
            KeyError::new(KEY, why)
        })?;
        suites.push(*suite);
    }
    Ok(Some(suites).filter(|suites| !suites.is_empty()))
}

/// IANA's name, which is Java's.
fn java_name(suite: SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    name.replacen("TLS13_", "TLS_", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<TlsSettings, KeyError> {
        let get = |key: &str| {
            let set = pairs.iter().find(|(other, _)| *other == key);
            set.map(|(_, value)| (*value).to_owned())
        };
        TlsSettings::read(&get)
    }

    #[test]
    fn nothing_set_is_both_versions_and_all_suites() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.handshake.versions.len(), 2);
        assert!(settings.handshake.cipher_suites.is_none());
        assert!(settings.keystore.is_none() && settings.truststore.is_none());
    }

    #[test]
    fn versions_and_suites_have_java_s_names() {
        let settings = read(&[
            ("ssl.enabled.protocols", "TLSv1.2, TLSv1.3"),
            ("ssl.protocol", "TLSv1.2"),
            (
                "ssl.cipher.suites",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_AES_128_GCM_SHA256",
            ),
        ])
        .unwrap();
        assert_eq!(settings.handshake.versions, [&rustls::version::TLS12]);
        assert_eq!(settings.handshake.cipher_suites.unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_used_is_said_by_its_key() {
        let check = |pairs: &[(&str, &str)], key: &str, part: &str| {
            let error = read(pairs).unwrap_err();
            assert_eq!(error.key, key, "{error}");
            assert!(error.why.contains(part), "{error}");
        };
        check(
            &[("ssl.keystore.type", "JKS")],
            "ssl.keystore.type",
            "keytool",
        );
        check(&[("ssl.protocol", "SSLv3")], "ssl.protocol", "broken");
        check(
            &[("ssl.enabled.protocols", "TLSv1.1")],
            "ssl.enabled.protocols",
            "broken",
        );
        check(
            &[
                ("ssl.enabled.protocols", "TLSv1.3"),
                ("ssl.protocol", "TLSv1.2"),
            ],
            "ssl.enabled.protocols",
            "no version",
        );
        check(
            &[("ssl.cipher.suites", "TLS_RSA_WITH_RC4_128_MD5")],
            "ssl.cipher.suites",
            "TLS_AES_128_GCM_SHA256",
        );
        check(
            &[("ssl.keystore.key", "x")],
            "ssl.keystore.certificate.chain",
            "needed",
        );
        check(
            &[
                ("ssl.truststore.location", "a"),
                ("ssl.truststore.certificates", "b"),
            ],
            "ssl.truststore.location",
            "leave one of them out",
        );
        check(
            &[("ssl.keystore.type", "PEM"), ("ssl.keystore.password", "x")],
            "ssl.keystore.password",
            "ssl.key.password",
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let settings = read(&[
            ("ssl.keystore.location", "f"),
            ("ssl.key.password", "hunter2"),
        ]);
        let shown = format!("{:?}", settings.unwrap());
        assert!(
            shown.contains("(hidden)") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn the_host_is_checked_unless_the_key_is_empty() {
        assert_eq!(checks_host(None), Ok(true));
        assert_eq!(checks_host(Some("https")), Ok(true));
        assert_eq!(checks_host(Some("")), Ok(false));
        assert!(checks_host(Some("ldap")).is_err());
    }
}
