//! Tests real components, built from `plugins/`: their answers, and what they cannot do to the
//! host.

mod guests;

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use guests::{INFO, engine, instance, settings, values};
use sedge_plugin::{
    BadOutput, BatchInfo, CallError, Engine, Error, Field, FilterFactory, Limits, Needs, Origin,
    Plugin, RecordBlob, Verdict,
};

/// Deadlines are wall time, and a machine that runs tests may keep a thread waiting for long.
const PATIENT: Limits = Limits {
    memory_bytes_max: 16 << 20,
    deadline_ms: 60_000,
    output_bytes_max: 4 << 20,
    component_bytes_max: 8 << 20,
};

fn compiled(engine: &Engine, name: &str, component: &[u8], limits: Limits) -> FilterFactory {
    let plugin = Plugin::compile(engine, name, component, limits).expect("compiles");
    plugin.into_filter().expect("a filter")
}

fn out_of_range() -> &'static FilterFactory {
    static FILTER: OnceLock<FilterFactory> = OnceLock::new();
    FILTER.get_or_init(|| {
        let component = guests::drop_out_of_range();
        compiled(engine(), "range", component, PATIENT)
    })
}

fn misbehave() -> &'static FilterFactory {
    static FILTER: OnceLock<FilterFactory> = OnceLock::new();
    FILTER.get_or_init(|| {
        let component = guests::misbehave();
        compiled(engine(), "misbehave", component, PATIENT)
    })
}

/// Returns the same filter with the default deadline.
fn impatient() -> &'static FilterFactory {
    static FILTER: OnceLock<FilterFactory> = OnceLock::new();
    FILTER.get_or_init(|| {
        let component = guests::misbehave();
        compiled(engine(), "impatient", component, Limits::default())
    })
}

#[test]
fn readings_out_of_range_are_dropped() {
    let mut filter = instance(out_of_range(), &[("max", "30")]);
    assert_eq!(
        filter.needs(),
        Needs {
            value: true,
            ..Needs::default()
        }
    );
    let records = values(
        &filter,
        &[
            br#"{"sensor":"roof-3","celsius":21.4}"#,
            br#"{"sensor":"roof-3","celsius":30.1}"#,
            br#"{"celsius": -40 ,"sensor":"roof-3"}"#,
            br#"{"celsius":-40.5}"#,
            br#"{"sensor":"roof-3"}"#,
            b"21.4\n",
            b"30.1",
            b"not a reading",
            b"\xff\xfe",
            b"",
        ],
    );
    let outcome = filter.filter(&INFO, &records).expect("answers");
    let kept: Vec<_> = outcome
        .verdicts()
        .map(|verdict| verdict == Verdict::Keep)
        .collect();
    assert_eq!(kept[..5], [true, false, true, false, false], "JSON");
    assert_eq!(kept[5..7], [true, false], "bare numbers");
    assert_eq!(kept[7..], [true, true, true], "what is no reading stays");
    assert!(!outcome.keeps_all());
}

