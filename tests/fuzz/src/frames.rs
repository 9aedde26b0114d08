//! Deframers: what bytes on a link become, in pieces of any size.

use crate::Seed;
use crate::bytes::Bytes;
use boardproof_protocol::frame::{CobsDeframer, Deframed, PREAMBLE, PreambleScanner, StreamDeframer, encode_cobs};

/// One answer of a deframer, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Frame {
    Payload(Vec<u8>),
    Broken(usize),
}

/// Everything that `push` makes of an input that comes in pieces of the sizes given, again and again. An answer with an end takes
/// nothing more.
fn collect(
    input: &[u8],
    sizes: &[usize],
    stops: bool,
    push: &mut dyn FnMut(&mut &[u8]) -> Option<Frame>,
) -> (Vec<Frame>, usize) {
    let (mut frames, mut rest) = (Vec::new(), input);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut piece, after) = rest.split_at((*size).min(rest.len()));
        rest = after;
        loop {
            let left = piece.len();
            match push(&mut piece) {
                None => break assert!(piece.is_empty(), "a deframer that wants more has left something"),
                Some(frame) => {
                    let broken = matches!(frame, Frame::Broken(_));
                    frames.push(frame);
                    if broken && stops {
                        return (frames, piece.len() + rest.len());
                    }
                    // An empty frame is complete with its length, so a piece may end right behind one.
                    assert!(piece.len() < left || left == 0, "a deframer gave a frame and took nothing");
                }
            }
        }
    }
    (frames, rest.len())
}

/// Limit, a piece size, then the stream.
pub fn stream(input: &[u8]) -> bool {
    let mut input = Bytes(input);
    let (limit, odd) = (usize::from(input.u8()), usize::from(input.u8()) + 1);
    let wire = input.0;
    let deframe = |sizes: &[usize]| {
        let mut buffer = vec![0; limit];
        let mut deframer = StreamDeframer::new(&mut buffer);
        collect(wire, sizes, true, &mut |piece| match deframer.push(piece) {
            Deframed::Payload(payload) => Some(Frame::Payload(payload.to_vec())),
            Deframed::Incomplete => None,
            Deframed::Broken { length, limit: told } => {
                assert!(length > limit && told == limit, "{length} does not break {limit}");
                Some(Frame::Broken(length))
            }
        })
    };
    let whole = deframe(&[wire.len().max(1)]);
    assert_eq!(whole, deframe(&[1]), "byte by byte");
    assert_eq!(whole, deframe(&[odd, 3, 1]), "in pieces of {odd}, 3, 1");
    // The frames are what stands on the wire, and nothing else.
    let (frames, left) = whole;
    let mut again = Vec::new();
    for frame in &frames {
        match frame {
            Frame::Payload(payload) => {
                assert!(payload.len() <= limit);
                again.extend((payload.len() as u32).to_le_bytes());
                again.extend(payload);
            }
            Frame::Broken(length) => again.extend((*length as u32).to_le_bytes()),
        }
    }
    assert!(wire.starts_with(&again), "the frames are not those of the wire");
    if matches!(frames.last(), Some(Frame::Broken(_))) {
        assert_eq!(again.len() + left, wire.len());
    }
    frames.iter().any(|frame| matches!(frame, Frame::Payload(_)))
}

/// What a byte link's bytes mean, worked out apart from the code under test: between two zeros stands one frame.
fn cobs_by_hand(wire: &[u8], limit: usize) -> Vec<Frame> {
    let Some(last) = wire.iter().rposition(|byte| *byte == 0) else { return Vec::new() };
    let coded = wire[..last].split(|byte| *byte == 0).filter(|coded| !coded.is_empty());
    coded
        .map(|coded| {
            if coded.len() > limit { None } else { uncobs(coded) }.map_or(Frame::Broken(coded.len()), Frame::Payload)
        })
        .collect()
}

fn uncobs(mut coded: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    while let Some((code, rest)) = coded.split_first() {
        let run = usize::from(*code) - 1;
        payload.extend(rest.get(..run)?);
        coded = &rest[run..];
        if *code != 0xff && !coded.is_empty() {
            payload.push(0);
        }
    }
    Some(payload)
}

