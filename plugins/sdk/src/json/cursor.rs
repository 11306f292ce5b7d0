//! A place in a JSON text. Everything that the cursor passes is checked (RFC 8259).

use core::{fmt, num::NonZeroUsize, ops::Range};

/// Nesting of the values that [`Cursor::value`] passes in one step, as many as `u64` has bits.
const DEPTH_MAX: u32 = u64::BITS;

/// A place in a JSON text, before a value.
///
/// ```
/// use sedge_plugin_sdk::json::{Cursor, Malformed};
///
/// let text = r#"{"sensor": "roof", "readings": [21, 22]}"#;
/// let mut readings = 0;
/// let mut cursor = Cursor::new(text);
/// cursor.members(|cursor, name| -> Result<(), Malformed> {
///     if name.is("readings") {
///         cursor.elements(|cursor, _| {
///             readings += 1;
///             cursor.value().map(|_| ())
///         })
///     } else {
///         cursor.value().map(|_| ())
///     }
/// })?;
/// cursor.end()?;
/// assert_eq!(readings, 2);
/// # Ok::<(), Malformed>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    /// UTF-8.
    text: &'a [u8],
    at: usize,
}

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// The text is not JSON, or nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// One more than the byte of the text: a result without a value then fits in a register.
    after: NonZeroUsize,
}

/// A name or a string between its quotation marks, with its escapes.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    raw: &'a [u8],
    has_escapes: bool,
}

impl<'a> Cursor<'a> {
    /// Creates a cursor before the value of a text.
    pub fn new(text: &'a str) -> Self {
        let text = text.as_bytes();
        Self { text, at: 0 }
    }

    /// Creates a cursor before the value of a text in UTF-8. `None` if the bytes are none.
    pub fn over(bytes: &'a [u8]) -> Option<Self> {
        let is_text = is_ascii(bytes) || core::str::from_utf8(bytes).is_ok();
        is_text.then_some(Self { text: bytes, at: 0 })
    }

    /// Returns the kind of the next value, which stays the next.
    ///
    /// # Errors
    /// There is no value.
    pub fn kind(&mut self) -> Result<Kind, Malformed> {
        self.at = space(self.bytes(), self.at);
        kind_at(self.bytes(), self.at)
    }

    /// Passes a value. Returns its place.
    ///
    /// # Errors
    /// The value is malformed.
    pub fn value(&mut self) -> Result<Range<usize>, Malformed> {
        // The place is a local variable, which stays in a register.
        let bytes = self.bytes();
        let start = space(bytes, self.at);
        let mut at = start;
        // The arrays and objects that are open, the innermost in the lowest bit: 1 is an object.
        let (mut depth, mut objects) = (0, 0_u64);
        loop {
            match kind_at(bytes, at)? {
                kind @ (Kind::Object | Kind::Array) => {
                    let is_object = kind == Kind::Object;
                    at = space(bytes, at + 1);
                    if byte(bytes, at) != closing(is_object) {
                        if depth == DEPTH_MAX {
                            return Err(Malformed::at(at));
                        }
                        depth += 1;
                        objects = objects << 1 | u64::from(is_object);
                        if is_object {
                            at = after_name(bytes, at)?;
                        }
                        continue;
                    }
                    at += 1;
                }
                Kind::String => at = string(bytes, at).place()?,
                Kind::Number => at = number(bytes, at)?,
                Kind::Bool | Kind::Null => at = word(bytes, at)?,
            }
            // After a value: the next one, or the end of what holds it.
            loop {
                if depth == 0 {
                    self.at = at;
                    return Ok(start..at);
                }
                at = space(bytes, at);
                let is_object = objects & 1 == 1;
                let next = byte(bytes, at);
                if next == b',' {
                    at = space(bytes, at + 1);
                    if is_object {
                        at = after_name(bytes, at)?;
                    }
                    break;
                }
                if next != closing(is_object) {
                    return Err(Malformed::at(at));
                }
                at += 1;
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    /// Passes a value. Returns its text.
    ///
    /// # Errors
    /// The value is malformed.
    pub fn raw(&mut self) -> Result<&'a str, Malformed> {
        let place = self.value()?;
        let raw = self.text.get(place).unwrap_or_default();
        // A value begins and ends with an ASCII character.
        Ok(core::str::from_utf8(raw).unwrap_or_default())
    }

    /// Passes a string. Returns what is between its quotation marks.
    ///
    /// # Errors
    /// The next value is not a string, or malformed.
    pub fn text(&mut self) -> Result<Text<'a>, Malformed> {
        let start = space(self.bytes(), self.at);
        let passed = string(self.bytes(), start);
        let end = passed.place()?;
        self.at = end;
        Ok(Text {
            raw: self.bytes().get(start + 1..end - 1).unwrap_or_default(),
            has_escapes: passed.has_escapes(),
        })
    }

    /// Passes an object. Calls `each` with the name of each member; `each` has to pass the value.
    ///
    /// # Errors
    /// The next value is not an object, or malformed; and the errors of `each`.
    pub fn members<E: From<Malformed>>(
        &mut self,
        mut each: impl FnMut(&mut Self, Text<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'{')?;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let name = self.name()?;
            each(self, name)?;
            if self.is_last(b'}')? {
                return Ok(());
            }
        }
    }

