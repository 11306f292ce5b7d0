//! The SASL keys of a listener: mechanisms, users of PLAIN, and the lifetime of sessions.

use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use sedge_core::config::SASL_MECHANISMS;
use sedge_core::security::jaas::LoginModule;
use sedge_core::security::sasl::{Mechanism, Passwords};
use zeroize::Zeroizing;

use crate::oauth::Validator;
use crate::tls::KeyError;

/// Keys that can be set for one listener.
pub const LISTENER_KEYS: &[&str] = &[
    MECHANISMS,
    SESSION_MS_MAX,
    PLAIN_USERS,
    SCRAM_LOGINS[0],
    SCRAM_LOGINS[1],
    OAUTH_LOGIN,
];

const MECHANISMS: &str = "sasl.enabled.mechanisms";
const SESSION_MS_MAX: &str = "connections.max.reauth.ms";
const PLAIN_USERS: &str = "plain.sasl.jaas.config";
/// Kafka requires these keys. They have no effect, because the credentials are in the metadata.
const SCRAM_LOGINS: [&str; 2] = [
    "scram-sha-256.sasl.jaas.config",
    "scram-sha-512.sasl.jaas.config",
];

/// Its options `ssl.*` are for the server of `sasl.oauthbearer.jwks.endpoint.url`.
const OAUTH_LOGIN: &str = "oauthbearer.sasl.jaas.config";

/// Prefix of the option with a user's password; the user's name follows.
const USER_OPTION: &str = "user_";

/// See the module.
#[derive(Clone, Debug)]
pub struct ListenerSasl {
    /// At least one.
    pub mechanisms: Vec<Mechanism>,
    /// The users of PLAIN.
    pub passwords: Arc<Passwords>,
    /// Verifies the tokens of OAUTHBEARER, if it is among the mechanisms.
    pub oauth: Option<Arc<Validator>>,
    /// `None`: sessions have no end.
    pub session_ms_max: Option<u64>,
}

impl ListenerSasl {
    /// Reads the keys of a listener. `get` returns the value of a key, if it is set.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, KeyError> {
        let mechanisms = get(MECHANISMS).unwrap_or_else(|| SASL_MECHANISMS.to_owned());
        let mechanisms =
            parse_mechanisms(&mechanisms).map_err(|why| KeyError::new(MECHANISMS, why))?;
        let session_ms_max = get(SESSION_MS_MAX).unwrap_or_default();
        let session_ms_max = match session_ms_max.as_str() {
            "" => None,
            text => {
                let parsed = text.parse::<u64>();
                let why = |_| KeyError::new(SESSION_MS_MAX, "not a number of milliseconds");
                Some(parsed.map_err(why)?).filter(|ms| *ms > 0)
            }
        };
        for key in SCRAM_LOGINS {
            if let Some(text) = get(key) {
                login_module(key, &Zeroizing::new(text), "ScramLoginModule")?;
            }
        }
        let users = get(PLAIN_USERS).map(Zeroizing::new);
        let module = users.map(|text| login_module(PLAIN_USERS, &text, "PlainLoginModule"));
        let module = module.transpose()?;
        let users = module.iter().flat_map(LoginModule::options);
        let users = users.filter_map(|(name, password)| {
            let user = name.strip_prefix(USER_OPTION)?;
            Some((user, password))
        });
        let mut secret = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(&mut *secret)
            .map_err(|_| KeyError::new(PLAIN_USERS, "the operating system has no randomness"))?;
        let passwords = Passwords::new(&secret, users);
        if mechanisms.contains(&Mechanism::Plain) && passwords.is_empty() {
            let why = "needed for PLAIN: org.apache.kafka.common.security.plain.PlainLoginModule \
                       required user_NAME=\"PASSWORD\"; with an option for each user";
            return Err(KeyError::new(PLAIN_USERS, why));
        }
        let oauth = mechanisms.contains(&Mechanism::OAuthBearer);
        let oauth = oauth.then(|| oauth_of(get)).transpose()?;
        Ok(Self {
            mechanisms,
            passwords: Arc::new(passwords),
            oauth: oauth.map(Arc::new),
            session_ms_max,
        })
    }
}

