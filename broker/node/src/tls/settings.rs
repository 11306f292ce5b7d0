//! The `ssl.*` configuration keys, under Kafka's names.

use std::fmt;
use std::path::PathBuf;

use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::files::Stamp;
pub use crate::process::secret::Secret;

/// Advice on converting a Java key store.
pub const FROM_JKS: &str = "`keytool -importkeystore -srckeystore OLD.jks -destkeystore NEW.p12 \
                            -deststoretype PKCS12` converts JKS to PKCS12";

/// Keys of both listeners and clients.
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

/// Keys of listeners only.
pub const LISTENER_KEYS: &[&str] = &["ssl.client.auth", "ssl.principal.mapping.rules"];

/// Keys of clients only.
pub const CLIENT_KEYS: &[&str] = &["ssl.endpoint.identification.algorithm"];

/// A configuration key with an invalid value, and the reason.
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

/// Returns the value of a key if it is set and not empty.
pub type Get<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A keystore or truststore, as configured.
#[derive(Clone, Debug)]
pub struct Store {
    pub content: Content,
    /// The format. `None` means that it is detected from the content.
    pub kind: Option<Kind>,
    /// The password of a PKCS#12 file.
    pub password: Option<Secret>,
    /// The password of an encrypted private key.
    pub key_password: Option<Secret>,
    /// The configuration key that locates the store, for errors.
    pub key: &'static str,
}

#[derive(Clone, Debug)]
pub enum Content {
    /// A file, or a directory of files.
    Path(PathBuf),
    /// PEM text in the configuration.
    Inline(Secret),
}

/// `ssl.keystore.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pem,
    Pkcs12,
}

/// TLS versions and cipher suites that may be negotiated.
#[derive(Clone, Debug)]
pub struct Handshake {
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// `None` means the default suites of rustls, all of which are considered secure.
    pub cipher_suites: Option<Vec<SupportedCipherSuite>>,
}

/// TLS settings common to listeners and clients.
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
    /// The first key with an invalid value.
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

    /// Returns the current stamp of the configured files.
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
/// The value is not `none`, `requested` or `required`.
pub fn client_auth(get: Get<'_>) -> Result<ClientAuth, KeyError> {
    const KEY: &str = "ssl.client.auth";
    match get(KEY).as_deref() {
        None | Some("none") => Ok(ClientAuth::None),
        Some("requested") => Ok(ClientAuth::Requested),
        Some("required") => Ok(ClientAuth::Required),
        Some(other) => Err(KeyError::new(
            KEY,
            format!("`{other}` is not valid; use none, requested or required"),
        )),
    }
}

/// Reads `ssl.endpoint.identification.algorithm`. Returns whether the host name in the broker's
/// certificate is verified; an empty value turns the check off.
///
/// # Errors
/// The value is neither empty nor `https`.
pub fn checks_host(set: Option<&str>) -> Result<bool, KeyError> {
    match set.map(str::trim) {
        Some("") => Ok(false),
        None => Ok(true),
        Some(https) if https.eq_ignore_ascii_case("https") => Ok(true),
        Some(other) => Err(KeyError::new(
            "ssl.endpoint.identification.algorithm",
            format!(
                "`{other}` is not supported; use https, or leave the value empty to skip the check"
            ),
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
        (Some(_), None) => {
            return Err(KeyError::new(
                CHAIN,
                "required with ssl.keystore.key; set it to the certificate chain",
            ));
        }
        (None, Some(_)) => {
            return Err(KeyError::new(
                KEY,
                "required with ssl.keystore.certificate.chain; set it to the private key",
            ));
        }
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

/// The keys of a store: location, inline PEM, type and password.
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
                format!("`{kind}` is not supported; use PEM or PKCS12; {FROM_JKS}"),
            ));
        }
    };
    let password = get(password_key).map(Secret::new);
    if password.is_some() && (kind == Some(Kind::Pem) || inline.is_some()) {
        let why = "a PEM store has no password; for an encrypted private key, set ssl.key.password";
        return Err(KeyError::new(password_key, why));
    }
    let (content, key) = match (get(location), inline) {
        (None, None) => return Ok(None),
        (Some(path), None) => (Content::Path(PathBuf::from(path)), location),
        (None, Some(_)) if kind == Some(Kind::Pkcs12) => {
            return Err(KeyError::new(
                inline_key,
                "inline stores must be PEM; set the type to PEM",
            ));
        }
        (None, Some(text)) => (Content::Inline(Secret::new(text)), inline_key),
        (Some(_), Some(_)) => {
            return Err(KeyError::new(
                location,
                format!("{inline_key} is also set; remove one of the two"),
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

/// Reads `ssl.enabled.protocols`, limited to `ssl.protocol` and older versions.
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
        return Err(KeyError::new(
            KEY,
            "no TLS version is enabled; ssl.protocol=TLSv1.2 excludes TLSv1.3",
        ));
    }
    Ok(versions)
}

fn not_a_version(name: &str) -> String {
    format!("`{name}` is not supported; use TLSv1.2 or TLSv1.3 (older versions are insecure)")
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
            let why = format!(
                "`{name}` is not supported; use one of: {}",
                known.join(", ")
            );
            KeyError::new(KEY, why)
        })?;
        suites.push(*suite);
    }
    Ok(Some(suites).filter(|suites| !suites.is_empty()))
}

/// Returns the IANA name, which Java uses too.
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
        check(&[("ssl.protocol", "SSLv3")], "ssl.protocol", "insecure");
        check(
            &[("ssl.enabled.protocols", "TLSv1.1")],
            "ssl.enabled.protocols",
            "insecure",
        );
        check(
            &[
                ("ssl.enabled.protocols", "TLSv1.3"),
                ("ssl.protocol", "TLSv1.2"),
            ],
            "ssl.enabled.protocols",
            "no TLS version",
        );
        check(
            &[("ssl.cipher.suites", "TLS_RSA_WITH_RC4_128_MD5")],
            "ssl.cipher.suites",
            "TLS_AES_128_GCM_SHA256",
        );
        check(
            &[("ssl.keystore.key", "x")],
            "ssl.keystore.certificate.chain",
            "required",
        );
        check(
            &[
                ("ssl.truststore.location", "a"),
                ("ssl.truststore.certificates", "b"),
            ],
            "ssl.truststore.location",
            "remove one of the two",
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
