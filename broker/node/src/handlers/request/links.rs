//! The keys of mirror links.

use std::collections::BTreeMap;

use sedge_core::mirror::GROUP_PREFIX;
use sedge_protocol::ErrorCode;

use super::Request;
use crate::config::keys::split_mirror;
use crate::config::{Value, at_run_time};
use crate::handlers::Refusal;
use crate::mirror::{self, PAUSED_KEY};

/// A key of a link.
pub struct LinkKey {
    pub name: String,
    pub value: Value,
    /// Whether it is set in the configuration file, and not while the broker runs.
    pub is_in_file: bool,
}

impl Request {
    /// Returns the keys of a link, those of the configuration file first.
    pub fn link_keys(&self, link: &str) -> Vec<LinkKey> {
        let broker = &self.access.broker;
        let in_file = broker.config.settings.iter().filter_map(|(key, setting)| {
            let (name, key) = split_mirror(key)?;
            (name == link).then(|| LinkKey {
                name: key.to_owned(),
                value: setting.value.clone(),
                is_in_file: true,
            })
        });
        let image = broker.log.metadata.load();
        let made = image.group_configs().get(&format!("{GROUP_PREFIX}{link}"));
        let made = made.into_iter().flatten().map(|(key, value)| LinkKey {
            name: key.clone(),
            value: Value::of(key, value),
            is_in_file: false,
        });
        in_file.chain(made).collect()
    }

    /// Returns the names of all links.
    pub fn links(&self) -> Vec<String> {
        let broker = &self.access.broker;
        let in_file = broker.config.links.iter().map(|link| link.name.clone());
        let image = broker.log.metadata.load();
        let made = image.group_configs().iter();
        let made = made.filter_map(|(group, _)| Some(group.strip_prefix(GROUP_PREFIX)?.to_owned()));
        let mut all: Vec<String> = in_file.chain(made).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Checks the keys that a link is to have in the metadata; without keys it is deleted.
    ///
    /// # Errors
    /// INVALID_CONFIG with the key and the reason; INVALID_REQUEST if the link is in the
    /// configuration file.
    pub async fn check_link(
        &self,
        link: &str,
        keys: BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        let config = &self.access.broker.config;
        let is_in_file = config.links.iter().any(|of_file| of_file.name == link);
        if is_in_file && let Some(other) = keys.keys().find(|key| *key != PAUSED_KEY) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!(
                    "The link {link} is in the configuration file: change {other} there and \
                     restart the broker. While the broker runs, the link can only be paused and \
                     resumed."
                ),
            ));
        }
        if keys.is_empty() || is_in_file {
            return match keys.get(PAUSED_KEY).map(String::as_str) {
                None | Some("true" | "false") => Ok(()),
                Some(other) => Err(Refusal::new(
                    ErrorCode::InvalidConfig,
                    format!("Invalid value {other} for configuration paused: use true or false"),
                )),
            };
        }
        let name = link.to_owned();
        // Certificates are read from files.
        let checked = blocking::unblock(move || at_run_time(&name, &keys).map(|_| ())).await;
        checked.map_err(|error| {
            let what = format!("Invalid configuration of the link {link}: {error}");
            Refusal::new(ErrorCode::InvalidConfig, what)
        })
    }

    /// Returns what a link would do, as JSON; `keys` are those that it has in the metadata, or is
    /// to have. Connects to the upstream, and changes nothing.
    ///
    /// # Errors
    /// As [`Request::check_link`].
    pub async fn plan_link(
        &self,
        link: &str,
        keys: BTreeMap<String, String>,
    ) -> Result<String, Refusal> {
        let broker = &self.access.broker;
        self.check_link(link, keys.clone()).await?;
        let mut in_file = broker.config.links.iter();
        let in_file = in_file.find(|of_file| of_file.name == link);
        let config = if let Some(config) = in_file {
            config.clone()
        } else {
            let name = link.to_owned();
            let read = blocking::unblock(move || at_run_time(&name, &keys)).await;
            read.map_err(|error| Refusal::new(ErrorCode::InvalidConfig, error.to_string()))?
        };
        Ok(mirror::plan(&broker.local(), config).await)
    }
}
