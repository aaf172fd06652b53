//! The records of the journal and their bytes, as `docs/format/journal.md` describes them.

use model::alert::AlertState;
use model::time::Timestamp;

use crate::delivery::Key;
use crate::error::Error;
use crate::register::Deed;

/// Longest payload of one record; a longer length field is damage.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 2 << 20;
/// Longest deed as JSON.
const DEED_BYTES_MAX: usize = 1 << 20;
/// Bytes of an error text kept.
pub(crate) const ERROR_BYTES_MAX: usize = 1_024;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A transition is to be told to these receivers.
    Accepted(Accepted),
    /// A request is about to be sent.
    Attempt { key: Key, attempt: u32, deadline: Timestamp },
    /// What came of it.
    Outcome(Outcome),
    /// Something that happened to incidents and runs.
    Deed(Box<Deed>),
}

impl Event {
    /// Wraps a deed, unless it is too long for a record.
    pub(crate) fn deed(deed: &Deed) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(deed).map_or(usize::MAX, |json| json.len());
        if bytes > DEED_BYTES_MAX {
            let rule = "an action".to_owned();
            return Err(Error::TooLong { rule, bytes, limit: DEED_BYTES_MAX });
        }
        Ok(Self::Deed(Box::new(deed.clone())))
    }
}

/// A transition with the message made of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Accepted {
    pub(crate) transition_id: u128,
    /// Of the alert: messages with the same fingerprint keep their order.
    pub(crate) fingerprint: u128,
    pub(crate) state: AlertState,
    pub(crate) accepted_at: Timestamp,
    pub(crate) group: String,
    pub(crate) rule: String,
    pub(crate) receivers: Vec<String>,
    /// Empty once all its deliveries are finished and the journal was rewritten.
    pub(crate) body: Vec<u8>,
}

impl Accepted {
    /// A copy that no longer holds the message.
    pub(crate) fn without_body(&self) -> Self {
        Self {
            transition_id: self.transition_id,
            fingerprint: self.fingerprint,
            state: self.state,
            accepted_at: self.accepted_at,
            group: self.group.clone(),
            rule: self.rule.clone(),
            receivers: self.receivers.clone(),
            body: Vec::new(),
        }
    }
}

/// What came of an attempt, or why there will be no further one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) key: Key,
    pub(crate) attempt: u32,
    pub(crate) verdict: Verdict,
    /// 0 when nothing was answered.
    pub(crate) http_status: u16,
    pub(crate) elapsed_ms: u32,
    pub(crate) at: Timestamp,
    /// When to try again; meaningless unless the verdict is `Retry`.
    pub(crate) next_at: Timestamp,
    pub(crate) error: String,
}

/// What an outcome means for the delivery. The discriminants are written to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Verdict {
    Delivered = 1,
    Retry = 2,
    Refused = 3,
    Expired = 4,
    Gone = 5,
    Dropped = 6,
}

impl Verdict {
    const ALL: [Self; 6] =
        [Self::Delivered, Self::Retry, Self::Refused, Self::Expired, Self::Gone, Self::Dropped];
}

const KIND_ACCEPTED: u8 = 1;
const KIND_ATTEMPT: u8 = 2;
const KIND_OUTCOME: u8 = 3;
const KIND_DEED: u8 = 4;

