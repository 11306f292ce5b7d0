//! The client's logins: the `sasl.*` keys of Kafka's clients, and the messages of each mechanism,
//! which `handshake` sends.
//!
//! **Invariant:** errors, log lines and `Debug` show no password and no token (the tests of this
//! module); both are wiped when dropped (`Secret`, `Zeroizing`).

mod exchange;
mod token_file;

use std::fmt;

use sedge_core::security::jaas::LoginModule;
use sedge_core::security::scram;
use zeroize::Zeroizing;

pub use exchange::{Exchange, Step, printable};

use crate::tls::KeyError;
use crate::tls::settings::{Get, Secret};
use token_file::TokenFile;

const MECHANISM: &str = "sasl.mechanism";
const JAAS: &str = "sasl.jaas.config";
const NAMES: &str = "SCRAM-SHA-512, SCRAM-SHA-256, OAUTHBEARER or PLAIN";
const TOKEN_URL: &str = "sasl.oauthbearer.token.endpoint.url";

/// The supported keys.
pub const KEYS: &[&str] = &[JAAS, MECHANISM, TOKEN_URL];

/// Further keys of files for Java's tools, which this client ignores, with the values that it
/// accepts: those that ask for what the client does anyway. An empty list accepts any value.
const ALSO: &[(&str, &[&str])] = &[
    (
        "sasl.login.callback.handler.class",
        &["org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler"],
    ),
    ("sasl.login.refresh.buffer.seconds", &[]),
    ("sasl.login.refresh.min.period.seconds", &[]),
    ("sasl.login.refresh.window.factor", &[]),
    ("sasl.login.refresh.window.jitter", &[]),
    (
        "sasl.oauthbearer.jwt.retriever.class",
        &[
            "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever",
            "org.apache.kafka.common.security.oauthbearer.FileJwtRetriever",
        ],
    ),
];

/// Checks that this client uses a `sasl.*` key, or can ignore it.
///
/// # Errors
/// The reason why the key is refused.
pub fn check_key(key: &str, value: &str) -> Result<(), &'static str> {
    if KEYS.contains(&key) {
        return Ok(());
    }
    match ALSO.iter().find(|(also, _)| *also == key) {
        Some((_, values)) if values.is_empty() || values.contains(&value) => Ok(()),
        Some(_) => Err("sedge cannot load Java classes; remove the key"),
        None if key.contains("kerberos") => Err("Kerberos is not supported; remove the key"),
        None => Err("sedge knows no SASL key of this name; remove the key"),
    }
}

/// The credentials of a client.
pub struct Login(Credentials);

enum Credentials {
    Plain {
        username: String,
        password: Secret,
    },
    Scram {
        mechanism: scram::Mechanism,
        username: String,
        password: Secret,
        /// Whether they are a delegation token: its id as the user, its HMAC in base64 as the
        /// password.
        is_token: bool,
    },
    OAuthBearer {
        token: TokenFile,
        /// SASL extensions (KIP-342): names and values that are sent to the broker.
        extensions: Vec<(String, String)>,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Login").field(&self.mechanism()).finish()
    }
}

impl Login {
    /// Reads the `sasl.*` keys.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn read(get: Get<'_>) -> Result<Self, KeyError> {
        let jaas = || {
            let text = get(JAAS).map(Zeroizing::new).ok_or_else(|| {
                KeyError::new(
                    JAAS,
                    "this key is required with SASL; set a login module with its options, like \
                     org.apache.kafka.common.security.plain.PlainLoginModule required \
                     username=\"NAME\" password=\"PASSWORD\";",
                )
            })?;
            LoginModule::parse(&text).map_err(|why| KeyError::new(JAAS, why))
        };
        let mechanism = get(MECHANISM).unwrap_or_default();
        Ok(Self(match mechanism.as_str() {
            "PLAIN" => plain(&jaas()?)?,
            "OAUTHBEARER" => oauthbearer(&jaas()?, get(TOKEN_URL).as_deref())?,
            other => {
                if let Some(mechanism) = scram::Mechanism::from_name(other) {
                    return Ok(Self(self::scram(mechanism, &jaas()?)?));
                }
                let is = match other {
                    "" => "the key is required with SASL, as Kafka's default, GSSAPI,".to_owned(),
                    other => format!("{other:?}"),
                };
                let why = format!("{is} is not supported; set {NAMES}");
                return Err(KeyError::new(MECHANISM, why));
            }
        }))
    }

    /// Returns the name of the mechanism.
    #[must_use]
    pub fn mechanism(&self) -> &'static str {
        match self.0 {
            Credentials::Plain { .. } => "PLAIN",
            Credentials::Scram { mechanism, .. } => mechanism.name(),
            Credentials::OAuthBearer { .. } => "OAUTHBEARER",
        }
    }

    /// Begins a login. Blocks while the token's file is read, if there is one.
    ///
    /// # Errors
    /// The token's file cannot be used.
    pub fn begin(&self) -> Result<Exchange, KeyError> {
        Ok(match &self.0 {
            Credentials::Plain { username, password } => Exchange::plain(username, password.text()),
            Credentials::Scram {
                mechanism,
                username,
                password,
                is_token,
            } => Exchange::scram(*mechanism, username, password, *is_token),
            Credentials::OAuthBearer { token, extensions } => {
                let token = token.read().map_err(|why| KeyError::new(TOKEN_URL, why))?;
                Exchange::oauthbearer(&token, extensions)
            }
        })
    }
}

