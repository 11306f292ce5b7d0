//! One request, sent in one version.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sedge_protocol::kafka::KafkaString;
use sedge_tests::wire::Connection;

type Ask = Box<dyn Fn(&mut Connection) -> String>;

/// One request; see the module.
pub struct Case {
    pub name: String,
    ask: Ask,
}

impl Case {
    pub fn new(name: &str, version: i16, ask: Ask) -> Self {
        Self {
            name: format!("{name} v{version}"),
            ask,
        }
    }

    /// Sends the request and returns the response as text, a field a line. Returns `None` if the
    /// broker closes the connection.
    pub fn ask(&self, connection: &mut Connection) -> Option<String> {
        catch_unwind(AssertUnwindSafe(|| (self.ask)(connection))).ok()
    }
}

pub fn text(text: &str) -> KafkaString {
    KafkaString::from(text.to_owned())
}

/// Adds a request in these versions: `case!(cases, "name", KEY VERSIONS, |version| MESSAGE =>
/// RESPONSE)`.
macro_rules! case {
    ($cases:expr, $name:expr, $key:ident $versions:expr, $message:expr => $response:ty) => {
        for version in $versions {
            let build = $message;
            let message = build(version);
            // A message that this version cannot express would be no request to either broker.
            let encoded = message.write(&mut sedge_protocol::BytesMut::new(), version);
            encoded.unwrap_or_else(|error| panic!("{} v{version}: {error}", $name));
            let ask = move |connection: &mut sedge_tests::wire::Connection| {
                let response = sedge_tests::wire::typed::ask(
                    connection,
                    (sedge_protocol::kafka::generated::ApiKey::$key, version),
                    |buffer, version| message.write(buffer, version),
                    <$response>::read,
                );
                format!("{response:#?}")
            };
            $cases.push($crate::case::Case::new($name, version, Box::new(ask)));
        }
    };
}

pub(crate) use case;
