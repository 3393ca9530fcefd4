//! Hashes of text and bytes.

use std::borrow::Cow;
use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use super::binary::bytes;
use super::{ANY, Args, Fault, Function, OBJECT, TEXT, example, maybe, one, string};
use crate::mapping::functions::blob::encode;
use crate::schema::Types;

const SOLID: Types = ANY.without(Types::NULL);
const KEY: Types = TEXT.or(OBJECT);

pub(super) const ROWS: &[Function] = &[
    Function {
        name: "hash",
        family: "Hash",
        params: &[one("value", SOLID), maybe("algorithm", TEXT), maybe("encoding", TEXT)],
        result: TEXT,
        text: "A hash of the value's text, or of a content envelope's bytes: `sha256` (the usual one), `sha512` or `md5`; as `hex` (the usual one) or `base64`.",
        example: example(r#"{{hash "hello" "md5"}}"#, "{}", r#""5d41402abc4b2a76b9719d911017c592""#),
        infer: None,
        run: hash,
    },
    Function {
        name: "sha256",
        family: "Hash",
        params: &[one("value", SOLID), maybe("encoding", TEXT)],
        result: TEXT,
        text: "The SHA-256 of the value's text, as `hex` (the usual one) or `base64`.",
        example: example(
            r#"{{sha256 "hello"}}"#,
            "{}",
            r#""2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824""#,
        ),
        infer: None,
        run: |args| written(args, 1, &Sha256::digest(bytes(&*args.deep(0)?))),
    },
    Function {
        name: "md5",
        family: "Hash",
        params: &[one("value", SOLID), maybe("encoding", TEXT)],
        result: TEXT,
        text: "The MD5 of the value's text, as `hex` (the usual one) or `base64`: for services that want it, not for secrets.",
        example: example(r#"{{md5 "hello" "base64"}}"#, "{}", r#""XUFAKrxLKna5cZ2REBfFkg==""#),
        infer: None,
        run: |args| written(args, 1, &md5::Md5::digest(bytes(&*args.deep(0)?))),
    },
    Function {
        name: "hmac",
        family: "Hash",
        params: &[one("value", SOLID), one("key", KEY), maybe("encoding", TEXT)],
        result: TEXT,
        text: "The HMAC-SHA-256 of the value's text under a key, as `hex` (the usual one) or `base64`.",
        example: example(
            r#"{{hmac "what do ya want for nothing?" "Jefe"}}"#,
            "{}",
            r#""5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843""#,
        ),
        infer: None,
        run: |args| {
            let key = bytes(&*args.deep(1)?);
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| args.wrong(1, "can't be a key"))?;
            mac.update(&bytes(&*args.deep(0)?));
            written(args, 2, &mac.finalize().into_bytes())
        },
    },
];

fn hash(args: Args<'_>) -> Result<Cow<'_, Value>, Fault> {
    let value = bytes(&*args.deep(0)?);
    let algorithm = args.given_text(1)?.unwrap_or(Cow::Borrowed("sha256"));
    match algorithm.to_ascii_lowercase().replace('-', "").as_str() {
        "sha256" => written(args, 2, &Sha256::digest(value)),
        "sha512" => written(args, 2, &Sha512::digest(value)),
        "md5" => written(args, 2, &md5::Md5::digest(value)),
        _ => Err(args.wrong(1, "is no algorithm that is known; they are sha256, sha512 and md5")),
    }
}

fn written<'e>(args: Args<'e>, encoding: usize, digest: &[u8]) -> Result<Cow<'e, Value>, Fault> {
    let name = args.given_text(encoding)?.unwrap_or(Cow::Borrowed("hex"));
    if name.eq_ignore_ascii_case("base64") {
        return string(encode(digest));
    }
    if !name.eq_ignore_ascii_case("hex") {
        return Err(args.wrong(encoding, "is neither `hex` nor `base64`"));
    }
    string(digest.iter().fold(String::new(), |mut out, byte| {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    }))
}
