//! Artifacts: machine code in transport between machines, and in the cache.
//!
//! | at | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | `sedgeplg` |
//! | 8 | 2 | version, 1 |
//! | 10 | 1 | sealer: 0 none, 1 the operator, 2 the installation |
//! | 11 | 1 | bytes of the target's name |
//! | 12 | 4 | bytes of the component; 0 in the cache, where only its hash is kept |
//! | 16 | 4 | bytes of the machine code |
//! | 20 | 32 | SHA-256 of the component |
//! | 52 | | target's name, component, machine code |
//! | | 32 | seal: HMAC-SHA256 of all before it; zeros if there is no seal |
//!
//! Numbers are little-endian. What the seal means is in [`seal`](crate::seal).
//!
//! **Invariant**: reading checks lengths and the component's hash, and trusts nothing.

use crate::{
    component::{ComponentHash, inspect},
    error::{ArtifactError, Error},
    key::{SEAL_BYTES, SealKey, Sealer},
    limits::TARGET_BYTES_MAX,
    world::World,
};

const MAGIC: &[u8; 8] = b"sedgeplg";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 52;

/// An artifact in memory.
#[derive(Clone, Copy, Debug)]
pub struct Artifact<'a> {
    pub sealer: Sealer,
    /// The target of the code: see [`host_target`](crate::host_target).
    pub target: &'a str,
    pub component_hash: ComponentHash,
    /// Empty in the cache.
    pub component: &'a [u8],
    pub code: &'a [u8],
    pub(crate) sealed: &'a [u8],
    pub(crate) seal: &'a [u8; SEAL_BYTES],
}

impl<'a> Artifact<'a> {
    /// Returns whether the bytes begin like an artifact.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Reads an artifact and checks its lengths and hash.
    ///
    /// # Errors
    /// The bytes are not a valid artifact.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ArtifactError> {
        use ArtifactError::{Hash, Length, Magic, Version};
        if !Self::is_one(bytes) {
            return Err(Magic);
        }
        let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Length)?;
        let number = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
                as usize
        };
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version != VERSION {
            return Err(Version(version));
        }
        let (sealed, seal) = bytes.split_last_chunk::<SEAL_BYTES>().ok_or(Length)?;
        let body = sealed.get(HEADER_BYTES..).ok_or(Length)?;
        let (target, body) = body
            .split_at_checked(usize::from(header[11]))
            .ok_or(Length)?;
        let (component, code) = body.split_at_checked(number(12)).ok_or(Length)?;
        let target = str::from_utf8(target).map_err(|_| Length)?;
        if code.len() != number(16) || target.len() > TARGET_BYTES_MAX {
            return Err(Length);
        }
        let sealer = Sealer::from_wire(header[10]).ok_or(Length)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(&header[20..]);
        let component_hash = ComponentHash(hash);
        let in_cache = component.is_empty() && sealer == Sealer::Installation;
        if !in_cache && ComponentHash::of(component) != component_hash {
            return Err(Hash);
        }
        Ok(Self {
            sealer,
            target,
            component_hash,
            component,
            code,
            sealed,
            seal,
        })
    }

    /// Builds an artifact and seals it with `key`, if there is one.
    #[must_use]
    pub fn write(
        target: &str,
        component_hash: ComponentHash,
        component: &[u8],
        code: &[u8],
        key: Option<&SealKey>,
    ) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("limits are below 4 GiB");
        let mut bytes = Vec::with_capacity(
            HEADER_BYTES + target.len() + component.len() + code.len() + SEAL_BYTES,
        );
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.push(key.map_or(Sealer::Nobody, SealKey::sealer) as u8);
        bytes.push(u8::try_from(target.len()).expect("targets have short names"));
        bytes.extend_from_slice(&length(component).to_le_bytes());
        bytes.extend_from_slice(&length(code).to_le_bytes());
        bytes.extend_from_slice(&component_hash.0);
        bytes.extend_from_slice(target.as_bytes());
        bytes.extend_from_slice(component);
        bytes.extend_from_slice(code);
        let seal = key.map_or([0; SEAL_BYTES], |key| key.seal(&bytes));
        bytes.extend_from_slice(&seal);
        bytes
    }
}

/// Returns the world of a deployed plugin: a component, or an artifact with one inside.
///
/// # Errors
/// Those of [`inspect`], and of an artifact that cannot be read.
pub fn inspect_deployed(content: &[u8], component_bytes_max: usize) -> Result<World, Error> {
    let component = if Artifact::is_one(content) {
        Artifact::read(content).map_err(Error::Artifact)?.component
    } else {
        content
    };
    inspect(component, component_bytes_max).map(|(world, _)| world)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact() -> Vec<u8> {
        Artifact::write(
            "aarch64",
            ComponentHash::of(b"component"),
            b"component",
            b"code",
            None,
        )
    }

    #[test]
    fn artifacts_are_read_as_they_were_written() {
        let bytes = artifact();
        let read = Artifact::read(&bytes).expect("well formed");
        assert_eq!((read.sealer, read.target), (Sealer::Nobody, "aarch64"));
        assert_eq!(
            (read.component, read.code),
            (&b"component"[..], &b"code"[..])
        );
        assert_eq!(read.component_hash, ComponentHash::of(b"component"));
    }

    #[test]
    fn damage_is_found() {
        let check = |change: &dyn Fn(&mut Vec<u8>), expected| {
            let mut bytes = artifact();
            change(&mut bytes);
            assert_eq!(Artifact::read(&bytes).map(|_| ()), Err(expected));
        };
        check(&|bytes| bytes[0] ^= 1, ArtifactError::Magic);
        check(&|bytes| bytes.clear(), ArtifactError::Magic);
        check(&|bytes| bytes[8] = 2, ArtifactError::Version(2));
        check(&|bytes| bytes[10] = 3, ArtifactError::Length);
        check(&|bytes| bytes[11] = 255, ArtifactError::Length);
        check(&|bytes| bytes[15] = 255, ArtifactError::Length);
        check(&|bytes| bytes[19] = 255, ArtifactError::Length);
        check(&|bytes| bytes[20] ^= 1, ArtifactError::Hash);
        check(&|bytes| bytes[60] ^= 1, ArtifactError::Hash);
        check(&|bytes| bytes.push(0), ArtifactError::Length);
        // The component may only be absent if the installation sealed the artifact.
        let bytes = Artifact::write("x", ComponentHash::of(b"component"), b"", b"code", None);
        assert_eq!(Artifact::read(&bytes).map(|_| ()), Err(ArtifactError::Hash));
        for length in 0..artifact().len() {
            assert!(
                Artifact::read(&artifact()[..length]).is_err(),
                "cut off at {length}"
            );
        }
    }
}
