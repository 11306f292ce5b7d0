//! Slot images of the tests: that of a board, and changed ones.

use std::fs;
use std::path::PathBuf;

use ring::digest::{SHA256, digest};

use super::device::{Device, images};
use super::operator::sign;

/// A slot image in its parts.
pub struct SlotImage {
    /// Lines of the head, but for those of parts.
    lines: Vec<String>,
    parts: Vec<(String, Vec<u8>)>,
}

impl SlotImage {
    /// The board's, as made before the tests.
    pub fn of(board: &str) -> Self {
        let path = images().join(format!("{board}.slot"));
        let bytes = fs::read(&path).expect("the slot image");
        let end = bytes
            .windows(2)
            .position(|two| two == b"\n\n")
            .expect("an empty line");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("the head is text");
        let mut rest = &bytes[end + 2..];
        let (described, lines): (Vec<&str>, Vec<&str>) =
            head.lines().partition(|line| line.starts_with("part="));
        let mut parts = Vec::new();
        for line in described {
            let mut words = line.trim_start_matches("part=").split(' ');
            let name = words.next().expect("a name").to_owned();
            let length = words
                .next()
                .and_then(|word| word.parse().ok())
                .expect("bytes");
            let (part, behind) = rest.split_at(length);
            parts.push((name, part.to_vec()));
            rest = behind;
        }
        assert!(rest.is_empty(), "bytes behind the parts");
        Self {
            lines: lines.into_iter().map(str::to_owned).collect(),
            parts,
        }
    }

    /// Sets a line of the head.
    pub fn with_line(mut self, key: &str, value: &str) -> Self {
        let line = self
            .lines
            .iter_mut()
            .find(|line| line.starts_with(&format!("{key}=")));
        *line.expect("a line of the head") = format!("{key}={value}");
        self
    }

    /// Sets a part.
    pub fn with_part(mut self, name: &str, bytes: &[u8]) -> Self {
        let part = self.parts.iter_mut().find(|(of, _)| of == name);
        part.expect("a part").1 = bytes.to_vec();
        self
    }

    /// Writes the image and signs it with a key of the tests.
    pub fn signed(&self, device: &Device, key: &str) -> PathBuf {
        let mut image = self.lines.join("\n").into_bytes();
        for (name, bytes) in &self.parts {
            let digits = digest(&SHA256, bytes);
            image.extend(format!("\npart={name} {} ", bytes.len()).bytes());
            for byte in digits.as_ref() {
                image.extend(format!("{byte:02x}").bytes());
            }
        }
        image.extend(b"\n\n");
        for (_, bytes) in &self.parts {
            image.extend(bytes);
        }
        let path = device.file("update.slot");
        fs::write(&path, image).expect("a scratch file");
        sign(&path, key);
        path
    }
}