    /// Passes an array. Calls `each` with the index of each element; `each` has to pass the value.
    ///
    /// # Errors
    /// The next value is not an array, or malformed; and the errors of `each`.
    pub fn elements<E: From<Malformed>>(
        &mut self,
        mut each: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'[')?;
        if self.eat(b']') {
            return Ok(());
        }
        let mut index = 0;
        loop {
            each(self, index)?;
            index += 1;
            if self.is_last(b']')? {
                return Ok(());
            }
        }
    }

    /// Checks that nothing follows the value.
    ///
    /// # Errors
    /// Something does.
    pub fn end(&mut self) -> Result<(), Malformed> {
        self.at = space(self.bytes(), self.at);
        if self.at == self.text.len() {
            return Ok(());
        }
        Err(Malformed::at(self.at))
    }

    fn bytes(&self) -> &'a [u8] {
        self.text
    }

    fn open(&mut self, bracket: u8) -> Result<(), Malformed> {
        let at = space(self.bytes(), self.at);
        self.at = expect(self.bytes(), at, bracket)?;
        self.at = space(self.bytes(), self.at);
        Ok(())
    }

    fn is_last(&mut self, bracket: u8) -> Result<bool, Malformed> {
        self.at = space(self.bytes(), self.at);
        let is_last = !self.eat(b',');
        if is_last && !self.eat(bracket) {
            return Err(Malformed::at(self.at));
        }
        Ok(is_last)
    }

    /// Passes a member's name and the colon.
    fn name(&mut self) -> Result<Text<'a>, Malformed> {
        let name = self.text()?;
        let at = space(self.bytes(), self.at);
        self.at = expect(self.bytes(), at, b':')?;
        Ok(name)
    }

    fn eat(&mut self, wanted: u8) -> bool {
        let is_next = byte(self.bytes(), self.at) == wanted;
        self.at += usize::from(is_next);
        is_next
    }
}

/// Returns whether all bytes are ASCII. Looks at 32 bytes per step, most often at all of them.
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (steps, rest) = bytes.as_chunks::<32>();
    let all = steps.iter().fold(0, |all, step| {
        let (words, _) = step.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        all | words.fold(0, |all, word| all | word)
    });
    all & HIGH == 0 && rest.is_ascii()
}

// The functions below take a place and return the place after what they passed.

/// Returns a byte; after the end, a zero, which JSON has nowhere.
#[inline]
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

