//! Signatures of Standard Webhooks: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// Lengths of a secret that the specification allows, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The secrets a receiver shares with us: one, or two while it is being replaced.
pub(crate) struct SigningKey(Vec<Hmac<Sha256>>);

impl SigningKey {
    /// Reads secrets separated by white space; the complaint never repeats a secret.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let keys = text.split_whitespace().map(parse_one).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err("there is no secret".to_owned()) } else { Ok(Self(keys)) }
    }

    /// Value of `webhook-signature`: one signature a secret, separated by spaces.
    pub(crate) fn signature(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let prefix = format!("{id}.{timestamp_s}.");
        let signatures = self.0.iter().map(|key| {
            let mac = key.clone().chain_update(prefix.as_bytes()).chain_update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }

    /// Whether one of the signatures in a header is by one of the secrets; the time this takes tells nothing about them.
    pub(crate) fn is_good(&self, header: &str, (id, at_s, body): (&str, i64, &[u8])) -> bool {
        let prefix = format!("{id}.{at_s}.");
        let given =
            header.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
        // Bounded: a header is short, and there are few secrets.
        given.take(16).any(|bytes| {
            self.0.iter().any(|key| {
                let mac = key.clone().chain_update(prefix.as_bytes()).chain_update(body);
                mac.verify_slice(&bytes).is_ok()
            })
        })
    }
}

fn parse_one(text: &str) -> Result<Hmac<Sha256>, String> {
    let encoded = text.strip_prefix(PREFIX).ok_or("the secret does not begin with whsec_")?;
    let bytes = STANDARD.decode(encoded).map_err(|_| "what follows whsec_ is not base64")?;
    if !LENGTHS.contains(&bytes.len()) {
        return Err(format!("the secret has {} bytes, 24 to 64 are needed", bytes.len()));
    }
    Hmac::new_from_slice(&bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_signed_alike() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.signature(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_of_two_secrets_signs() {
        let one = format!("whsec_{}", STANDARD.encode([1; 24]));
        let two = format!("whsec_{}", STANDARD.encode([2; 64]));
        let both = SigningKey::parse(&format!("{one} {two}")).unwrap().signature("a", 1, b"x");
        let apart = [one, two].map(|key| SigningKey::parse(&key).unwrap().signature("a", 1, b"x"));
        assert_eq!(both, apart.join(" "));
    }

    #[test]
    fn bad_secrets_are_refused_with_the_reason() {
        let check = |text: &str, part: &str| match SigningKey::parse(text) {
            Ok(_) => panic!("{text} was taken"),
            Err(reason) => assert!(reason.contains(part), "{reason}"),
        };
        check("", "no secret");
        check("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_");
        check("whsec_!!!", "base64");
        check("whsec_AAAA", "3 bytes");
    }
}
