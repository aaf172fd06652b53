//! Links that prove who approves: signed by a key of this installation, for one plan and one person. Whoever holds the link
//! is that person, so each is sent in a message of its own.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::error::Error;
use crate::run::Run;

/// Name of the file with the key, and its length in bytes.
const FILE: &str = "approval.key";
const KEY_BYTES: usize = 32;

/// Signs links.
pub(crate) struct ApprovalKey(Hmac<Sha256>);

impl ApprovalKey {
    /// The key in `dir`, made when there is none. Only its owner may read it.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) if bytes.len() >= KEY_BYTES => bytes,
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("read", &path)(error));
            }
            // None, or one whose writing was cut short: links of before are void.
            _ => make(dir, &path)?,
        };
        Hmac::new_from_slice(&bytes)
            .map(Self)
            .map_err(|error| Error::config("approval", error.to_string(), "remove approval.key"))
    }

    fn mac(&self, run: &Run, by: &str) -> Hmac<Sha256> {
        let text = format!("approve\n{}\n{}\n{by}", run.id, run.plan.binding);
        self.0.clone().chain_update(text.as_bytes())
    }

    /// What a link for `by` carries.
    pub(crate) fn sign(&self, run: &Run, by: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(run, by).finalize().into_bytes())
    }

    /// Whether `signature` is that of a link for `by`; the time this takes tells nothing about it.
    pub(crate) fn is_good(&self, run: &Run, by: &str, signature: &str) -> bool {
        let bytes = URL_SAFE_NO_PAD.decode(signature);
        bytes.is_ok_and(|bytes| self.mac(run, by).verify_slice(&bytes).is_ok())
    }
}

fn make(dir: &Path, path: &Path) -> Result<Vec<u8>, Error> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let mut bytes = vec![0; KEY_BYTES];
    let source = Path::new("/dev/urandom");
    let mut random = fs::File::open(source).map_err(Error::io("open", source))?;
    random.read_exact(&mut bytes).map_err(Error::io("read", source))?;
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).map_err(Error::io("create", path))?;
    file.write_all(&bytes).map_err(Error::io("write", path))?;
    file.sync_all().map_err(Error::io("sync", path))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        ApprovalKey::open(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let first = fs::read(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        ApprovalKey::open(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        fs::write(&path, "cut").unwrap();
        ApprovalKey::open(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), KEY_BYTES);
    }
}
