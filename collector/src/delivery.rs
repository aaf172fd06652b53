//! The name a sender gives to a request, so that a repeat is taken in once: `headrope-delivery`.

use axum::http::HeaderMap;
use store::Delivery;

use crate::error::Error;

/// Header and metadata key: agent (32 hexadecimal digits), epoch (16), sequence (decimal), joined with dashes.
const HEADER: &str = "headrope-delivery";

/// The name of the request with these headers, if it has one. One that is not well formed is refused: a sender that
/// counts on it must learn that it does not work.
pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Delivery>, Error> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let delivery = value.to_str().ok().and_then(parse);
    delivery.map(Some).ok_or_else(|| {
        let words = "is no <32 hexadecimal digits>-<16 hexadecimal digits>-<number from 1>";
        Error::Malformed(format!("{HEADER} {words}; leave it out, or mend it"))
    })
}

fn parse(text: &str) -> Option<Delivery> {
    let mut parts = text.split('-');
    let (agent, epoch, seq) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, len| part.len() == len && part.bytes().all(|c| c.is_ascii_hexdigit());
    let is_number = !seq.is_empty() && seq.bytes().all(|c| c.is_ascii_digit());
    if parts.next().is_some() || !is_hex(agent, 32) || !is_hex(epoch, 16) || !is_number {
        return None;
    }
    let agent = u128::from_str_radix(agent, 16).ok()?;
    let epoch = u64::from_str_radix(epoch, 16).ok()?;
    let seq = seq.parse().ok().filter(|seq| (1..=i64::MAX.cast_unsigned()).contains(seq))?;
    Some(Delivery { agent, epoch, seq })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_or_refused() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, text.parse().unwrap());
            read(&headers)
        };
        let (agent, epoch) = ("0123456789abcdef0123456789abcdef", "00000000000000ff");
        let name = read(&format!("{agent}-{epoch}-7")).unwrap().unwrap();
        assert_eq!((name.agent >> 120, name.epoch, name.seq), (1, 255, 7));
        assert_eq!(super::read(&HeaderMap::new()).unwrap(), None);
        for bad in [
            "".to_owned(),
            "7".to_owned(),
            format!("{agent}-{epoch}"),
            format!("{agent}-{epoch}-0"),
            format!("{agent}-{epoch}-+7"),
            format!("{agent}-{epoch}-7-8"),
            format!("{agent}-{epoch}-9223372036854775808"),
            format!("{}-{epoch}-7", &agent[1..]),
            format!("+{}-{epoch}-7", &agent[1..]),
        ] {
            assert!(matches!(read(&bad), Err(Error::Malformed(_))), "{bad}");
        }
    }
}