#[inline]
fn space(bytes: &[u8], at: usize) -> usize {
    // Most often there is none, and a loop costs a look at the call's deadline.
    if byte(bytes, at) > b' ' {
        return at;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    at + rest.iter().take_while(|byte| is_space(byte)).count()
}

fn expect(bytes: &[u8], at: usize, wanted: u8) -> Result<usize, Malformed> {
    if byte(bytes, at) == wanted {
        return Ok(at + 1);
    }
    Err(Malformed::at(at))
}

fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

fn kind_at(bytes: &[u8], at: usize) -> Result<Kind, Malformed> {
    Ok(match byte(bytes, at) {
        b'{' => Kind::Object,
        b'[' => Kind::Array,
        b'"' => Kind::String,
        b'-' | b'0'..=b'9' => Kind::Number,
        b't' | b'f' => Kind::Bool,
        b'n' => Kind::Null,
        _ => return Err(Malformed::at(at)),
    })
}

/// Passes a name, the colon and the space around it.
fn after_name(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let at = space(bytes, string(bytes, at).place()?);
    Ok(space(bytes, expect(bytes, at, b':')?))
}

/// What [`string`] returns in one number: WebAssembly returns two through memory, which costs more
/// than most strings.
#[derive(Clone, Copy)]
struct Passed(u64);

impl Passed {
    const MALFORMED: u64 = 1 << 63;
    const HAS_ESCAPES: u64 = 1 << 62;

    fn malformed(at: usize) -> Self {
        Self(at as u64 | Self::MALFORMED)
    }

    #[inline]
    fn place(self) -> Result<usize, Malformed> {
        let at = (self.0 & !(Self::MALFORMED | Self::HAS_ESCAPES)) as usize;
        if self.0 & Self::MALFORMED == 0 {
            return Ok(at);
        }
        Err(Malformed::at(at))
    }

    fn has_escapes(self) -> bool {
        self.0 & Self::HAS_ESCAPES != 0
    }
}

/// Passes a string.
fn string(bytes: &[u8], at: usize) -> Passed {
    if byte(bytes, at) != b'"' {
        return Passed::malformed(at);
    }
    let mut at = at + 1;
    let mut escapes = 0;
    loop {
        at += plain(bytes.get(at..).unwrap_or_default());
        match byte(bytes, at) {
            b'"' => return Passed((at + 1) as u64 | escapes),
            b'\\' => {
                escapes = Passed::HAS_ESCAPES;
                at += 1;
                match byte(bytes, at) {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 1,
                    b'u' => {
                        let digits = bytes.get(at + 1..at + 5);
                        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                            return Passed::malformed(at);
                        }
                        at += 5;
                    }
                    _ => return Passed::malformed(at),
                }
            }
            _ => return Passed::malformed(at),
        }
    }
}

fn number(bytes: &[u8], mut at: usize) -> Result<usize, Malformed> {
    if byte(bytes, at) == b'-' {
        at += 1;
    }
    if byte(bytes, at) == b'0' {
        at += 1;
    } else {
        at = digits(bytes, at)?;
    }
    if byte(bytes, at) == b'.' {
        at = digits(bytes, at + 1)?;
    }
    if let b'e' | b'E' = byte(bytes, at) {
        at += 1;
        if let b'+' | b'-' = byte(bytes, at) {
            at += 1;
        }
        at = digits(bytes, at)?;
    }
    Ok(at)
}

fn digits(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut at = start;
    while byte(bytes, at).is_ascii_digit() {
        at += 1;
    }
    if at == start {
        return Err(Malformed::at(at));
    }
    Ok(at)
}

fn word(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut words = ["true", "false", "null"].into_iter();
    let word = words.find(|word| rest.starts_with(word.as_bytes()));
    Ok(at + word.ok_or(Malformed::at(at))?.len())
}

/// Returns the number of bytes before the first quotation mark, backslash or control character.
/// Compares eight bytes per step.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found =
            zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64)) | control;
        if found != 0 {
            // The lowest one found is a true one.
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let ends = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    let in_rest = rest.iter().position(ends).unwrap_or(rest.len());
    words.len() * 8 + in_rest
}

impl Malformed {
    fn at(at: usize) -> Self {
        Self {
            after: NonZeroUsize::MIN.saturating_add(at),
        }
    }

    /// Returns the byte of the text.
    pub fn byte(self) -> usize {
        self.after.get() - 1
    }
}

impl<'a> Text<'a> {
    /// Returns whether the text is `other`, once its escapes are resolved.
    pub fn is(self, other: &str) -> bool {
        if self.has_escapes {
            return self.chars().eq(other.chars());
        }
        self.raw == other.as_bytes()
    }

    /// Returns the characters, with escapes resolved. Half of a surrogate pair is U+FFFD.
    pub fn chars(self) -> impl Iterator<Item = char> + use<'a> {
        let text = core::str::from_utf8(self.raw).expect("quotation marks end characters");
        let mut rest = text.chars();
        core::iter::from_fn(move || {
            let plain = rest.next()?;
            if plain != '\\' {
                return Some(plain);
            }
            Some(match rest.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => unicode(&mut rest),
                same => same,
            })
        })
    }
}

