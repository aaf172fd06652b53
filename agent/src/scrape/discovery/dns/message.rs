//! Questions and answers of DNS in bytes (RFC 1035, section 4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::RecordType;

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Record {
    pub(in super::super) data: Data,
}

/// What it says. Names are without their last dot.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Data {
    Address(IpAddr),
    Service { host: String, port: u16 },
    Mail { host: String },
    Server { host: String },
}

const fn number(kind: RecordType) -> u16 {
    match kind {
        RecordType::A => 1,
        RecordType::Ns => 2,
        RecordType::Mx => 15,
        RecordType::Aaaa => 28,
        RecordType::Srv => 33,
    }
}

/// A question for `name`, recursion wanted, up to 4,096 bytes of answer.
pub(super) fn question(name: &str, kind: RecordType) -> Result<Vec<u8>, String> {
    // Ids must be hard to guess for who is not on the path; each socket has a port of its own besides.
    let id = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), name);
    let mut out = id.to_be_bytes()[..2].to_vec();
    out.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]);
    for part in name.split('.') {
        let length = u8::try_from(part.len()).ok().filter(|length| (1..64).contains(length));
        let length = length.ok_or_else(|| format!("{name:?} is no name of DNS"))?;
        out.push(length);
        out.extend(part.as_bytes());
    }
    out.push(0);
    out.extend(number(kind).to_be_bytes());
    out.extend([0, 1]);
    // EDNS (RFC 6891): the size of answer we take.
    out.extend([0, 0, 41, 0x10, 0x00, 0, 0, 0, 0, 0, 0]);
    Ok(out)
}

/// The records of `kind` in an answer; none when there is no such name.
pub(in super::super) fn records(bytes: &[u8], kind: RecordType) -> Result<Vec<Record>, String> {
    let broken = || "the answer is broken".to_owned();
    let mut reader = Reader { bytes, at: 0 };
    let mut read = || -> Option<Result<Vec<Record>, String>> {
        reader.u16()?;
        let flags = reader.u16()?;
        match flags & 0xf {
            0 | 3 => {} // 3: there is no such name.
            code => return Some(Err(format!("the server refuses with code {code}"))),
        }
        let (questions, answers) = (reader.u16()?, reader.u16()?);
        reader.skip(4)?;
        for _ in 0..questions {
            reader.name()?;
            reader.skip(4)?;
        }
        let mut records = Vec::new();
        for _ in 0..answers {
            records.extend(reader.record(kind)?);
        }
        Some(Ok(records))
    };
    read().ok_or_else(broken)?
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn skip(&mut self, n: usize) -> Option<()> {
        self.at = self.at.checked_add(n).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    /// A name, which may end in that of another place; each step back counts, so that a circle ends.
    fn name(&mut self) -> Option<String> {
        let (mut parts, mut at, mut jumps) = (Vec::new(), self.at, 0);
        let mut end = None;
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    let part = self.bytes.get(at + 1..at + 1 + length)?;
                    parts.push(String::from_utf8_lossy(part).into_owned());
                    at += 1 + length;
                }
                3 if jumps < 32 => {
                    end = end.or(Some(at + 2));
                    at = (length & 0x3f) << 8 | usize::from(*self.bytes.get(at + 1)?);
                    jumps += 1;
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(at + 1);
        Some(parts.join("."))
    }

    /// The next record; `Some(None)` when it is of another kind, as a `CNAME` before the addresses is.
    fn record(&mut self, kind: RecordType) -> Option<Option<Record>> {
        self.name()?;
        let found = self.u16()?;
        self.skip(6)?;
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        if found != number(kind) {
            self.skip(length)?;
            return Some(None);
        }
        let data = match kind {
            RecordType::A => Data::Address(Ipv4Addr::from(self.take::<4>()?).into()),
            RecordType::Aaaa => Data::Address(Ipv6Addr::from(self.take::<16>()?).into()),
            RecordType::Srv => {
                self.skip(4)?;
                let port = self.u16()?;
                Data::Service { host: self.name()?, port }
            }
            RecordType::Mx => {
                self.skip(2)?;
                Data::Mail { host: self.name()? }
            }
            RecordType::Ns => Data::Server { host: self.name()? },
        };
        self.at = end;
        Some(Some(Record { data }))
    }
}
