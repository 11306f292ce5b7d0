//! A filter with a state, for tests: the value of each record says what it does, one command a
//! line. `sum KEY N` adds to a number, which replaces the record's value; `put KEY VALUE` and
//! `delete KEY` change a key, and `keys N BYTES` puts many; `get KEY` replaces the record's value
//! by the key's; `drop`, `reject` and `panic` are what becomes of the record, or the batch, after
//! all.
#![no_std]
use sedge_plugin_sdk::{
    Config, Filter, Record, String, ToOwned, Verdict, filter, format, state, vec,
};

struct Remember;

impl Filter for Remember {
    fn configure(config: &Config) -> Result<Self, String> {
        if config.get("early").is_some() {
            state::delete(b"there is no partition yet");
        }
        Ok(Self)
    }

    fn filter(&mut self, record: &Record<'_>) -> Verdict {
        let value = record.value().unwrap_or_default();
        let told = core::str::from_utf8(value).unwrap_or_default();
        told.lines().fold(Verdict::Keep, |verdict, line| {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap_or_default();
            act([word(), word(), word()]).unwrap_or(verdict)
        })
    }
}

fn act([command, key, argument]: [&str; 3]) -> Option<Verdict> {
    let key_bytes = key.as_bytes();
    match command {
        "sum" => {
            let number = |bytes: &[u8]| core::str::from_utf8(bytes).ok()?.parse::<u64>().ok();
            let before = state::get(key_bytes).and_then(|bytes| number(&bytes));
            let sum = before.unwrap_or(0) + number(argument.as_bytes())?;
            let sum = format!("{sum}");
            match state::put(key_bytes, sum.as_bytes()) {
                Ok(()) => Some(Verdict::value(sum)),
                Err(refused) => Some(Verdict::Reject(refused.name().to_owned())),
            }
        }
        "put" => {
            let put = state::put(key_bytes, argument.as_bytes());
            Some(Verdict::Reject(put.err()?.name().to_owned()))
        }
        "keys" => {
            let bytes = argument.parse().unwrap_or_default();
            for number in 0..key.parse::<u32>().ok()? {
                let key = format!("key-{number:06}");
                if let Err(refused) = state::put(key.as_bytes(), &vec![b'x'; bytes]) {
                    return Some(Verdict::Reject(format!("{} at {number}", refused.name())));
                }
            }
            None
        }
        "delete" => {
            state::delete(key_bytes);
            None
        }
        "get" => Some(Verdict::value(
            state::get(key_bytes).unwrap_or_else(|| b"nothing".to_vec()),
        )),
        "drop" => Some(Verdict::Drop),
        "reject" => Some(Verdict::Reject("as it was told".to_owned())),
        "panic" => panic!("told to panic"),
        _ => None,
    }
}

filter!(Remember);
