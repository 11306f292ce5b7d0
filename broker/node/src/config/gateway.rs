//! A gateway for microcontrollers, from its `[gateway.NAME]` table.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::error::Problem;
use super::listeners::INSECURE_ALLOWED;
use super::selection::Selection;
use super::values::HostPort;
use super::{Setting, Settings, keys};
use crate::process::secret::Secret;

/// One gateway, checked.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    pub name: String,
    pub place: Place,
    /// The topic of a name that a device announces, with `{device}` and `{name}`.
    pub topic: String,
    /// The key of a record, with the same.
    pub key: String,
    /// Topics that devices may publish to.
    pub publish: Selection,
    /// Topics that devices may subscribe to.
    pub subscribe: Selection,
    /// The secrets of the devices. If there are any, other devices are refused.
    pub secrets: BTreeMap<String, Secret>,
}

/// Where devices are.
#[derive(Clone, Debug)]
pub enum Place {
    /// They connect by TCP.
    Listen(HostPort),
    /// One is at a serial line.
    Serial(SerialConfig),
}

/// A serial line.
#[derive(Clone, Debug)]
pub struct SerialConfig {
    pub device: PathBuf,
    pub baud: u32,
    pub parity: Parity,
}

/// The parity bit of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    None,
    Even,
    Odd,
}

impl GatewayConfig {
    /// Returns why listening on `address` is insecure, with advice, as for a Kafka listener.
    pub fn insecurity(&self, address: IpAddr) -> Option<String> {
        if address.is_loopback() || !self.secrets.is_empty() {
            return None;
        }
        let name = &self.name;
        Some(format!(
            "gateway {name} on {address} can be reached from other machines and does not \
             authenticate devices: anyone who connects can use its topics as any device; set \
             gateway.{name}.secret.DEVICE for each device, listen on 127.0.0.1, or set \
             {INSECURE_ALLOWED}=true to allow it"
        ))
    }

    /// Returns a template's text for a device and a name that it announced.
    pub fn filled(template: &str, device: &str, name: &str) -> String {
        // A name with braces is no template.
        let mut filled = String::with_capacity(template.len() + device.len() + name.len());
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{device}") {
                filled.push_str(device);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("{name}") {
                filled.push_str(name);
                rest = after;
            } else {
                filled.push('{');
                rest = &rest[1..];
            }
        }
        filled + rest
    }
}

/// Reads the valid gateways, and adds a problem for each key that cannot be used.
pub fn gateways(settings: &Settings, problems: &mut Vec<Problem>) -> Vec<GatewayConfig> {
    let mut tables: BTreeMap<&str, BTreeMap<&str, &Setting>> = BTreeMap::new();
    for (key, setting) in settings.iter() {
        if let Some((name, key)) = keys::split_gateway(key) {
            tables.entry(name).or_default().insert(key, setting);
        }
    }
    let mut gateways = Vec::new();
    for (name, table) in tables {
        match read(name, &table) {
            Ok(gateway) => gateways.push(gateway),
            Err((key, why)) => {
                let setting = table.get(key).or_else(|| table.values().next());
                if let Some(setting) = setting {
                    let key = format!("gateway.{name}.{key}");
                    problems.push(Problem::of(&key, setting, why));
                }
            }
        }
    }
    gateways
}