/// Limit, a piece size, then the bytes of the link.
pub fn cobs(input: &[u8]) -> bool {
    let mut input = Bytes(input);
    let (limit, odd) = (usize::from(input.u8()), usize::from(input.u8()) + 1);
    let wire = input.0;
    let deframe = |wire: &[u8], sizes: &[usize], limit: usize| {
        let mut buffer = vec![0; limit];
        let mut deframer = CobsDeframer::new(&mut buffer);
        let frames = collect(wire, sizes, false, &mut |piece| match deframer.push(piece) {
            Deframed::Payload(payload) => Some(Frame::Payload(payload.to_vec())),
            Deframed::Incomplete => None,
            Deframed::Broken { length, limit: told } => {
                assert_eq!(told, limit);
                Some(Frame::Broken(length))
            }
        });
        frames.0
    };
    let whole = deframe(wire, &[wire.len().max(1)], limit);
    assert_eq!(whole, cobs_by_hand(wire, limit), "not what stands on the wire");
    assert_eq!(whole, deframe(wire, &[1], limit), "byte by byte");
    assert_eq!(whole, deframe(wire, &[odd, 3, 1], limit), "in pieces of {odd}, 3, 1");
    // Whatever came before, what is sent behind a zero arrives as it was sent.
    let mut coded = vec![0; cobs_room(wire.len())];
    let used = encode_cobs(wire, &mut coded).expect("there is room");
    let behind_garbage = [wire, &[0], &coded[..used]].concat();
    let found = deframe(&behind_garbage, &[odd], cobs_room(wire.len()));
    // A payload is never empty: it has a header. An empty one is a delimiter and no frame.
    let sent = (!wire.is_empty()).then(|| Frame::Payload(wire.to_vec()));
    assert_eq!(found.last(), sent.as_ref(), "not in step again behind garbage");
    whole.iter().any(|frame| matches!(frame, Frame::Payload(_)))
}

fn cobs_room(payload: usize) -> usize {
    payload + payload / 254 + 2
}

/// Text with or without the preamble.
pub fn preamble(input: &[u8]) -> bool {
    let mut scanner = PreambleScanner::default();
    let found: Vec<usize> =
        input.iter().enumerate().filter(|(_, byte)| scanner.push(**byte)).map(|(i, _)| i + 1).collect();
    let right = input.windows(PREAMBLE.len()).enumerate().filter(|(_, window)| window == PREAMBLE);
    let right: Vec<usize> = right.map(|(i, _)| i + PREAMBLE.len()).collect();
    assert_eq!(found, right);
    !found.is_empty()
}

/// Payloads of all sizes around the ones where COBS changes.
fn payloads() -> Vec<Vec<u8>> {
    let run: Vec<u8> = (1..=254).collect();
    vec![b"one".to_vec(), Vec::new(), vec![0; 20], run.clone(), [&run[..], &[0, 7]].concat(), b"a\0b".to_vec()]
}

pub fn stream_seeds() -> Vec<Seed> {
    let mut wire = vec![255, 4];
    for payload in payloads().iter().filter(|payload| payload.len() < 255) {
        wire.extend((payload.len() as u32).to_le_bytes());
        wire.extend(payload);
    }
    let broken = [&[16, 0][..], &3_u32.to_le_bytes(), b"abc", &17_u32.to_le_bytes(), b"left"].concat();
    vec![("frames".into(), wire), ("broken".into(), broken)]
}

pub fn cobs_seeds() -> Vec<Seed> {
    let (mut wire, mut coded) = (vec![255, 4], [0; 300]);
    for payload in payloads() {
        let used = encode_cobs(&payload, &mut coded).expect("there is room");
        wire.extend(&coded[..used]);
    }
    vec![("frames".into(), wire), ("garbage".into(), vec![32, 1, 5, 9, 9, 0, 2, 7, 0, 0, 4, 1, 2, 3, 0])]
}

pub fn preamble_seeds() -> Vec<Seed> {
    let banner = b"Welcome\nBPROOBPROOF0BBPROOF1\nrest".to_vec();
    vec![("banner".into(), banner), ("alone".into(), PREAMBLE.to_vec())]
}
