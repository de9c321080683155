//! The bytes of a record: every change of them is noticed, and those of older releases are read.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use saga_core::journal::{
    Actor, Cause, EncodedRecord, Event, FORMAT_VERSION, Failure, FailureKind, FailureOrigin, JournalError, ProbeAnswer,
    Record, Rest, Verb,
};
use saga_core::plan::Fingerprint;
use saga_core::{Epoch, ExclusiveKey, ItemRef, Payload, SagaName, Seq, StepIndex, StepName, Timestamp, WorkerId};

fn fingerprint() -> Fingerprint {
    serde_json::from_str("\"6ba7b812-9dad-11d1-80b4-00c04fd430c8\"").unwrap()
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        any::<String>().prop_map(|text| Payload::encode(&text).unwrap()),
        any::<i64>().prop_map(|number| Payload::encode(&number).unwrap()),
        prop::collection::vec(any::<Option<bool>>(), 0..5).prop_map(|list| Payload::encode(&list).unwrap()),
        Just(Payload::null()),
        // Text is kept as it was written.
        Just(Payload::from_json("{ \"a\" : 1.50 }").unwrap()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z\u{e4}\u{1f680}\"\\\\ ]{1,20}",
        1 => "\"{1,3}",
        1 => "\\\\{1,3}",
    ]
}

fn item() -> impl Strategy<Value = ItemRef> {
    any::<(u32, u32)>().prop_map(|(step, item)| ItemRef::new(StepIndex(step), item))
}

fn failure() -> impl Strategy<Value = Failure> {
    let kind = prop_oneof![Just(FailureKind::Failed), Just(FailureKind::Fatal), Just(FailureKind::Rejected)];
    let origin = prop_oneof![
        Just(FailureOrigin::Returned),
        Just(FailureOrigin::Panicked),
        Just(FailureOrigin::TimedOut),
        Just(FailureOrigin::Interrupted),
        Just(FailureOrigin::Undecodable),
    ];
    (kind, origin, any::<String>()).prop_map(|(kind, origin, message)| Failure { kind, origin, message })
}

fn actor() -> impl Strategy<Value = Actor> {
    any::<(String, String)>().prop_map(|(name, reason)| Actor::new(name, reason))
}

fn at() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn event() -> impl Strategy<Value = Event> {
    let started = (name(), any::<u32>(), payload(), prop::option::of(name()), prop::option::of(at())).prop_map(
        |(saga, version, input, key, deadline)| Event::RunStarted {
            saga: SagaName::new(saga).unwrap(),
            version,
            fingerprint: fingerprint(),
            input,
            key: key.map(|key| ExclusiveKey::new(key).unwrap()),
            deadline,
        },
    );
    let cause = prop_oneof![
        (name(), item(), failure()).prop_map(|(step, of, error)| Cause::StepFailed {
            step: StepName::new(step).unwrap(),
            of,
            error
        }),
        actor().prop_map(|by| Cause::Cancelled { by }),
        Just(Cause::DeadlinePassed),
        Just(Cause::SubjectGone),
    ];
    let rest = prop_oneof![
        Just(Rest::Completed),
        Just(Rest::RolledBack),
        (item(), failure()).prop_map(|(at, error)| Rest::Halted { at, error }),
        Just(Rest::Stuck),
        actor().prop_map(|by| Rest::Abandoned { by }),
    ];
    let verb = prop_oneof![
        Just(Verb::Retry),
        (item(), prop::option::of(payload())).prop_map(|(of, output)| Verb::Skip { of, output }),
        Just(Verb::RollBack),
        Just(Verb::Abandon),
    ];
    let answer =
        prop_oneof![payload().prop_map(ProbeAnswer::Done), Just(ProbeAnswer::NotDone), Just(ProbeAnswer::Unknown)];
    let failed = || (item(), any::<u32>(), failure(), prop::option::of(at()));
    prop_oneof![
        started,
        (any::<u64>(), name())
            .prop_map(|(epoch, worker)| Event::Resumed { epoch: Epoch(epoch), worker: WorkerId::new(worker).unwrap() }),
        (any::<u32>(), name(), any::<Option<u32>>()).prop_map(|(step, name, items)| Event::StepStarted {
            step: StepIndex(step),
            name: StepName::new(name).unwrap(),
            items
        }),
        (item(), any::<u32>()).prop_map(|(of, attempt)| Event::AttemptStarted { of, attempt }),
        (item(), payload()).prop_map(|(of, value)| Event::Checkpointed { of, value }),
        failed().prop_map(|(of, attempt, error, retry_at)| Event::AttemptFailed { of, attempt, error, retry_at }),
        (item(), answer).prop_map(|(of, answer)| Event::Probed { of, answer }),
        (item(), payload()).prop_map(|(of, output)| Event::Succeeded { of, output }),
        cause.prop_map(|cause| Event::AbortBegan { cause }),
        any::<bool>().prop_map(|gone| Event::SubjectChecked { gone }),
        Just(Event::RollbackBegan),
        (item(), any::<u32>()).prop_map(|(of, attempt)| Event::UndoStarted { of, attempt }),
        failed().prop_map(|(of, attempt, error, retry_at)| Event::UndoFailed { of, attempt, error, retry_at }),
        item().prop_map(|of| Event::Undone { of }),
        rest.prop_map(|rest| Event::Rested { rest }),
        (failure(), at()).prop_map(|(error, retry_at)| Event::FinalizerFailed { error, retry_at }),
        Just(Event::Finalized),
        (verb, actor()).prop_map(|(verb, by)| Event::Operated { verb, by }),
    ]
}