impl Event {
    /// Appends kind and fields.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Accepted(accepted) => {
                out.push(KIND_ACCEPTED);
                out.extend(accepted.transition_id.to_le_bytes());
                out.extend(accepted.fingerprint.to_le_bytes());
                out.push(state_code(accepted.state));
                out.extend(accepted.accepted_at.0.to_le_bytes());
                put_bytes(out, accepted.group.as_bytes());
                put_bytes(out, accepted.rule.as_bytes());
                put_len(out, accepted.receivers.len());
                accepted.receivers.iter().for_each(|name| put_bytes(out, name.as_bytes()));
                put_bytes(out, &accepted.body);
            }
            Self::Attempt { key, attempt, deadline } => {
                out.push(KIND_ATTEMPT);
                out.extend(key.0);
                out.extend(attempt.to_le_bytes());
                out.extend(deadline.0.to_le_bytes());
            }
            Self::Outcome(outcome) => {
                out.push(KIND_OUTCOME);
                out.extend(outcome.key.0);
                out.extend(outcome.attempt.to_le_bytes());
                out.push(outcome.verdict as u8);
                out.extend(outcome.http_status.to_le_bytes());
                out.extend(outcome.elapsed_ms.to_le_bytes());
                out.extend(outcome.at.0.to_le_bytes());
                out.extend(outcome.next_at.0.to_le_bytes());
                put_bytes(out, cut(&outcome.error, ERROR_BYTES_MAX).as_bytes());
            }
            Self::Deed(deed) => {
                out.push(KIND_DEED);
                let json = serde_json::to_vec(deed).expect("it was JSON when it was wrapped");
                put_bytes(out, &json);
            }
        }
    }

    /// Reads what [`Event::encode`] wrote; `None` unless the bytes are exactly one event.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let event = match reader.u8()? {
            KIND_ACCEPTED => Self::Accepted(Accepted {
                transition_id: u128::from_le_bytes(reader.array()?),
                fingerprint: u128::from_le_bytes(reader.array()?),
                state: state_of(reader.u8()?)?,
                accepted_at: reader.time()?,
                group: reader.text()?,
                rule: reader.text()?,
                receivers: (0..reader.u32()?).map(|_| reader.text()).collect::<Option<_>>()?,
                body: reader.bytes()?.to_vec(),
            }),
            KIND_ATTEMPT => Self::Attempt {
                key: Key(reader.array()?),
                attempt: reader.u32()?,
                deadline: reader.time()?,
            },
            KIND_OUTCOME => Self::Outcome(Outcome {
                key: Key(reader.array()?),
                attempt: reader.u32()?,
                verdict: reader.verdict()?,
                http_status: u16::from_le_bytes(reader.array()?),
                elapsed_ms: reader.u32()?,
                at: reader.time()?,
                next_at: reader.time()?,
                error: reader.text()?,
            }),
            KIND_DEED => Self::Deed(serde_json::from_slice(reader.bytes()?).ok()?),
            _ => return None,
        };
        reader.0.is_empty().then_some(event)
    }
}

/// The start of `text`, at most `limit` bytes, cut between characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

const fn state_code(state: AlertState) -> u8 {
    match state {
        AlertState::Inactive => 0,
        AlertState::Pending => 1,
        AlertState::Firing => 2,
        AlertState::Resolved => 3,
    }
}

const fn state_of(code: u8) -> Option<AlertState> {
    match code {
        0 => Some(AlertState::Inactive),
        1 => Some(AlertState::Pending),
        2 => Some(AlertState::Firing),
        3 => Some(AlertState::Resolved),
        _ => None,
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("a record is far below 4 GiB: its parts were bounded");
    out.extend(len.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Takes fields off the front of a payload.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.array().map(i64::from_le_bytes).map(Timestamp)
    }

    fn verdict(&mut self) -> Option<Verdict> {
        let code = self.u8()?;
        Verdict::ALL.into_iter().find(|verdict| *verdict as u8 == code)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Event> {
        vec![
            Event::Accepted(Accepted {
                transition_id: u128::MAX - 1,
                fingerprint: 7,
                state: AlertState::Resolved,
                accepted_at: Timestamp(-5),
                group: "g".into(),
                rule: "规则".into(),
                receivers: vec!["a".into(), String::new()],
                body: vec![0, 255],
            }),
            Event::Attempt { key: Key([9; 16]), attempt: 3, deadline: Timestamp(i64::MAX) },
            Event::Outcome(Outcome {
                key: Key([1; 16]),
                attempt: 1,
                verdict: Verdict::Retry,
                http_status: 503,
                elapsed_ms: 12,
                at: Timestamp(1),
                next_at: Timestamp(2),
                error: "é".repeat(400),
            }),
        ]
    }

    #[test]
    fn events_survive_a_round_trip() {
        for event in samples() {
            let mut bytes = Vec::new();
            event.encode(&mut bytes);
            assert_eq!(Event::decode(&bytes), Some(event));
        }
    }

    #[test]
    fn damaged_events_are_refused_without_a_panic() {
        for event in samples() {
            let mut bytes = Vec::new();
            event.encode(&mut bytes);
            for len in 0..bytes.len() {
                assert_eq!(Event::decode(&bytes[..len]), None, "{len}");
            }
            for i in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[i] ^= 0xff;
                assert_ne!(Event::decode(&flipped), Some(event.clone()));
            }
            bytes.push(0);
            assert_eq!(Event::decode(&bytes), None);
        }
    }

    #[test]
    fn long_errors_are_cut_between_characters() {
        assert_eq!(cut("ééé", 3), "é");
        assert_eq!(cut("abc", 9), "abc");
    }
}
