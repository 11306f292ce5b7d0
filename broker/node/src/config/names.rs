//! Checks that settings name existing keys.

use super::error::Problem;
use super::nearest::nearest;
use super::{Settings, Source, environment, keys};

/// Removes unknown keys. Unknown variables are only warned about, because an environment is shared:
/// Kubernetes, for one, sets `SEDGE_PORT` beside a service called sedge.
pub fn check(settings: &mut Settings, problems: &mut Vec<Problem>) {
    let names = settings.iter().map(|(key, _)| key);
    let unknown = names.filter(|key| !keys::is_known(key)).map(str::to_owned);
    for key in unknown.collect::<Vec<_>>() {
        let Some(setting) = settings.take(&key) else {
            continue;
        };
        let nearest = nearest(&key, &keys::names_like(&key));
        if let Source::Environment(name) = setting.source {
            let hint = nearest.map(|nearest| {
                let meant = environment::name_of(&nearest);
                format!("; did you mean `{meant}`?")
            });
            settings.warnings.push(format!(
                "the variable {name} names no key and is ignored{}",
                hint.unwrap_or_default()
            ));
        } else {
            problems.push(Problem::Unknown {
                key,
                source: setting.source,
                nearest,
            });
        }
    }
    let without_effect = settings.iter().filter_map(|(key, setting)| {
        let why = keys::why_without_effect(key)?;
        let source = &setting.source;
        Some(format!(
            "{source}: `{key}` is Kafka's and has no effect in sedge: {why}"
        ))
    });
    let without_effect: Vec<String> = without_effect.collect();
    settings.warnings.extend(without_effect);
}