prop_compose! {
    fn record()(seq in any::<u64>(), at in at(), event in event()) -> Record {
        Record { seq: Seq(seq), at, event }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(42),
        ..ProptestConfig::with_cases(512)
    })]

    #[test]
    fn the_json_is_that_of_serde(record in record()) {
        let encoded = EncodedRecord::encode(&record);
        prop_assert_eq!(std::str::from_utf8(&encoded.bytes[5..]).unwrap(), serde_json::to_string(&record).unwrap());
    }

    #[test]
    fn what_is_encoded_comes_back(record in record()) {
        let encoded = EncodedRecord::encode(&record);
        prop_assert_eq!(encoded.seq, record.seq);
        prop_assert_eq!(encoded.decode().unwrap(), record);
    }

    #[test]
    fn no_bytes_make_it_panic(seq in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = EncodedRecord { seq: Seq(seq), bytes }.decode();
    }

    #[test]
    fn a_record_in_the_place_of_another_is_noticed(record in record(), other in any::<u64>()) {
        prop_assume!(record.seq.0 != other);
        let moved = EncodedRecord { seq: Seq(other), ..EncodedRecord::encode(&record) };
        let noticed = matches!(moved.decode(), Err(JournalError::Gap { .. }));
        prop_assert!(noticed);
    }
}

/// A step without output is skipped with the output `null`, and that must not read as no output at all.
#[test]
fn a_skip_with_the_output_null_comes_back() {
    let verb = Verb::Skip { of: ItemRef::new(StepIndex(0), 0), output: Some(Payload::null()) };
    let event = Event::Operated { verb, by: Actor::new("anna", "settled by hand") };
    let record = Record { seq: Seq(1), at: Timestamp(1), event };
    assert_eq!(EncodedRecord::encode(&record).decode().unwrap(), record);
}

#[test]
fn every_flipped_bit_is_noticed() {
    for (_, record) in samples() {
        let sound = EncodedRecord::encode(&record);
        for bit in 0..sound.bytes.len() * 8 {
            let mut damaged = sound.clone();
            damaged.bytes[bit / 8] ^= 1 << (bit % 8);
            let error = damaged.decode().expect_err("a flipped bit");
            let expected = match bit {
                // The version has no checksum of its own: an unknown one is refused, which is no less safe.
                0..8 => matches!(error, JournalError::NewerFormat { .. } | JournalError::UnknownFormat { .. }),
                _ => matches!(error, JournalError::Checksum { .. }),
            };
            assert!(expected, "bit {bit}: {error}");
        }
    }
}

