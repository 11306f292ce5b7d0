//! Tests a broker's answers about ACLs and quotas if none are configured.

use super::{Asked, Decoder, Encoder, error, key};

const SECURITY_DISABLED: i16 = 54;
const ANY: i8 = 1;
const TOPIC: i8 = 2;
const LITERAL: i8 = 3;
const READ: i8 = 3;
const ALLOW: i8 = 3;

pub fn acls(asked: &mut Asked) {
    let filter = || {
        let body = Encoder::default().i8(ANY).string(None).i8(ANY);
        body.string(None).string(None).i8(ANY).i8(ANY)
    };
    let reply = asked.connection.ask(key::DESCRIBE_ACLS, 1, &filter().0);
    let mut d = Decoder(&reply);
    d.i32();
    assert_eq!(d.i16(), SECURITY_DISABLED, "{:?}", d.string());
    let acl = Encoder::default().i32(1).i8(TOPIC).string("t").i8(LITERAL);
    let acl = acl.string("User:a").string("*").i8(READ).i8(ALLOW).0;
    let deletion = [Encoder::default().i32(1).0, filter().0].concat();
    for (key, body) in [(key::CREATE_ACLS, acl), (key::DELETE_ACLS, deletion)] {
        let reply = asked.connection.ask(key, 1, &body);
        let mut d = Decoder(&reply);
        d.i32();
        assert_eq!(d.i32(), 1, "a result for each of {key}");
        assert_eq!(d.i16(), SECURITY_DISABLED, "{key}");
    }
}

pub fn quotas(asked: &mut Asked) {
    let body = Encoder::default().i32(0).i8(0).0;
    let reply = asked.connection.ask(key::DESCRIBE_CLIENT_QUOTAS, 0, &body);
    let mut d = Decoder(&reply);
    d.i32();
    assert_eq!(d.i16(), error::NONE);
    d.string();
    assert_eq!(d.i32(), 0, "no quotas");
}