/// Reads the four digits of an escape, and the other half of a surrogate pair.
fn unicode(rest: &mut core::str::Chars<'_>) -> char {
    let high = hex(rest.as_str());
    let after = rest.as_str().get(4..).unwrap_or_default();
    *rest = after.chars();
    if let 0xd800..=0xdbff = high
        && let Some(second) = after.strip_prefix("\\u")
        && let low @ 0xdc00..=0xdfff = hex(second)
    {
        *rest = second.get(4..).unwrap_or_default().chars();
        return char::from_u32(0x10000 + ((high - 0xd800) << 10 | (low - 0xdc00)))
            .unwrap_or(char::REPLACEMENT_CHARACTER);
    }
    char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn hex(text: &str) -> u32 {
    text.get(..4)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(0)
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.chars().try_for_each(|c| f.write_char(c))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed JSON at byte {}", self.byte())
    }
}

impl core::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString as _, vec::Vec};

    fn is_json(text: &str) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(text);
        cursor.value()?;
        cursor.end()
    }

    #[test]
    fn json_is_passed_and_nothing_else() {
        for text in [
            "null",
            " true ",
            "-0.5e+10",
            r#""""#,
            r#""a long text with \"quotes\", \\ and \u00e9 é""#,
            "[]",
            "{}",
            "[1,[2,[3]],{}]",
            r#"{"a":{"b":[1,{"c":null}]},"d":"e"}"#,
            "\n{ \"a\" :\t1 , \"b\" : [ ] }\r\n",
        ] {
            assert_eq!(is_json(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "nul",
            "tru",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "'a'",
            "\"a",
            "\"\n\"",
            r#""\x""#,
            r#""\u12g4""#,
            "[",
            "[1",
            "[1,]",
            "[1 2]",
            "[}",
            "{]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1]",
            "1 2",
            "{}{}",
            "\u{feff}1",
        ] {
            assert!(is_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        // An empty array opens no level.
        assert_eq!(is_json(&nested(DEPTH_MAX as usize + 1)), Ok(()));
        assert!(is_json(&nested(DEPTH_MAX as usize + 2)).is_err());
    }

    #[test]
    fn every_end_of_a_plain_text_is_found_at_each_place() {
        for length in 0..20 {
            for end in ["\"", "\\", "\n", "\u{1f}", ""] {
                let text = format!("{}{end} \"\\", "é".repeat(length));
                let text = if end.is_empty() {
                    "é".repeat(length)
                } else {
                    text
                };
                assert_eq!(plain(text.as_bytes()), length * 2, "{text:?}");
            }
        }
    }

    #[test]
    fn escapes_do_not_hide_a_name() {
        let text = |raw: &'static str| Text {
            raw: raw.as_bytes(),
            has_escapes: raw.contains('\\'),
        };
        assert!(text("email").is("email"));
        assert!(text(r"e\u006dail").is("email"));
        assert!(text(r"\ud83d\ude00").is("😀"));
        assert!(text(r"a\/b\n").is("a/b\n"));
        assert!(text(r"\ud83d").is("\u{fffd}"));
        assert!(text(r"\ud83d\u0041").is("\u{fffd}A"));
        assert!(!text(r"emai\u006d").is("email"));
        assert_eq!(text(r"\u00e9\t").to_string(), "é\t");
    }

    #[test]
    fn members_and_elements_are_told() {
        let mut seen = Vec::new();
        let mut cursor = Cursor::new(r#"{"a":1,"b":[true,"x"]}"#);
        let walked: Result<(), Malformed> = cursor.members(|cursor, name| {
            if cursor.kind()? == Kind::Array {
                return cursor.elements(|cursor, index| {
                    seen.push(format!("{index}={}", cursor.raw()?));
                    Ok(())
                });
            }
            seen.push(format!("{name}={}", cursor.raw()?));
            Ok(())
        });
        assert_eq!(walked, Ok(()));
        assert_eq!(seen, ["a=1", "0=true", "1=\"x\""]);
    }
}
