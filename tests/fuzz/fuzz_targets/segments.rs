//! Fuzzes segments off a disk that lost power or was tampered with: arbitrary bytes, and
//! well-formed segments with damage.
#![no_main]

use libfuzzer_sys::{
    arbitrary::{Arbitrary, Result, Unstructured},
    fuzz_target,
};
use sedge_fuzz::bounded;
use sedge_protocol::ids::{LeaderEpoch, Offset, PartitionId};
use sedge_storage::{
    Found, SegmentId, Sequence,
    format::{
        EntryHead, EntryKind, Footer, FooterRun, FrameHead, Run, SegmentHeader, frame_starts,
    },
    scan_segment,
};

const GENERATION: u64 = 0x5ed6_e5ed_6e5e_d6e5;
const SEGMENT: SegmentId = SegmentId(3);
const KINDS: [EntryKind; 6] = [
    EntryKind::Append,
    EntryKind::LogStart,
    EntryKind::Drop,
    EntryKind::Moved,
    EntryKind::Replaced,
    EntryKind::Compacted,
];

fuzz_target!(|input: &[u8]| {
    bounded(input, 1, |input| {
        let _ = scan_segment(input);
    });
    // Frames with false contents, and correct checksums.
    if let Ok((segment, damaged)) = make(&mut Unstructured::new(input)) {
        bounded(&segment, 1, |segment| check(segment, damaged));
    }
});

/// Checks that a scan ends, stays within the file, and finds frames in order.
fn check(segment: &[u8], damaged: bool) {
    let Some((header, found, _)) = scan_segment(segment) else {
        return;
    };
    assert!(damaged || header.generation == GENERATION);
    let mut reached = 0;
    for one in &found {
        let (from, to) = match one {
            Found::Frame {
                position,
                head,
                body,
            } => {
                assert_eq!(head.body_bytes as usize, body.len());
                assert_eq!(
                    FrameHead::decode(&head.encode(), header.generation).as_ref(),
                    Some(head)
                );
                (*position, position + head.frame_bytes())
            }
            Found::Hole { position, end, .. } => (*position, *end),
            Found::End {
                position, torn_end, ..
            } => (*position, (*torn_end).max(*position)),
        };
        assert!(
            from >= reached && from <= to,
            "{from}..{to} after {reached}"
        );
        reached = to;
    }
    assert!(matches!(found.last(), Some(Found::End { .. })));
}

/// Builds a segment of frames and possibly a footer, as described by `input`. Returns also whether
/// bytes of it were changed afterwards.
fn make(input: &mut Unstructured<'_>) -> Result<(Vec<u8>, bool)> {
    let header = SegmentHeader {
        id: SEGMENT,
        generation: GENERATION,
        previous_generation: None,
        first_sequence: Sequence(9),
        is_cold: input.arbitrary()?,
    };
    let mut segment = header.encode().to_vec();
    let mut sequence = 9;
    for _ in 0..input.int_in_range(0..=4_u8)? {
        frame(input, sequence, &mut segment)?;
        sequence += 1;
    }
    if input.arbitrary()? {
        let frames_end = if input.arbitrary()? {
            segment.len() as u64
        } else {
            input.arbitrary()?
        };
        segment.extend(footer(input, sequence, frames_end)?.encode());
    } else {
        let zeros = usize::from(input.int_in_range(0..=200_u8)?);
        segment.resize(segment.len() + zeros, 0);
    }
    let changes = input.int_in_range(0..=4_u8)?;
    for _ in 0..changes {
        let at = input.choose_index(segment.len())?;
        segment[at] = input.arbitrary()?;
    }
    if input.ratio(1, 8)? {
        segment.truncate(input.choose_index(segment.len())?);
        return Ok((segment, true));
    }
    Ok((segment, changes > 0))
}

fn frame(input: &mut Unstructured<'_>, sequence: u64, segment: &mut Vec<u8>) -> Result<()> {
    let body_bytes = usize::from(input.arbitrary::<u8>()?).min(input.len());
    let body = input.bytes(body_bytes)?;
    let honest: bool = input.arbitrary()?;
    let mut entries = Vec::new();
    for _ in 0..input.int_in_range(0..=3_u8)? {
        entries.push(EntryHead {
            kind: *input.choose(&KINDS)?,
            partition: PartitionId(input.arbitrary()?),
            base: Offset(input.arbitrary()?),
            next: Offset(input.arbitrary()?),
            max_timestamp: input.arbitrary()?,
            bytes: if honest { 0 } else { input.arbitrary()? },
            leader_epoch: Option::<i32>::arbitrary(input)?.map(LeaderEpoch),
        });
    }
    let mut body_bytes = body.len() as u32;
    if let (true, Some(first)) = (honest, entries.first_mut()) {
        first.bytes = body_bytes;
    } else {
        body_bytes = input.arbitrary()?;
    }
    let mut padding = 0;
    if input.ratio(1, 4)? {
        let [packed, aligned] = frame_starts(segment.len() as u64);
        padding = (aligned - packed) as u16;
        segment.resize(aligned as usize, input.arbitrary()?);
    }
    let head = FrameHead {
        padding: if input.ratio(7, 8)? {
            padding
        } else {
            input.arbitrary()?
        },
        generation: GENERATION,
        sequence: Sequence(if input.ratio(1, 8)? {
            input.arbitrary()?
        } else {
            sequence
        }),
        append_ms: input.arbitrary()?,
        body_bytes,
        body_crc: crc32c::crc32c(body),
        entries,
    };
    segment.extend(head.encode());
    segment.extend_from_slice(body);
    Ok(())
}

fn footer(input: &mut Unstructured<'_>, sequence: u64, frames_end: u64) -> Result<Footer> {
    let mut runs = Vec::new();
    for _ in 0..input.int_in_range(0..=3_u8)? {
        runs.push(FooterRun {
            partition: PartitionId(input.arbitrary()?),
            base: Offset(input.arbitrary()?),
            run: Run {
                segment: SEGMENT,
                position: input.arbitrary()?,
                span: input.arbitrary()?,
                bytes: input.arbitrary()?,
                next: Offset(input.arbitrary()?),
                max_timestamp: input.arbitrary()?,
                append_ms: input.arbitrary()?,
                leader_epoch: None,
            },
        });
    }
    let mut facts = Vec::new();
    for _ in 0..input.int_in_range(0..=3_u8)? {
        facts.push(EntryHead {
            kind: *input.choose(&KINDS)?,
            partition: PartitionId(input.arbitrary()?),
            base: Offset(input.arbitrary()?),
            next: Offset(input.arbitrary()?),
            max_timestamp: input.arbitrary()?,
            bytes: input.arbitrary()?,
            leader_epoch: None,
        });
    }
    let last_sequence = Sequence(sequence.saturating_sub(1));
    Ok(Footer {
        generation: GENERATION,
        last_sequence,
        frames_end,
        runs,
        facts,
    })
}