fn oauth_of(get: &dyn Fn(&str) -> Option<String>) -> Result<Validator, KeyError> {
    let login = get(OAUTH_LOGIN).map(Zeroizing::new);
    let login = login.map(|text| login_module(OAUTH_LOGIN, &text, "OAuthBearerLoginModule"));
    let login = login.transpose()?;
    let get_tls = |key: &str| login.as_ref()?.option(key).map(str::to_owned);
    Validator::read(get, &get_tls)
}

fn parse_mechanisms(text: &str) -> Result<Vec<Mechanism>, String> {
    let mut mechanisms = Vec::new();
    let names = text.split(',').map(str::trim);
    for name in names.filter(|name| !name.is_empty()) {
        let mechanism = Mechanism::parse(name)?;
        if !mechanisms.contains(&mechanism) {
            mechanisms.push(mechanism);
        }
    }
    if mechanisms.is_empty() {
        return Err(format!(
            "no mechanism is named; {SASL_MECHANISMS} is the default"
        ));
    }
    Ok(mechanisms)
}

fn login_module(key: &'static str, text: &str, class: &str) -> Result<LoginModule, KeyError> {
    let module = LoginModule::parse(text).map_err(|why| KeyError::new(key, why))?;
    if module.is(class) {
        return Ok(module);
    }
    let why = format!("the login module has to be {class}");
    Err(KeyError::new(key, why))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sedge_core::security::scram;

    use super::*;

    fn read(keys: &[(&str, &str)]) -> Result<ListenerSasl, (&'static str, String)> {
        let keys: BTreeMap<&str, &str> = keys.iter().copied().collect();
        let get = |key: &str| keys.get(key).map(|value| (*value).to_owned());
        ListenerSasl::read(&get).map_err(|error| (error.key, error.why))
    }

    #[test]
    fn a_listener_has_scram_unless_its_keys_say_else() {
        let sasl = read(&[]).unwrap();
        let scram = scram::Mechanism::EACH.map(Mechanism::Scram);
        assert_eq!(sasl.mechanisms, [scram[1], scram[0]]);
        assert_eq!((sasl.passwords.len(), sasl.session_ms_max), (0, None));
        let sasl = read(&[
            (MECHANISMS, "PLAIN, SCRAM-SHA-256,PLAIN"),
            (SESSION_MS_MAX, "60000"),
            (
                PLAIN_USERS,
                "PlainLoginModule required username=\"x\" user_a=\"1\" user_b=\"2\";",
            ),
            (SCRAM_LOGINS[0], "a.b.ScramLoginModule required;"),
        ]);
        let sasl = sasl.unwrap();
        assert_eq!(sasl.mechanisms, [Mechanism::Plain, scram[0]]);
        assert_eq!(
            (sasl.passwords.len(), sasl.session_ms_max),
            (2, Some(60_000))
        );
    }

    #[test]
    fn keys_that_are_wrong_say_why_and_show_no_password() {
        let check = |keys: &[(&str, &str)], key: &str, part: &str| {
            let (found, why) = read(keys).unwrap_err();
            assert_eq!(found, key, "{why}");
            assert!(why.contains(part) && !why.contains("secret"), "{why}");
        };
        check(&[(MECHANISMS, "GSSAPI")], MECHANISMS, "SCRAM-SHA-256");
        check(&[(MECHANISMS, " , ")], MECHANISMS, "no mechanism");
        check(&[(MECHANISMS, "PLAIN")], PLAIN_USERS, "user_NAME");
        check(&[(SESSION_MS_MAX, "-1")], SESSION_MS_MAX, "number");
        let of = "ScramLoginModule required user_a=\"secret\";";
        check(&[(PLAIN_USERS, of)], PLAIN_USERS, "PlainLoginModule");
        let of = "PlainLoginModule required user_a=\"secret\"";
        check(&[(PLAIN_USERS, of)], PLAIN_USERS, "semicolon");
        let of = "PlainLoginModule required;";
        check(
            &[(SCRAM_LOGINS[1], of)],
            SCRAM_LOGINS[1],
            "ScramLoginModule",
        );
    }
}
