//! A value of a plugin's state. Most are a number or two, which need no allocation: the writer's
//! thread lets go of what a filter's thread has allocated, which costs more than the copy.

use std::{fmt, sync::Arc};

/// Bytes of a value that are stored in place, as many as fit beside what tells the two forms apart
/// in the size of two and a half pointers.
const SHORT_BYTES_MAX: usize = 22;

/// The value of a key.
#[derive(Clone)]
pub enum Value {
    Short(u8, [u8; SHORT_BYTES_MAX]),
    Long(Arc<[u8]>),
}

impl Value {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }

    /// Returns the bytes for a call of the plugin. Those of a short value are in `memory`, which is
    /// replaced if it is in use or has another length.
    pub fn shared(&self, memory: &mut Arc<[u8]>) -> Arc<[u8]> {
        if let Self::Long(bytes) = self {
            return Arc::clone(bytes);
        }
        let bytes = self.bytes();
        match Arc::get_mut(memory).filter(|memory| memory.len() == bytes.len()) {
            Some(memory) => memory.copy_from_slice(bytes),
            None => *memory = bytes.into(),
        }
        Arc::clone(memory)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        let mut bytes = [0; SHORT_BYTES_MAX];
        match bytes.get_mut(..value.len()) {
            Some(place) => {
                place.copy_from_slice(value);
                Self::Short(value.len() as u8, bytes)
            }
            None => Self::Long(value.into()),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

/// Values are not shown.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.bytes().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_each_length_is_as_it_was_put() {
        assert_eq!(size_of::<Option<Value>>(), 24);
        let mut memory = Arc::default();
        for length in 0..60_u8 {
            let bytes: Vec<u8> = (0..length).collect();
            let value = Value::from(&bytes[..]);
            assert_eq!(
                (value.bytes(), &*value.shared(&mut memory)),
                (&bytes[..], &bytes[..])
            );
            let (first, second) = (value.shared(&mut memory), value.shared(&mut memory));
            assert_eq!((&*first, &*second), (&bytes[..], &bytes[..]));
            assert_ne!(value, Value::from(&[&bytes[..], b"x"].concat()[..]));
        }
    }
}