fn plain(jaas: &LoginModule) -> Result<Credentials, KeyError> {
    check_class(jaas, "PlainLoginModule", "PLAIN")?;
    let (username, password) = name_and_password(jaas)?;
    // RFC 4616: NUL separates the two.
    if username.contains('\0') || password.text().contains('\0') {
        return Err(KeyError::new(
            JAAS,
            "username and password must not contain NUL, which separates them in PLAIN; remove it",
        ));
    }
    Ok(Credentials::Plain { username, password })
}

fn scram(mechanism: scram::Mechanism, jaas: &LoginModule) -> Result<Credentials, KeyError> {
    check_class(jaas, "ScramLoginModule", mechanism.name())?;
    let (username, password) = name_and_password(jaas)?;
    let token = jaas.option("tokenauth").unwrap_or("false");
    Ok(Credentials::Scram {
        mechanism,
        username,
        password,
        is_token: token.eq_ignore_ascii_case("true"),
    })
}

fn name_and_password(jaas: &LoginModule) -> Result<(String, Secret), KeyError> {
    let option = |name: &str| {
        let set = jaas.option(name).filter(|value| !value.is_empty());
        set.ok_or_else(|| KeyError::new(JAAS, format!("the login module needs {name}=\"…\"")))
    };
    let password = Secret::new(option("password")?.to_owned());
    Ok((option("username")?.to_owned(), password))
}

fn oauthbearer(jaas: &LoginModule, url: Option<&str>) -> Result<Credentials, KeyError> {
    check_class(jaas, "OAuthBearerLoginModule", "OAUTHBEARER")?;
    if jaas
        .options()
        .any(|(name, _)| name.starts_with("unsecured"))
    {
        return Err(KeyError::new(
            JAAS,
            "tokens without a signature are not supported",
        ));
    }
    let url = url.unwrap_or_default();
    let token = TokenFile::parse(url).map_err(|why| KeyError::new(TOKEN_URL, why))?;
    let mut extensions = Vec::new();
    for (name, value) in jaas.options() {
        let Some(name) = name.strip_prefix("extension_") else {
            continue;
        };
        // RFC 7628 reserves `auth` for the token.
        let is_name = !name.is_empty() && name.bytes().all(|of| of.is_ascii_alphabetic());
        let is_value = value
            .bytes()
            .all(|of| matches!(of, b' '..=b'~' | b'\t' | b'\r' | b'\n'));
        if !is_name || !is_value || name.eq_ignore_ascii_case("auth") {
            let why = "an option extension_NAME has letters as its name, not auth, and printable \
                       ASCII as its value";
            return Err(KeyError::new(JAAS, why));
        }
        extensions.push((name.to_owned(), value.to_owned()));
    }
    Ok(Credentials::OAuthBearer { token, extensions })
}

fn check_class(jaas: &LoginModule, class: &str, mechanism: &str) -> Result<(), KeyError> {
    if jaas.is(class) {
        return Ok(());
    }
    let why = format!("{MECHANISM}={mechanism} needs the login module {class}");
    Err(KeyError::new(JAAS, why))
}

#[cfg(test)]
mod tests;
