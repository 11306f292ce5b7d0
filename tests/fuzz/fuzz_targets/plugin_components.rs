//! Deploys hostile plugins and calls them: no panic, no call past its deadline, no memory over the
//! limits, and nothing left when they are gone.
#![no_main]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use rustix::time::{ClockId, clock_gettime};
use sedge_fuzz::{held_within, hostile};
use sedge_plugin::{
    BatchInfo, Engine, Field, FilterInstance, FilterStage, Journal, Limits, MemoryPool, Needs,
    Origin, PartitionerInstance, Plugin, QuotaInstance, QuotaOperation, QuotaRequest, RecordBlob,
    StateBudget, StateTable, Verdict, inspect,
};

const LIMITS: Limits = Limits {
    memory_bytes_max: 1 << 20,
    deadline_ms: 5,
    output_bytes_max: 64 << 10,
    component_bytes_max: 1 << 20,
};
/// Linear memory of all plugins: of the one that is called.
const POOL_BYTES: usize = LIMITS.memory_bytes_max;
const STATE_BYTES: usize = 64 << 10;
/// Processor time of starting an instance and of a call: several deadlines, because the clock of
/// ticks has to get a processor, too.
const CALL_TIME_MAX: Duration = Duration::from_millis(100);
/// The broker's own memory while it calls a plugin: the answer twice, the state and a start.
const HOST_BYTES_MAX: usize = 4 << 20;
const PARTITIONS: u32 = 7;

/// Inputs after which the target prints how far they came: a generator whose modules are all
/// refused would find nothing, and look fine.
const TOLD_EVERY: usize = 500;

/// Inputs, those that compile, that start, and calls that are answered.
static REACHED: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];
const INPUT: usize = 0;
const COMPILED: usize = 1;
const STARTED: usize = 2;
const ANSWERED: usize = 3;

fn reached(stage: usize) {
    let count = REACHED[stage].fetch_add(1, Ordering::Relaxed) + 1;
    if stage == INPUT && count % TOLD_EVERY == 0 {
        let [inputs, compiled, started, answered] =
            REACHED.each_ref().map(|of| of.load(Ordering::Relaxed));
        eprintln!(
            "of {inputs} inputs {compiled} compile and {started} start; {answered} calls are \
             answered"
        );
    }
}

struct Host {
    engine: Engine,
    pool: Arc<MemoryPool>,
}

fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| {
        let pool = Arc::new(MemoryPool::new(POOL_BYTES));
        let engine = Engine::with(&pool, &Arc::new(Journal::default())).expect("it starts");
        Host { engine, pool }
    })
}

fn used() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it is not negative")
}

/// Calls a plugin, and checks what that takes.
fn limited<T>(call: impl FnOnce() -> T) -> T {
    let began = used();
    let answer = held_within(HOST_BYTES_MAX, call);
    let took = used() - began;
    assert!(took < CALL_TIME_MAX, "a call took {took:?}");
    assert!(host().pool.bytes() <= POOL_BYTES);
    answer
}

fn records(needs: Needs) -> RecordBlob {
    let mut records = RecordBlob::new();
    records.start(needs, &LIMITS);
    for number in 0..5_u8 {
        let value = vec![number; 40];
        let key = (number != 1).then_some(&b"key"[..]);
        records
            .push(key, Some(&value), Some(&[0]), i64::from(number))
            .expect("it fits");
    }
    records
}

fn filter(mut filter: FilterInstance) {
    let budget = Arc::new(StateBudget::new(STATE_BYTES, STATE_BYTES));
    let mut table = Some(Box::new(StateTable::new(&budget)));
    let blob = records(filter.needs());
    for call in 0..3 {
        let info = BatchInfo {
            topic: "readings",
            partition: 3,
            stage: FilterStage::Produce,
            base_timestamp_ms: 1,
            origin: Some(Origin::Client {
                principal: Some("User:alice"),
                client_id: None,
                peer: [127, 0, 0, 1].into(),
                listener: "PLAINTEXT",
            }),
        };
        let answer = limited(|| filter.filter_with(&info, &blob, &mut table));
        let table = table.as_deref_mut().expect("it comes back after each call");
        assert!(table.bytes() <= STATE_BYTES && budget.bytes() == table.bytes());
        let Ok(outcome) = answer else {
            table.undo();
            continue;
        };
        reached(ANSWERED);
        assert_eq!(outcome.verdicts().len(), blob.count());
        let mut bytes = 0;
        for verdict in outcome.verdicts() {
            if let Verdict::Replace { key, value } | Verdict::Route { key, value, .. } = verdict {
                for field in [key, value] {
                    if let Field::Bytes(field) = field {
                        bytes += field.len();
                    }
                }
            }
        }
        assert!(bytes <= LIMITS.output_bytes_max);
        if call == 0 {
            table.commit()
        } else {
            table.undo()
        }
    }
}

fn partitioner(mut partitioner: PartitionerInstance) {
    let blob = records(partitioner.needs());
    for _ in 0..2 {
        if let Ok(chosen) = limited(|| partitioner.partition("readings", PARTITIONS, &blob)) {
            reached(ANSWERED);
            assert_eq!(chosen.len(), blob.count());
            assert!(chosen.iter().all(|partition| *partition < PARTITIONS));
        }
    }
}

fn quota(mut policy: QuotaInstance) {
    for _ in 0..2 {
        let request = QuotaRequest {
            operation: QuotaOperation::Produce,
            principal: Some("User:alice"),
            client_id: None,
            peer: "127.0.0.1",
            listener: "PLAINTEXT",
            topics: &["readings", "others"],
            bytes: 1000,
            records: 10,
            now_ms: 5,
        };
        if limited(|| policy.decide(&request)).is_ok() {
            reached(ANSWERED);
        }
    }
}

fn deploy(bytes: &[u8]) {
    let inspected = inspect(bytes, LIMITS.component_bytes_max);
    let plugin = Plugin::compile(&host().engine, "hostile", bytes, LIMITS);
    let Ok(plugin) = plugin else {
        return;
    };
    reached(COMPILED);
    let (world, _) = inspected.expect("what compiles was inspected");
    assert_eq!(world, plugin.world());
    let settings = [("limit".to_owned(), "5".to_owned())];
    match plugin {
        Plugin::Filter(factory) => {
            if let Ok(instance) = limited(|| factory.instantiate(&settings)) {
                reached(STARTED);
                filter(instance);
            }
        }
        Plugin::Partitioner(factory) => {
            if let Ok(instance) = limited(|| factory.instantiate(&settings)) {
                reached(STARTED);
                partitioner(instance);
            }
        }
        Plugin::Quota(factory) => {
            if let Ok(instance) = limited(|| factory.instantiate(&settings)) {
                reached(STARTED);
                quota(instance);
            }
        }
    }
    assert_eq!(host().pool.bytes(), 0, "memory is given back");
}

fuzz_target!(|input: &[u8]| {
    reached(INPUT);
    let input = hostile::stretched(input);
    let mut u = Unstructured::new(&input);
    if u.ratio(1, 16).unwrap_or(false) {
        if let Ok(component) = u.arbitrary::<wasm_smith::Component>() {
            deploy(&component.to_bytes());
        }
    } else if let Ok(Some(hostile)) = hostile::component(&mut u) {
        deploy(&hostile.component);
    }
});