/// The key that cannot be used, and the reason.
type Refused = (&'static str, String);

fn read(name: &str, table: &BTreeMap<&str, &Setting>) -> Result<GatewayConfig, Refused> {
    let text = |key: &str| table.get(key).map(|setting| setting.value.text().trim());
    let place = match (text("listen"), text("device")) {
        (Some(address), None) => {
            Place::Listen(HostPort::parse(address).map_err(|why| ("listen", why))?)
        }
        (None, Some(device)) => Place::Serial(SerialConfig {
            device: PathBuf::from(device),
            baud: text("baud").unwrap_or("115200").parse().map_err(|_| {
                let why = "this is not a number of bits per second; use one such as 115200";
                ("baud", why.to_owned())
            })?,
            parity: match text("parity") {
                None | Some("none") => Parity::None,
                Some("even") => Parity::Even,
                Some("odd") => Parity::Odd,
                Some(_) => return Err(("parity", "use none, even or odd".to_owned())),
            },
        }),
        _ => {
            let why = "a gateway has either device (a serial line) or listen (HOST:PORT)";
            return Err(("listen", why.to_owned()));
        }
    };
    if matches!(place, Place::Listen(_)) {
        for key in ["baud", "parity"] {
            if table.contains_key(key) {
                return Err((key, "only a gateway with a device has this key".to_owned()));
            }
        }
    }
    let select = |key: &'static str| {
        let patterns = text(key).unwrap_or_default().split(',').map(str::trim);
        let patterns = patterns.filter(|pattern| !pattern.is_empty());
        let patterns: Vec<String> = patterns.map(str::to_owned).collect();
        Selection::new(&patterns, &[]).map_err(|(pattern, why)| {
            (
                key,
                format!("{pattern:?} is not a regular expression: {why}"),
            )
        })
    };
    if text("publish").is_none() && text("subscribe").is_none() {
        let why = "devices may use no topic; set patterns of topics, such as [\"sensors.*\"], here \
                   or in subscribe";
        return Err(("publish", why.to_owned()));
    }
    let secrets = table.iter().filter_map(|(key, setting)| {
        let device = key.strip_prefix(keys::SECRET)?;
        Some((
            device.to_owned(),
            Secret::new(setting.value.text().to_owned()),
        ))
    });
    Ok(GatewayConfig {
        name: name.to_owned(),
        place,
        topic: text("topic").unwrap_or("{name}").to_owned(),
        key: text("key").unwrap_or("{device}").to_owned(),
        publish: select("publish")?,
        subscribe: select("subscribe")?,
        secrets: secrets.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, Value};

    fn reads(pairs: &[(&str, &str)]) -> Result<GatewayConfig, Refused> {
        let settings: Vec<(&str, Setting)> = pairs
            .iter()
            .map(|(key, value)| {
                let setting = Setting {
                    value: Value::Plain((*value).to_owned()),
                    source: Source::Default,
                };
                (*key, setting)
            })
            .collect();
        read(
            "field",
            &settings.iter().map(|(key, of)| (*key, of)).collect(),
        )
    }

    #[test]
    fn a_gateway_has_one_place_and_topics() {
        let ok = reads(&[
            ("device", "/dev/ttyUSB0"),
            ("publish", "sensors.*"),
            ("parity", "even"),
        ]);
        let gateway = ok.unwrap();
        let Place::Serial(serial) = &gateway.place else {
            panic!("{:?}", gateway.place)
        };
        assert_eq!((serial.baud, serial.parity), (115_200, Parity::Even));
        assert!(gateway.publish.takes("sensors.a") && !gateway.subscribe.takes("sensors.a"));
        let refused = |pairs: &[(&str, &str)]| reads(pairs).unwrap_err().0;
        assert_eq!(refused(&[("publish", "a")]), "listen");
        assert_eq!(
            refused(&[("device", "/d"), ("listen", "h:1"), ("publish", "a")]),
            "listen"
        );
        assert_eq!(refused(&[("listen", "h:1")]), "publish");
        assert_eq!(refused(&[("listen", "h:1"), ("publish", "a(")]), "publish");
        assert_eq!(
            refused(&[("listen", "h:1"), ("publish", "a"), ("baud", "9600")]),
            "baud"
        );
        assert_eq!(
            refused(&[("device", "/d"), ("publish", "a"), ("baud", "fast")]),
            "baud"
        );
    }

    #[test]
    fn only_secrets_open_a_gateway_to_other_machines() {
        let other: IpAddr = [192, 168, 0, 1].into();
        let open = reads(&[("listen", "0.0.0.0:7000"), ("publish", "a")]).unwrap();
        assert!(open.insecurity(other).is_some());
        assert!(open.insecurity([127, 0, 0, 1].into()).is_none());
        let pairs = [
            ("listen", "0.0.0.0:7000"),
            ("publish", "a"),
            ("secret.pump-1", "s"),
        ];
        assert!(reads(&pairs).unwrap().insecurity(other).is_none());
    }

    #[test]
    fn templates_are_filled_once() {
        let check = |template: &str, expected: &str| {
            assert_eq!(GatewayConfig::filled(template, "{name}", "t"), expected);
        };
        check("{name}", "t");
        check("a.{device}.{name}", "a.{name}.t");
        check("{x}{", "{x}{");
    }
}