#[test]
fn every_other_byte_is_noticed() {
    let (_, record) = samples().remove(0);
    let sound = EncodedRecord::encode(&record);
    for at in 0..sound.bytes.len() {
        for byte in 0..=255 {
            let mut damaged = sound.clone();
            damaged.bytes[at] = byte;
            assert_eq!(damaged.decode().is_ok(), byte == sound.bytes[at], "byte {at} as {byte}");
        }
    }
}

#[test]
fn every_cut_is_noticed() {
    for (_, record) in samples() {
        let sound = EncodedRecord::encode(&record);
        for length in 0..sound.bytes.len() {
            let cut = EncodedRecord { seq: sound.seq, bytes: sound.bytes[..length].to_vec() };
            let error = cut.decode().expect_err("a cut record");
            assert!(
                matches!(error, JournalError::TooShort { .. } | JournalError::Checksum { .. }),
                "{length}: {error}"
            );
        }
        let mut longer = sound.clone();
        longer.bytes.push(b' ');
        assert!(matches!(longer.decode(), Err(JournalError::Checksum { .. })), "a byte too many");
    }
}

#[test]
fn a_newer_format_is_refused() {
    let (_, record) = samples().remove(0);
    for version in FORMAT_VERSION + 1..=255 {
        let mut newer = EncodedRecord::encode(&record);
        newer.bytes[0] = version;
        let error = newer.decode().expect_err("a newer format");
        assert!(matches!(error, JournalError::NewerFormat { found, .. } if found == version), "{error}");
    }
}

#[test]
fn an_event_of_a_newer_release_is_refused() {
    let json = br#"{"seq":1,"at":2,"event":{"teleported":{"to":"mars"}}}"#;
    let mut bytes = vec![FORMAT_VERSION];
    bytes.extend_from_slice(&crc32fast::hash(json).to_le_bytes());
    bytes.extend_from_slice(json);
    let error = EncodedRecord { seq: Seq(1), bytes }.decode().expect_err("an unknown event");
    assert!(matches!(error, JournalError::UnknownEvent { .. }), "{error}");
}

/// A field that a later release adds is passed over by this one; what this one has is still there.
#[test]
fn a_field_that_is_not_known_is_passed_over() {
    let json = br#"{"seq":1,"at":2,"mood":"fine","event":{"undone":{"of":{"step":3,"item":4,"colour":"red"}}}}"#;
    let mut bytes = vec![FORMAT_VERSION];
    bytes.extend_from_slice(&crc32fast::hash(json).to_le_bytes());
    bytes.extend_from_slice(json);
    let record = EncodedRecord { seq: Seq(1), bytes }.decode().unwrap();
    assert_eq!(record.event, Event::Undone { of: ItemRef::new(StepIndex(3), 4) });
}

/// People read these in logs and in the outcomes of runs.
#[test]
fn causes_failures_and_verbs_are_told_in_words() {
    let of = ItemRef::new(StepIndex(0), 0);
    let by = Actor::new("anna", "the customer called");
    let error =
        Failure { kind: FailureKind::Fatal, origin: FailureOrigin::Returned, message: "no route to host".to_owned() };
    assert_eq!(error.to_string(), "no route to host");
    assert_eq!(by.to_string(), "anna: the customer called");
    let causes = [
        (
            Cause::StepFailed { step: StepName::new("charge").unwrap(), of, error },
            "step `charge` failed: no route to host",
        ),
        (Cause::Cancelled { by }, "cancelled by anna: the customer called"),
        (Cause::DeadlinePassed, "the deadline passed"),
        (Cause::SubjectGone, "the subject of the run is gone"),
    ];
    for (cause, expected) in causes {
        assert_eq!(cause.to_string(), expected);
    }
    let verbs = [
        (Verb::Retry, "retry"),
        (Verb::Skip { of, output: None }, "skip"),
        (Verb::RollBack, "roll back"),
        (Verb::Abandon, "abandon"),
    ];
    for (verb, expected) in verbs {
        assert_eq!(verb.to_string(), expected);
    }
}

