//! Keys of one board: who may log in, and what the board proves itself with. Both are made on this machine just before the first boot, so
//! that the host's known-hosts file is exact, no key ever lies in an image, and no key outlives the board's folder.
//!
//! The board gets them as a second archive behind its initramfs, which the kernel unpacks over the first: no second image, no device that
//! the board would need a driver for, nothing secret on a command line.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What one board needs.
#[derive(Debug)]
pub struct Keys {
    /// Identity file of the user.
    pub identity_file: PathBuf,
    /// The board's own key, as known-hosts files have it after the address.
    pub host_public: String,
    /// Archive to put behind the initramfs.
    pub archive: Vec<u8>,
}

/// Makes both key pairs in `folder`.
pub fn make(folder: &Path) -> io::Result<Keys> {
    let identity_file = folder.join("id");
    let host = folder.join("host_key");
    for file in [&identity_file, &host] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "boardproof", "-f"]).arg(file).stdin(Stdio::null());
        let output = keygen.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("ssh-keygen failed ({}): {}", output.status, said.trim())));
        }
    }
    let host_public = std::fs::read_to_string(host.with_extension("pub"))?;
    let host_key = dropbear_key(&std::fs::read_to_string(&host)?)
        .ok_or_else(|| io::Error::other("ssh-keygen wrote an unknown key format"))?;
    let authorized = std::fs::read(identity_file.with_extension("pub"))?;
    let archive =
        cpio(&[("boot.d", None), ("boot.d/authorized_keys", Some(&authorized)), ("boot.d/host_key", Some(&host_key))]);
    Ok(Keys { identity_file, host_public, archive })
}

/// A known-hosts file with one board in it.
pub fn known_hosts(port: u16, keys: &Keys) -> String {
    format!("[127.0.0.1]:{port} {}\n", keys.host_public.trim())
}

/// An unencrypted ed25519 key of OpenSSH (`openssh-key-v1`) in Dropbear's form: name, then seed and public key, each with its length.
fn dropbear_key(pem: &str) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"ssh-ed25519";
    let text: String = pem.lines().filter(|l| !l.starts_with('-')).collect();
    let bytes = base64(&text)?;
    // The name stands in the public part and again in the private one; there the public key (32) and the pair (64) follow.
    let second = bytes.windows(NAME.len()).enumerate().filter(|(_, w)| *w == NAME).nth(1)?.0 + NAME.len();
    let pair = bytes.get(second + 4 + 32..)?;
    let (length, pair) = pair.split_at_checked(4)?;
    if length != 64u32.to_be_bytes() {
        return None;
    }
    let mut key = (NAME.len() as u32).to_be_bytes().to_vec();
    key.extend_from_slice(NAME);
    key.extend_from_slice(&64u32.to_be_bytes());
    key.extend_from_slice(pair.get(..64)?);
    Some(key)
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::new();
    let (mut bits, mut filled) = (0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        bits = bits << 6 | u32::from(value(c)?);
        filled += 6;
        if filled >= 8 {
            filled -= 8;
            bytes.push((bits >> filled) as u8);
            bits &= (1 << filled) - 1;
        }
    }
    Some(bytes)
}

/// A cpio archive in the form that the kernel unpacks (newc). `None` is a folder.
fn cpio(entries: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut add = |name: &str, mode: u32, content: &[u8], number: usize| {
        let fields = [number as u32, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        archive.extend_from_slice(b"070701");
        fields.iter().for_each(|f| archive.extend_from_slice(format!("{f:08x}").as_bytes()));
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    for (i, (name, content)) in entries.iter().enumerate() {
        let mode = if content.is_some() { 0o100_600 } else { 0o040_755 };
        add(name, mode, content.unwrap_or_default(), i + 1);
    }
    add("TRAILER!!!", 0, &[], 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_and_garbage_is_refused() {
        assert_eq!(base64("aGVsbG8gd29ybGQ=").as_deref(), Some(&b"hello world"[..]));
        assert!(base64("a*b").is_none());
        assert!(dropbear_key("-----BEGIN OPENSSH PRIVATE KEY-----\naGVsbG8=\n-----END").is_none());
    }

    #[test]
    fn the_archive_has_whole_records() {
        let archive = cpio(&[("d", None), ("d/f", Some(b"12345"))]);
        assert!(archive.len().is_multiple_of(4) && archive.starts_with(b"070701"));
        assert_eq!(archive.windows(6).filter(|w| *w == b"070701").count(), 3);
    }
}
