//! A filter for the host's tests: each record's value says what it does, and its setting `output`
//! which rule its answers break.
#![no_std]
use sedge_plugin_sdk::{
    Config, Field, Filter, Needs as Fields, Origin, Record, Running, String, Vec, Verdict,
    bindings::exports::sedge::plugin::{
        filter::{BatchInfo, Guest, Needs, Outcome},
        lifecycle,
    },
    format, log, metrics, vec,
};

static mut OUTPUT: String = String::new();

struct Component;

impl lifecycle::Guest for Component {
    fn configure(config: Vec<(String, String)>) -> Result<(), String> {
        for (name, value) in config {
            match name.as_str() {
                // SAFETY: a component has one thread, and no other reference to the text exists.
                "output" => unsafe { OUTPUT = value },
                "configure" if value == "panic" => panic!("told to panic"),
                "configure" if value == "loop" => spin(),
                other => return Err(format!("unknown setting {other}")),
            }
        }
        Ok(())
    }
}

fn spin() -> ! {
    loop {
        core::hint::black_box(0);
    }
}

/// Runs for some tenths of a second in steps that depend on each other, so that none is optimised
/// away.
fn work() {
    let steps = 0..core::hint::black_box(200_000_000_u64);
    let sum = steps.fold(1_u64, |sum, step| {
        (sum ^ step).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    if sum == 0 {
        log::info("a sum of 0");
    }
}

#[allow(
    unconditional_recursion,
    clippy::only_used_in_recursion,
    reason = "what it is for"
)]
fn recurse(depth: u64) -> u64 {
    // Otherwise the compiler would turn the recursion into a loop.
    core::hint::black_box(recurse(depth + 1)) + 1
}

impl Guest for Component {
    fn describe() -> Needs {
        let fields = Needs::KEY | Needs::VALUE | Needs::HEADERS;
        match output() {
            "origin" => fields | Needs::ORIGIN,
            _ => fields,
        }
    }

    fn filter_batch(info: BatchInfo, blob: Vec<u8>, spans: Vec<u8>) -> Outcome {
        // A record without headers ends in their count, if the host passes headers.
        match blob.strip_suffix(b"\0").unwrap_or(&blob) {
            b"panic" => panic!("told to panic"),
            b"loop" => spin(),
            b"recurse" => log::info(&format!("{}", recurse(0))),
            b"hog" => {
                let mut held: Vec<Vec<u8>> = Vec::new();
                loop {
                    held.push(vec![1; 1 << 20]);
                    core::hint::black_box(&held);
                }
            }
            b"slow" => work(),
            // A component's memory never shrinks.
            b"fill" => drop(core::hint::black_box(vec![1_u8; 8 << 20])),
            b"measure" => {
                metrics::add("batches", 1);
                metrics::set("level", -1.5);
                metrics::set("gone", f64::NAN);
                metrics::add("Not a name", 1);
                (0..1_000).for_each(|number| metrics::add(&format!("many_{number}"), 1));
            }
            b"chatter" => (0..10_000).for_each(|line| log::info(&format!("line {line}"))),
            _ => {}
        }
        let told = output();
        if told == "origin" || told == "no-origin" {
            return Outcome {
                verdicts: vec![3; spans.len() / 32],
                reasons: vec![told_origin(info.origin.as_ref()); spans.len() / 32],
                ..answer(told, 0)
            };
        }
        if told == "all-verdicts" {
            let filter = Running::<AllVerdicts>::new();
            filter.configure(Vec::new()).expect("takes any");
            return filter.filter_batch(info, &blob, &spans);
        }
        answer(told, spans.len() / 32)
    }
}

/// Returns the setting `output`.
fn output() -> &'static str {
    // SAFETY: a component has one thread, and it is not being configured now.
    unsafe { &*core::ptr::addr_of!(OUTPUT) }
}

fn told_origin(origin: Option<&Origin>) -> String {
    match origin {
        None => "no origin".into(),
        Some(Origin::Link(name)) => format!("the link {name}"),
        Some(Origin::Client(client)) => format!(
            "{} as {} from {} at {}",
            client.principal.as_deref().unwrap_or("nobody"),
            client.client_id.as_deref().unwrap_or("nameless"),
            client.peer,
            client.listener
        ),
    }
}

/// A well-behaved filter that is written with the SDK.
struct AllVerdicts;

impl Filter for AllVerdicts {
    const NEEDS: Fields = Fields::all();

    fn configure(_: &Config) -> Result<Self, String> {
        Ok(Self)
    }

    fn filter(&mut self, record: &Record<'_>) -> Verdict {
        let key = record.key().expect("the test gives one");
        match key[0] {
            0 => Verdict::Keep,
            1 => Verdict::Drop,
            2 => Verdict::value(record.value().expect("the test gives one").repeat(2)),
            3 => {
                let (batch, header) = (record.batch(), record.headers().next());
                let name = header.map_or(&b"?"[..], |header| header.name);
                Verdict::Reject(format!(
                    "{}-{} {} {}",
                    batch.topic(),
                    batch.partition(),
                    name.escape_ascii(),
                    record.timestamp_ms()
                ))
            }
            _ => Verdict::Replace {
                key: Field::Bytes(b"key".into()),
                value: Field::Null,
            },
        }
    }
}

/// Returns the answer that breaks the named rule.
fn answer(told: &str, records: usize) -> Outcome {
    let mut outcome = Outcome {
        verdicts: Vec::new(),
        replacements: Vec::new(),
        replacement_blob: Vec::new(),
        reasons: Vec::new(),
    };
    let replacement = |fields: [u32; 4]| fields.iter().flat_map(|at| at.to_le_bytes()).collect();
    match told {
        "few" => outcome.verdicts = vec![0; records - 1],
        "many" => outcome.verdicts = vec![0; records + 1],
        "unknown" => outcome.verdicts = vec![20; records],
        "no-replacement" => outcome.verdicts = vec![2; records],
        "no-verdict" => outcome.replacements = vec![0; 16],
        "no-reason" => outcome.verdicts = vec![3; records],
        "beyond" | "wrap" | "blob" => {
            outcome.verdicts = vec![0; records];
            outcome.verdicts[0] = 2;
            outcome.replacement_blob = vec![7; 8];
            outcome.replacements = replacement(match told {
                "beyond" => [0, u32::MAX - 1, 4, 5],
                "wrap" => [u32::MAX - 3, 8, 0, 1],
                _ => [0, u32::MAX, 0, 8],
            });
        }
        // Each replacement is the whole blob: little output that would make large batches.
        "amplify" => {
            outcome.verdicts = vec![2; records];
            outcome.replacement_blob = vec![7; 1 << 20];
            for _ in 0..records {
                outcome
                    .replacements
                    .extend(replacement([0, 1 << 20, 0, 1 << 20]) as Vec<u8>);
            }
        }
        "flood" => outcome.replacement_blob = vec![7; 12 << 20],
        "long-reason" => {
            outcome.verdicts = vec![3; records];
            outcome.reasons = vec!["é".repeat(4000); records];
        }
        _ => {}
    }
    outcome
}

sedge_plugin_sdk::bindings::export!(Component with_types_in sedge_plugin_sdk::bindings);