/// One record of every event, and of every form that a part of an event can have, with a name for each.
fn samples() -> Vec<(&'static str, Record)> {
    let of = ItemRef::new(StepIndex(2), 7);
    let text = |text: &str| Payload::encode(text).unwrap();
    let by = || Actor::new("anna", "the customer \"called\"");
    let step = || StepName::new("charge").unwrap();
    let error = |kind, origin| Failure { kind, origin, message: "no route to host: caf\u{e9}".into() };
    let returned = || error(FailureKind::Failed, FailureOrigin::Returned);
    let later = Timestamp(1_732_320_060_000);
    let saga = || SagaName::new("book-trip").unwrap();
    let events = vec![
        (
            "run started",
            Event::RunStarted {
                saga: saga(),
                version: 3,
                fingerprint: fingerprint(),
                input: Payload::from_json("{\"hotel\": \"Ritz\", \"nights\": 2.50}").unwrap(),
                key: Some(ExclusiveKey::new("trip/42").unwrap()),
                deadline: Some(later),
            },
        ),
        (
            "run started, bare",
            Event::RunStarted {
                saga: saga(),
                version: 1,
                fingerprint: fingerprint(),
                input: Payload::null(),
                key: None,
                deadline: None,
            },
        ),
        ("resumed", Event::Resumed { epoch: Epoch(2), worker: WorkerId::new("host-1").unwrap() }),
        ("step started", Event::StepStarted { step: StepIndex(2), name: step(), items: None }),
        ("step started, fan-out", Event::StepStarted { step: StepIndex(2), name: step(), items: Some(9) }),
        ("attempt started", Event::AttemptStarted { of, attempt: 2 }),
        ("checkpointed", Event::Checkpointed { of, value: text("i-0a1b") }),
        ("attempt failed", Event::AttemptFailed { of, attempt: 1, error: returned(), retry_at: Some(later) }),
        (
            "attempt failed, fatal, panicked",
            Event::AttemptFailed {
                of,
                attempt: 2,
                error: error(FailureKind::Fatal, FailureOrigin::Panicked),
                retry_at: None,
            },
        ),
        (
            "attempt failed, timed out",
            Event::AttemptFailed {
                of,
                attempt: 3,
                error: error(FailureKind::Failed, FailureOrigin::TimedOut),
                retry_at: None,
            },
        ),
        (
            "attempt failed, interrupted",
            Event::AttemptFailed {
                of,
                attempt: 4,
                error: error(FailureKind::Failed, FailureOrigin::Interrupted),
                retry_at: None,
            },
        ),
        (
            "attempt failed, rejected, undecodable",
            Event::AttemptFailed {
                of,
                attempt: 5,
                error: error(FailureKind::Rejected, FailureOrigin::Undecodable),
                retry_at: None,
            },
        ),
        ("probed, done", Event::Probed { of, answer: ProbeAnswer::Done(text("r-1")) }),
        ("probed, not done", Event::Probed { of, answer: ProbeAnswer::NotDone }),
        ("probed, unknown", Event::Probed { of, answer: ProbeAnswer::Unknown }),
        ("succeeded", Event::Succeeded { of, output: text("r-1") }),
        (
            "abort began, step failed",
            Event::AbortBegan { cause: Cause::StepFailed { step: step(), of, error: returned() } },
        ),
        ("abort began, cancelled", Event::AbortBegan { cause: Cause::Cancelled { by: by() } }),
        ("abort began, deadline passed", Event::AbortBegan { cause: Cause::DeadlinePassed }),
        ("abort began, subject gone", Event::AbortBegan { cause: Cause::SubjectGone }),
        ("subject checked", Event::SubjectChecked { gone: true }),
        ("rollback began", Event::RollbackBegan),
        ("undo started", Event::UndoStarted { of, attempt: 1 }),
        ("undo failed", Event::UndoFailed { of, attempt: 1, error: returned(), retry_at: Some(later) }),
        ("undo failed, spent", Event::UndoFailed { of, attempt: 2, error: returned(), retry_at: None }),
        ("undone", Event::Undone { of }),
        ("rested, completed", Event::Rested { rest: Rest::Completed }),
        ("rested, rolled back", Event::Rested { rest: Rest::RolledBack }),
        ("rested, halted", Event::Rested { rest: Rest::Halted { at: of, error: returned() } }),
        ("rested, stuck", Event::Rested { rest: Rest::Stuck }),
        ("rested, abandoned", Event::Rested { rest: Rest::Abandoned { by: by() } }),
        ("finalizer failed", Event::FinalizerFailed { error: returned(), retry_at: later }),
        ("finalized", Event::Finalized),
        ("operated, retry", Event::Operated { verb: Verb::Retry, by: by() }),
        ("operated, skip", Event::Operated { verb: Verb::Skip { of, output: Some(text("r-2")) }, by: by() }),
        ("operated, skip, bare", Event::Operated { verb: Verb::Skip { of, output: None }, by: by() }),
        ("operated, roll back", Event::Operated { verb: Verb::RollBack, by: by() }),
        ("operated, abandon", Event::Operated { verb: Verb::Abandon, by: by() }),
    ];
    let record = |(seq, (name, event))| (name, Record { seq: Seq(seq), at: Timestamp(1_732_320_000_000 + seq), event });
    (1..).zip(events).map(record).collect()
}

