//! Parser of `sasl.jaas.config`, a login module and its options, with the syntax of Kafka's
//! `JaasConfig`.
//!
//! ```text
//! org.apache.kafka.common.security.plain.PlainLoginModule required
//!     username="alice" password="…";
//! ```
//!
//! Words are letters, digits and `.`, `-`, `_`, `$`. A value is a word or a quoted text with the
//! escapes of Java. `//` and `/* */` are comments.
//!
//! **Invariant:** an error names a position or an option, never a value, which may be a password.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::iter::Peekable;
use core::str::Chars;

use zeroize::Zeroizing;

use super::limits::{JAAS_BYTES_MAX, JAAS_OPTIONS_MAX};

const FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];

/// A login module and its options. `Debug` shows no values.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginModule {
    /// The class, with its package.
    pub class: String,
    options: Vec<(String, Zeroizing<String>)>,
}

impl fmt::Debug for LoginModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginModule")
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

impl LoginModule {
    /// Parses the one login module that a `sasl.jaas.config` has.
    ///
    /// # Errors
    /// The syntax is wrong, or a bound is exceeded.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > JAAS_BYTES_MAX {
            return Err(format!("it has more than {JAAS_BYTES_MAX} bytes"));
        }
        let mut tokens = Tokens {
            letters: text.chars().peekable(),
            // A text that grows would leave copies that are not wiped.
            text: Zeroizing::new(String::with_capacity(text.len())),
        };
        let Token::Text(class) = tokens.next()? else {
            return Err(
                "it begins with no login module; write CLASS required NAME=\"VALUE\";".into(),
            );
        };
        match tokens.next()? {
            Token::Text(flag) if FLAGS.iter().any(|one| flag.eq_ignore_ascii_case(one)) => {}
            _ => return Err("the word after the login module has to be `required`".into()),
        }
        let mut options: Vec<(String, Zeroizing<String>)> = Vec::new();
        loop {
            let name = match tokens.next()? {
                Token::Text(name) => name.to_string(),
                Token::Sign(';') => break,
                Token::End => return Err("it has to end in a semicolon".into()),
                Token::Sign(sign) => {
                    return Err(format!(
                        "`{sign}` stands in place of an option; write NAME=\"VALUE\""
                    ));
                }
            };
            let (Token::Sign('='), Token::Text(value)) = (tokens.next()?, tokens.next()?) else {
                let number = options.len() + 1;
                return Err(format!(
                    "option {number} has no value; write NAME=\"VALUE\""
                ));
            };
            if options.len() == JAAS_OPTIONS_MAX {
                return Err(format!("it has more than {JAAS_OPTIONS_MAX} options"));
            }
            // As in Java's map, the last value of an option counts.
            options.retain(|(other, _)| *other != name);
            options.push((name, value));
        }
        match tokens.next()? {
            Token::End => Ok(Self {
                class: class.to_string(),
                options,
            }),
            _ => Err("it has more than one login module".into()),
        }
    }

    /// Returns the value of an option.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options()
            .find_map(|(other, value)| (other == name).then_some(value))
    }

    /// Returns all options with their values.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns whether the login module has this class name, without its package.
    #[must_use]
    pub fn is(&self, class: &str) -> bool {
        self.class.rsplit('.').next() == Some(class)
    }
}

enum Token {
    /// A word or a quoted text.
    Text(Zeroizing<String>),
    Sign(char),
    End,
}

struct Tokens<'a> {
    letters: Peekable<Chars<'a>>,
    /// The text of the token that is being read.
    text: Zeroizing<String>,
}