#[test]
fn a_batch_of_good_readings_is_kept_as_it_is() {
    let mut filter = instance(out_of_range(), &[]);
    let records = values(&filter, &[&br#"{"celsius":1}"#[..]; 1000]);
    let outcome = filter.filter(&INFO, &records).expect("answers");
    assert!(outcome.keeps_all());
    assert_eq!(outcome.verdicts().len(), 1000);
}

#[test]
fn an_empty_batch_is_not_even_shown() {
    let mut filter = instance(misbehave(), &[]);
    let records = values(&filter, &[]);
    assert!(filter.filter(&INFO, &records).expect("answers").keeps_all());
}

#[test]
fn only_a_filter_that_needs_the_origin_is_told_it() {
    let client = |principal| Origin::Client {
        principal,
        client_id: Some("c-1"),
        peer: [192, 0, 2, 7].into(),
        listener: "SECURE",
    };
    let check = |output: &str, origin: Option<Origin<'_>>, expected: &str| {
        let mut filter = instance(misbehave(), &[("output", output)]);
        let records = values(&filter, &[b"a"]);
        let outcome = filter.filter(&BatchInfo { origin, ..INFO }, &records);
        let outcome = outcome.expect("answers");
        let told: Vec<_> = outcome.verdicts().collect();
        assert_eq!(told, [Verdict::Reject { reason: expected }], "{output}");
    };
    let known = "User:alice as c-1 from 192.0.2.7 at SECURE";
    check("origin", Some(client(Some("User:alice"))), known);
    let unknown = "nobody as c-1 from 192.0.2.7 at SECURE";
    check("origin", Some(client(None)), unknown);
    check("origin", Some(Origin::Link("hub")), "the link hub");
    check("origin", None, "no origin");
    check("no-origin", Some(client(Some("User:alice"))), "no origin");
}

#[test]
fn settings_that_a_plugin_refuses_are_told() {
    let refused = out_of_range().instantiate(&settings(&[("max", "warm")]));
    match refused {
        Err(Error::Configuration { reason }) => assert!(reason.contains("warm"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn replacements_and_rejections_come_back() {
    let mut filter = instance(misbehave(), &[("output", "all-verdicts")]);
    let mut records = RecordBlob::new();
    records.start(filter.needs(), &Limits::default());
    for index in 0..5_u8 {
        records
            .push(Some(&[index]), Some(&[index; 2]), Some(&[2, 2, b'h', 1]), 7)
            .expect("fits");
    }
    let outcome = filter.filter(&INFO, &records).expect("answers");
    let verdicts: Vec<_> = outcome.verdicts().collect();
    assert_eq!(
        verdicts,
        [
            Verdict::Keep,
            Verdict::Drop,
            Verdict::Replace {
                key: Field::Same,
                value: Field::Bytes(&[2, 2, 2, 2])
            },
            Verdict::Reject {
                reason: "readings-3 h 1700000000007"
            },
            Verdict::Replace {
                key: Field::Bytes(b"key"),
                value: Field::Null
            },
        ]
    );
}

/// Has a fresh instance do `what`, which fails; then checks that the same instance, restarted
/// inside, works.
fn fails_and_recovers(filter: &FilterFactory, what: &[u8]) -> CallError {
    let mut filter = instance(filter, &[]);
    let error = filter
        .filter(&INFO, &values(&filter, &[what]))
        .expect_err("fails");
    let again = filter.filter(&INFO, &values(&filter, &[b"well", b"behaved"]));
    assert!(
        again
            .expect("the next call gets a new instance")
            .keeps_all()
    );
    error
}

#[test]
fn a_panic_harms_nobody() {
    assert!(matches!(
        fails_and_recovers(misbehave(), b"panic"),
        CallError::Trap { .. }
    ));
}

#[test]
fn an_endless_recursion_is_stopped() {
    assert!(matches!(
        fails_and_recovers(misbehave(), b"recurse"),
        CallError::Trap { .. }
    ));
}

#[test]
fn an_endless_loop_is_stopped_at_its_deadline() {
    let began = Instant::now();
    assert!(matches!(
        fails_and_recovers(impatient(), b"loop"),
        CallError::Deadline
    ));
    // Its deadline is 100 ms; a machine under load gets two hundred times that.
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn the_deadline_holds_after_the_ticker_has_slept() {
    // A separate engine, which no other test keeps awake.
    let engine = Engine::new().expect("this machine runs plugins");
    let filter = compiled(&engine, "slept", guests::misbehave(), Limits::default());
    let mut filter = instance(&filter, &[]);
    let began = Instant::now();
    while !engine.is_asleep() {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "the ticker stays up"
        );
        thread::sleep(Duration::from_millis(1));
    }
    let error = filter
        .filter(&INFO, &values(&filter, &[b"loop"]))
        .expect_err("stopped");
    assert!(matches!(error, CallError::Deadline), "{error}");
}

#[test]
fn a_memory_hog_is_stopped_at_its_limit() {
    assert!(matches!(
        fails_and_recovers(misbehave(), b"hog"),
        CallError::Memory
    ));
}

#[test]
fn a_chatterbox_is_heard_a_little() {
    let mut filter = instance(misbehave(), &[]);
    let outcome = filter.filter(&INFO, &values(&filter, &[b"chatter"]));
    // Ten thousand lines are cheap because nearly all of them are dropped.
    assert!(outcome.expect("answers").keeps_all());
}

#[test]
fn a_start_that_never_ends_is_stopped() {
    for (how, expected) in [("loop", "ran longer"), ("panic", "trapped")] {
        let error = impatient()
            .instantiate(&settings(&[("configure", how)]))
            .expect_err("stopped");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// Only the first part of such a start ran behind all others, and not the plugin's `configure`.
#[test]
fn a_start_that_never_ends_runs_behind_all_others_the_next_time() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root is sure to be allowed to come back from SCHED_IDLE");
        return;
    }
    let filter = compiled(
        engine(),
        "endless start",
        guests::misbehave(),
        Limits::default(),
    );
    let start = || filter.instantiate(&settings(&[("configure", "loop")]));
    start().expect_err("the first one is stopped");
    let (sender, ids) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let starts = scope.spawn(|| {
            sender
                .send(rustix::thread::gettid())
                .expect("it is received");
            (0..5).for_each(|_| drop(start().expect_err("the next one is stopped")));
        });
        let stat = format!(
            "/proc/self/task/{}/stat",
            ids.recv().expect("it is sent").as_raw_nonzero()
        );
        // Nearly all the time of a start is that of `configure`.
        let (mut behind, mut seen) = (0, 0);
        while !starts.is_finished() {
            let Ok(stat) = std::fs::read_to_string(&stat) else {
                break;
            };
            let fields = stat.rsplit(')').next().unwrap_or_default();
            // The 41st of all fields is the policy; 5 is SCHED_IDLE.
            behind += usize::from(fields.split_whitespace().nth(38) == Some("5"));
            seen += 1;
            thread::sleep(Duration::from_millis(1));
        }
        assert!(behind * 2 > seen, "{behind} of {seen} times");
    });
}

#[test]
fn answers_against_the_rules_are_refused() {
    let check = |told: &str, expected: &dyn Fn(&BadOutput) -> bool| {
        let mut filter = instance(misbehave(), &[("output", told)]);
        let records = values(&filter, &[b"a", b"b", b"c"]);
        match filter.filter(&INFO, &records) {
            Err(CallError::BadOutput(bad)) => assert!(expected(&bad), "{told}: {bad}"),
            other => panic!("{told}: {other:?}"),
        }
    };
    check("few", &|bad| {
        matches!(bad, BadOutput::VerdictCount { got: 2, records: 3 })
    });
    check("many", &|bad| {
        matches!(bad, BadOutput::VerdictCount { got: 4, records: 3 })
    });
    check("unknown", &|bad| {
        matches!(bad, BadOutput::UnknownVerdict(20))
    });
    check("no-replacement", &|bad| {
        matches!(bad, BadOutput::ReplacementBytes { .. })
    });
    check("no-verdict", &|bad| {
        matches!(bad, BadOutput::ReplacementBytes { .. })
    });
    check("no-reason", &|bad| {
        matches!(bad, BadOutput::ReasonCount { got: 0, wanted: 3 })
    });
    check("beyond", &|bad| {
        matches!(bad, BadOutput::ReplacementOutside)
    });
    check("wrap", &|bad| matches!(bad, BadOutput::ReplacementOutside));
}

#[test]
fn output_is_limited() {
    // Too many bytes for the limit, and few bytes that would be written many times.
    for told in ["flood", "amplify"] {
        let mut filter = instance(misbehave(), &[("output", told)]);
        let records = values(&filter, &[b"a", b"b", b"c"]);
        let error = filter.filter(&INFO, &records).expect_err("too much");
        assert!(matches!(error, CallError::BadOutput(_)), "{told}: {error}");
    }
}

#[test]
fn long_reasons_are_cut_off() {
    let mut filter = instance(misbehave(), &[("output", "long-reason")]);
    let records = values(&filter, &[b"a", b"b"]);
    let outcome = filter.filter(&INFO, &records).expect("answers");
    for verdict in outcome.verdicts() {
        assert!(matches!(verdict, Verdict::Reject { reason } if reason.len() == 1024));
    }
}

#[test]
fn instances_keep_apart() {
    let threads: Vec<_> = (0..4)
        .map(|number| {
            thread::spawn(move || {
                let what: &[u8] = if number % 2 == 0 { b"panic" } else { b"well" };
                let mut filter = instance(misbehave(), &[]);
                for _ in 0..50 {
                    let records = values(&filter, &[what]);
                    assert_eq!(filter.filter(&INFO, &records).is_err(), number % 2 == 0);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("well formed")
}

fn refused(bytes: &[u8]) -> Error {
    Plugin::compile(engine(), "refused", bytes, Limits::default()).expect_err("refused")
}

#[test]
fn what_is_no_filter_is_refused_with_the_reason() {
    let wasi = component(
        r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func)))))"#,
    );
    let error = refused(&wasi);
    assert!(
        error.to_string().contains("wasi:clocks/wall-clock@0.2.0"),
        "{error}"
    );
    let other_log = component(r#"(component (import "sedge:plugin/log@0.10.0" (instance)))"#);
    assert!(matches!(refused(&other_log), Error::ForbiddenImport { .. }));
    assert!(matches!(
        refused(&component("(component)")),
        Error::MissingExport { .. }
    ));
    assert!(matches!(refused(&component("(module)")), Error::CoreModule));
    assert!(matches!(refused(b"#!/bin/sh"), Error::NotAComponent));
    assert!(matches!(refused(b""), Error::NotAComponent));
    let cut_off = guests::drop_out_of_range();
    let cut_off = &cut_off[..cut_off.len() - 20];
    assert!(Plugin::compile(engine(), "cut", cut_off, Limits::default()).is_err());
    let limits = Limits {
        component_bytes_max: 100,
        ..Limits::default()
    };
    let large = Plugin::compile(engine(), "large", guests::drop_out_of_range(), limits);
    assert!(matches!(large, Err(Error::ComponentTooLarge { .. })));
}