/// A fixture has a line for each sample: its name, a tab, and the bytes of its record, those before the JSON in hex.
fn line(name: &str, encoded: &EncodedRecord) -> String {
    let (head, json) = encoded.bytes.split_at(5);
    let hex: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name}\t{hex}\t{}", std::str::from_utf8(json).unwrap())
}

fn read_line(line: &str) -> (&str, EncodedRecord) {
    let mut parts = line.splitn(3, '\t');
    let (name, hex, json) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let mut bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    bytes.extend_from_slice(json.as_bytes());
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    (name, EncodedRecord { seq: Seq(json["seq"].as_u64().unwrap()), bytes })
}

/// Format 1 is what is on people's disks. This fixture is never changed: a change of the events that needs it to change is
/// a new format. New events are added at the end of a new fixture.
#[test]
fn format_1_is_read_and_written_as_ever() {
    let fixture = include_str!("fixtures/journal-format-1.txt");
    let samples = samples();
    let lines: Vec<_> = fixture.lines().collect();
    for ((name, record), expected) in samples.iter().zip(&lines) {
        let (its_name, encoded) = read_line(expected);
        assert_eq!(its_name, *name);
        assert_eq!(encoded.decode().unwrap(), *record, "{name}: it is read as another event");
        assert_eq!(line(name, &EncodedRecord::encode(record)), **expected, "{name}: it is written as other bytes");
    }
    assert_eq!(lines.len(), samples.len(), "a line for each sample");
}

/// Every variant is among the samples: a new one does not compile here until somebody has added it to both.
#[test]
fn every_event_has_a_sample() {
    let number = |event: &Event| match event {
        Event::RunStarted { .. } => 0,
        Event::Resumed { .. } => 1,
        Event::StepStarted { .. } => 2,
        Event::AttemptStarted { .. } => 3,
        Event::Checkpointed { .. } => 4,
        Event::AttemptFailed { .. } => 5,
        Event::Probed { .. } => 6,
        Event::Succeeded { .. } => 7,
        Event::AbortBegan { .. } => 8,
        Event::SubjectChecked { .. } => 9,
        Event::RollbackBegan => 10,
        Event::UndoStarted { .. } => 11,
        Event::UndoFailed { .. } => 12,
        Event::Undone { .. } => 13,
        Event::Rested { .. } => 14,
        Event::FinalizerFailed { .. } => 15,
        Event::Finalized => 16,
        Event::Operated { .. } => 17,
    };
    let found: std::collections::BTreeSet<_> = samples().iter().map(|(_, record)| number(&record.event)).collect();
    assert_eq!(found, (0..18).collect());
}
