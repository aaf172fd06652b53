//! Who we are, told to a mail server: PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use super::session::{Fault, Session};
use crate::config::Secret;

/// Bytes MD5 works on at once.
const BLOCK_BYTES: usize = 64;

/// A user, and what proves it.
pub(super) struct Credentials {
    pub(super) username: String,
    /// For PLAIN and LOGIN.
    pub(super) password: Option<Secret>,
    /// For CRAM-MD5.
    pub(super) shared: Option<Secret>,
    /// Whom to act as; empty for the user.
    pub(super) identity: String,
}

impl Credentials {
    /// Authenticates by the first mechanism of the server that there is a secret for; none offered, none used.
    pub(super) async fn prove(&self, session: &mut Session, host: &str) -> Result<(), Fault> {
        let Some(offered) = session.offer("AUTH") else { return Ok(()) };
        for mechanism in offered.split_whitespace() {
            match (mechanism.to_ascii_uppercase().as_str(), &self.password, &self.shared) {
                ("CRAM-MD5", _, Some(shared)) => return self.cram_md5(session, shared).await,
                ("PLAIN", Some(password), _) => {
                    kept_private(session, host)?;
                    let text =
                        format!("{}\0{}\0{}", self.identity, self.username, password.reveal());
                    let command = format!("AUTH PLAIN {}", STANDARD.encode(text));
                    return session.prove(&command).await.and_then(accepted);
                }
                ("LOGIN", Some(password), _) => {
                    kept_private(session, host)?;
                    return self.login(session, password).await;
                }
                _ => {}
            }
        }
        Err(Fault::Permanent(format!(
            "the server offers AUTH {offered:?}: PLAIN and LOGIN need auth_password, CRAM-MD5 auth_secret"
        )))
    }

    async fn login(&self, session: &mut Session, password: &Secret) -> Result<(), Fault> {
        session.prove("AUTH LOGIN").await.and_then(asked)?;
        session.prove(&STANDARD.encode(&self.username)).await.and_then(asked)?;
        session.prove(&STANDARD.encode(password.reveal())).await.and_then(accepted)
    }

    async fn cram_md5(&self, session: &mut Session, shared: &Secret) -> Result<(), Fault> {
        let challenge = session.prove("AUTH CRAM-MD5").await.and_then(asked)?;
        let challenge = STANDARD
            .decode(challenge.trim())
            .map_err(|_| Fault::Passing("AUTH CRAM-MD5: the challenge is not base64".to_owned()))?;
        let digest = hmac_md5(shared.reveal().as_bytes(), &challenge);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = STANDARD.encode(format!("{} {hex}", self.username));
        session.prove(&answer).await.and_then(accepted)
    }
}

/// A password crosses no network in the clear.
fn kept_private(session: &Session, host: &str) -> Result<(), Fault> {
    let is_here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if session.is_private || is_here {
        return Ok(());
    }
    let text = "the password would cross the network in the clear: set require_tls";
    Err(Fault::Permanent(text.to_owned()))
}

/// The text of a question.
fn asked((code, text): (u16, String)) -> Result<String, Fault> {
    if code == 334 {
        return Ok(text);
    }
    Err(Fault::Permanent(format!("AUTH: the server says {code} where it should ask")))
}

fn accepted((code, _): (u16, String)) -> Result<(), Fault> {
    if code == 235 {
        return Ok(());
    }
    Err(Fault::Permanent(format!("AUTH: the server says {code} where it should decide")))
}

/// RFC 2104 over MD5.
fn hmac_md5(key: &[u8], text: &[u8]) -> [u8; 16] {
    let mut block = [0_u8; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..16].copy_from_slice(&Md5::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Md5::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text);
    let outer = Md5::new().chain_update(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_md5_is_that_of_the_rfcs() {
        let hex = |key: &[u8], text: &[u8]| {
            hmac_md5(key, text).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        // RFC 2195, and cases 1, 2 and 6 of RFC 2202.
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(hex(b"tanstaaftanstaaf", challenge), "b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(hex(&[0x0b; 16], b"Hi There"), "9294727a3638bb1c13f48ef8158bfc9d");
        let wanted = "750c783e6ab0b503eaa86e310a5db738";
        assert_eq!(hex(b"Jefe", b"what do ya want for nothing?"), wanted);
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hex(&[0xaa; 80], long), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    }
}