impl Tokens<'_> {
    fn next(&mut self) -> Result<Token, String> {
        loop {
            match self.letters.next() {
                None => return Ok(Token::End),
                Some('/') => self.comment()?,
                Some(quote @ ('"' | '\'')) => return self.quoted(quote).map(Token::Text),
                Some(letter) if letter.is_whitespace() => {}
                Some(letter) if is_of_word(letter) => return Ok(Token::Text(self.word(letter))),
                Some(sign) => return Ok(Token::Sign(sign)),
            }
        }
    }

    fn word(&mut self, first: char) -> Zeroizing<String> {
        self.text.push(first);
        while let Some(letter) = self.letters.next_if(|letter| is_of_word(*letter)) {
            self.text.push(letter);
        }
        self.take()
    }

    fn quoted(&mut self, quote: char) -> Result<Zeroizing<String>, String> {
        loop {
            let letter = match self.letters.next() {
                None | Some('\n' | '\r') => {
                    return Err("a quoted text has no closing quote".into());
                }
                Some('\\') => self.escaped()?,
                Some(letter) if letter == quote => return Ok(self.take()),
                Some(letter) => letter,
            };
            self.text.push(letter);
        }
    }

    fn take(&mut self) -> Zeroizing<String> {
        let taken = Zeroizing::new(self.text.as_str().into());
        self.text.clear();
        taken
    }

    /// Reads an escape of Java's `StreamTokenizer`.
    fn escaped(&mut self) -> Result<char, String> {
        let letter = self.letters.next().ok_or("it ends in a backslash")?;
        Ok(match letter {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '0'..='7' => self.octal(letter),
            other => other,
        })
    }

    /// Reads an octal escape: one to three digits, up to `\377`.
    fn octal(&mut self, first: char) -> char {
        let digits_max = if first <= '3' { 3 } else { 2 };
        let mut code = first.to_digit(8).unwrap_or_default();
        for _ in 1..digits_max {
            let digit = self.letters.next_if(|letter| letter.is_digit(8));
            let Some(digit) = digit.and_then(|letter| letter.to_digit(8)) else {
                break;
            };
            code = code * 8 + digit;
        }
        char::from_u32(code).unwrap_or_default()
    }

    /// Skips a comment whose first slash was read.
    fn comment(&mut self) -> Result<(), String> {
        match self.letters.next() {
            Some('*') => {
                let mut before = ' ';
                for letter in self.letters.by_ref() {
                    if (before, letter) == ('*', '/') {
                        return Ok(());
                    }
                    before = letter;
                }
                Err("a comment has no end".into())
            }
            // `//`; as in Java, a single slash begins a comment too.
            Some('\n') | None => Ok(()),
            Some(_) => {
                self.letters.by_ref().find(|letter| *letter == '\n');
                Ok(())
            }
        }
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | '$') || letter >= '\u{a0}'
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";

    fn parse(options: &str) -> Result<LoginModule, String> {
        LoginModule::parse(&format!("{PLAIN} required {options}"))
    }

    #[test]
    fn options_are_read_as_java_reads_them() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let module = parse(text).unwrap();
            assert_eq!(module.options().collect::<Vec<_>>(), expected, "{text}");
            assert_eq!(module.class, PLAIN);
            assert!(module.is("PlainLoginModule") && !module.is("ScramLoginModule"));
        };
        check(";", &[]);
        check(
            "username=\"alice\" password=\"a b;c=d\";",
            &[("username", "alice"), ("password", "a b;c=d")],
        );
        check("username = alice-1.x_$ ;", &[("username", "alice-1.x_$")]);
        check("a='it\"s' b=\"it's\";", &[("a", "it\"s"), ("b", "it's")]);
        check(r#"a="\"\\\n\101\3778\x" ;"#, &[("a", "\"\\\nA\u{ff}8x")]);
        check("// note\n a=b /* c=d; */;", &[("a", "b")]);
        check("a=b a=c;", &[("a", "c")]);
        check("a=\"pässwörd 密\";", &[("a", "pässwörd 密")]);
        check("a=\"\";", &[("a", "")]);
    }

    #[test]
    fn the_flag_may_be_any_of_java_s() {
        for flag in FLAGS {
            assert!(LoginModule::parse(&format!("{PLAIN} {flag};")).is_ok());
        }
        assert!(LoginModule::parse(&format!("{PLAIN} REQUIRED;")).is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_without_a_value() {
        let check = |text: &str, part: &str| {
            let why = LoginModule::parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
            assert!(!why.contains("secret"), "{text}: {why}");
        };
        check("", "no login module");
        check("a", "`required`");
        check("a password=\"secret\";", "`required`");
        check("a required", "semicolon");
        check("a required password=\"secret\"", "semicolon");
        check("a required password=\"secret", "closing quote");
        check("a required password=\"sec\nret\";", "closing quote");
        check("a required password;", "option 1 has no value");
        check("a required password=;", "option 1 has no value");
        check("a required password \"secret\";", "option 1 has no value");
        check(
            "a required password=\"my\"secret\"one\";",
            "option 2 has no value",
        );
        check("a required =b;", "`=`");
        check("a required; b required;", "one login module");
        check("a required /* ;", "comment");
        check("a required b=\"\\", "backslash");
        check(&"x".repeat(JAAS_BYTES_MAX + 1), "bytes");
        let many: Vec<String> = (0..=JAAS_OPTIONS_MAX).map(|n| format!("o{n}=x")).collect();
        let many = many.join(" ");
        check(&format!("a required {many};"), "options");
    }

    #[test]
    fn debug_shows_no_value() {
        let module = parse("password=\"secret\";").unwrap();
        assert!(!format!("{module:?}").contains("secret"));
        assert_eq!(module.option("password"), Some("secret"));
        assert_eq!(module.option("username"), None);
    }
}
