//! A password, a token or a key: never shown, and wiped when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// Printed in place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// A text that its `Debug` does not show, and that is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Makes `text` a secret.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the secret itself.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("hunter2".to_owned());
        let shown = format!("{secret} {secret:?} {:?}", Some(&secret));
        assert_eq!(shown, "(hidden) (hidden) Some((hidden))");
        assert_eq!(secret.text(), "hunter2");
    }
}
