//! JSON values to store: those that are known to break servers, and random ones.

use std::fmt::Write;

use fastrand::Rng;

/// Who has to keep a value as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Every server.
    OfAll,
    /// One that keeps the text of a value; the original, in Python, refuses or rounds it.
    OfExact,
    /// The same, unless it refuses the value.
    OrRefused,
}

/// A value as JSON text, and what it is.
pub(super) const VALUES: &[(&str, &str, Asked)] = &[
    ("null", "null", Asked::OfAll),
    ("true", "true", Asked::OfAll),
    ("false", "false", Asked::OfAll),
    ("zero", "0", Asked::OfAll),
    ("a negative number", "-1", Asked::OfAll),
    ("a fraction", "0.1", Asked::OfAll),
    ("a fraction without exact double", "0.30000000000000004", Asked::OfAll),
    ("a number with exponent", "1.5e-7", Asked::OfAll),
    ("the largest double", "1.7976931348623157e308", Asked::OfAll),
    ("the smallest double", "5e-324", Asked::OfAll),
    ("2^31", "2147483648", Asked::OfAll),
    ("2^32", "4294967296", Asked::OfAll),
    ("2^53", "9007199254740992", Asked::OfAll),
    ("2^53+1", "9007199254740993", Asked::OfAll),
    ("-(2^53+1)", "-9007199254740993", Asked::OfAll),
    ("2^63-1", "9223372036854775807", Asked::OfAll),
    ("2^63", "9223372036854775808", Asked::OfAll),
    ("-2^63", "-9223372036854775808", Asked::OfAll),
    ("2^64-1", "18446744073709551615", Asked::OfAll),
    ("2^64", "18446744073709551616", Asked::OfAll),
    ("30 digits", "123456789012345678901234567890", Asked::OfAll),
    ("30 digits of a fraction", "3.141592653589793238462643383279", Asked::OfExact),
    ("past the largest double", "1e400", Asked::OfExact),
    ("below the smallest double", "1e-400", Asked::OfExact),
    ("an empty text", r#""""#, Asked::OfAll),
    ("a text of one space", r#"" ""#, Asked::OfAll),
    ("spaces at both ends", r#""  a  ""#, Asked::OfAll),
    ("escapes", r#""\" \\ \/ \b \f \n \r \t""#, Asked::OfAll),
    ("escaped controls", r#""\u0001\u001f\u007f\u0085\u2028\u2029""#, Asked::OfAll),
    ("a line break of two", r#""a\r\nb""#, Asked::OfAll),
    ("half a surrogate pair", r#""\ud800""#, Asked::OrRefused),
    ("the other half", r#""a\udc00b""#, Asked::OrRefused),
    ("halves in the wrong order", r#""\udc00\ud800""#, Asked::OrRefused),
    ("half a pair in a name", r#"[{"\ud83e":"\ud83e\udd80\ud83e"}]"#, Asked::OrRefused),
    ("an escaped NUL", r#""a\u0000b""#, Asked::OfAll),
    ("an escaped letter", r#""\u00e9""#, Asked::OfAll),
    ("a composed letter", "\"\u{e9}\"", Asked::OfAll),
    ("a decomposed letter", "\"e\u{301}\"", Asked::OfAll),
    ("letters that normalize", "\"\u{fb01} \u{212b} \u{1e9b}\u{323}\"", Asked::OfAll),
    ("an astral character", "\"🦀\"", Asked::OfAll),
    ("an escaped astral character", r#""\ud83e\udd80""#, Asked::OfAll),
    ("joined characters", "\"👩‍👩‍👧‍👦 🇫🇷\"", Asked::OfAll),
    ("right to left", "\"\u{202e}שלום\u{202c} مرحبا\"", Asked::OfAll),
    ("a byte order mark", "\"\u{feff}a\"", Asked::OfAll),
    ("noncharacters", "\"\u{ffff}\u{fdd0}\u{10ffff}\"", Asked::OfAll),
    ("a replacement character", "\"\u{fffd}\"", Asked::OfAll),
    ("markup", r#""<script>&amp;'\"</script>""#, Asked::OfAll),
    ("what looks like a number", r#""00123""#, Asked::OfAll),
    ("what looks like null", r#""null""#, Asked::OfAll),
    ("JSON in a text", r#""{\"a\":[1,2]}""#, Asked::OfAll),
    ("percent and plus", r#""100%25+%zz""#, Asked::OfAll),
    ("an empty array", "[]", Asked::OfAll),
    ("an empty object", "{}", Asked::OfAll),
    ("an array of all kinds", r#"[null,true,0,-0.5,"a",[],{}]"#, Asked::OfAll),
    ("nested empty arrays", "[[],[[]],[[],[[]]]]", Asked::OfAll),
    ("an object of all kinds", r#"{"a":null,"b":true,"c":1,"d":"x","e":[],"f":{}}"#, Asked::OfAll),
    ("odd names", r#"{"":0," ":1,"a.b":2,"__proto__":3,"$ref":4,"é":5,"\n":6}"#, Asked::OfAll),
    (
        "the members of an answer",
        r#"{"success":false,"key":"x","value":{"value":1}}"#,
        Asked::OfAll,
    ),
    ("white space", " { \"a\" : [ 1 , 2 ] ,\n\t\"b\" : { } } ", Asked::OfAll),
];

/// The lengths of texts to store; servers like to cut at powers of two.
pub(super) const LENGTHS: &[usize] = &[
    1, 127, 128, 255, 256, 257, 1_023, 1_024, 1_025, 4_095, 4_096, 4_097, 8_191, 8_193, 16_384,
    32_767, 65_535, 65_536, 65_537, 131_072, 262_145, 524_288, 1_000_000,
];

/// The lengths of texts that are stored within arrays and objects, and as names in them.
pub(super) const NESTED_LENGTHS: &[usize] = &[255, 256, 1_025, 4_095, 4_096, 4_097, 16_385, 65_537];
/// How many items large arrays and objects have.
pub(super) const SIZES: &[usize] = &[255, 257, 1_001, 10_000];
/// Escapes that mean more when they stand together.
const ESCAPES: &[&str] = &[
    r"\b", r"\t", r"\n", r"\f", r"\r", r#"\""#, r"\\", r"\/", r"\u0000", r"\u000b", r"\u001b",
    r"\u0085", r"\u2028", r"\ufeff",
];

/// For each escape an array of texts in which it is followed by each of them.
pub(super) fn pairs_of_escapes() -> Vec<String> {
    let pairs = |first: &&str| {
        let texts: Vec<_> = ESCAPES.iter().map(|second| format!("\"a{first}{second}b\"")).collect();
        format!("[{}]", texts.join(","))
    };
    ESCAPES.iter().map(pairs).collect()
}

/// A text of this many bytes that is the same nowhere, so that a piece that is missing or twice
/// shows.
pub(super) fn long_text(rng: &mut Rng, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 2);
    text.push('"');
    text.extend(std::iter::repeat_with(|| rng.alphanumeric()).take(bytes));
    text.push('"');
    text
}

/// Long texts as an item, as a member, and as the name of one.
pub(super) fn nested_text(rng: &mut Rng, bytes: usize) -> String {
    let [item, member, name] = [(); 3].map(|()| long_text(rng, bytes));
    format!("[{item},{{\"member\":{member},{name}:[]}}]")
}

/// An array of this many items, each of them another.
pub(super) fn array(items: usize) -> String {
    let items: Vec<_> = (0..items).map(|number| number.to_string()).collect();
    format!("[{}]", items.join(","))
}

/// An object of this many members, each of them another.
pub(super) fn object(members: usize) -> String {
    let members: Vec<_> = (0..members).map(|number| format!("\"m{number}\":{number}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Arrays in arrays.
pub(super) fn nested(depth: usize) -> String {
    ["[".repeat(depth), "1".to_owned(), "]".repeat(depth)].concat()
}

/// A random value, nested at most this deep. Numbers have at most 15 digits, which every server
/// can keep.
pub(super) fn random(rng: &mut Rng, depth: usize) -> String {
    match rng.u8(..if depth == 0 { 6 } else { 8 }) {
        0 => ["null", "true", "false"][rng.usize(..3)].to_owned(),
        1 => rng.i32(..).to_string(),
        2 => rng.i64(-999_999_999_999_999..=999_999_999_999_999).to_string(),
        3 => format!("{}.{:06}", rng.i32(-99_999..99_999), rng.u32(..1_000_000)),
        4 | 5 => text(rng),
        6 => {
            let items: Vec<_> = (0..rng.usize(..5)).map(|_| random(rng, depth - 1)).collect();
            format!("[{}]", items.join(","))
        }
        _ => {
            let mut members = Vec::new();
            for number in 0..rng.usize(..5) {
                members.push(format!("\"{number}{}", &text(rng)[1..]));
                let value = random(rng, depth - 1);
                members.last_mut().map(|member| write!(member, ":{value}"));
            }
            format!("{{{}}}", members.join(","))
        }
    }
}

/// A random text as JSON, of characters of one to four bytes and of escapes.
fn text(rng: &mut Rng) -> String {
    let mut text = String::from("\"");
    for _ in 0..rng.usize(..24) {
        match rng.u8(..8) {
            0 => text += &["\\u", &format!("{:04x}", rng.u32(1..0xd800))].concat(),
            1 => text.push_str(["\\n", "\\\"", "\\\\", "\\t", "\\/"][rng.usize(..5)]),
            2 => text.push(rng.char('\u{80}'..'\u{7ff}')),
            3 => text.push(rng.char('\u{800}'..'\u{ffff}')),
            4 => text.push(rng.char('\u{10000}'..'\u{10ffff}')),
            _ => text.push(rng.alphanumeric()),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact;

    #[test]
    fn every_value_is_json() {
        for (what, value, _) in VALUES {
            assert!(exact::same(value, value), "{what}");
        }
        let mut rng = Rng::with_seed(7);
        for _ in 0..2_000 {
            let value = random(&mut rng, 4);
            assert!(exact::same(&value, &value), "{value}");
        }
        for value in pairs_of_escapes() {
            assert!(exact::same(&value, &value), "{value}");
        }
        for value in [nested(60), array(10_000), object(10_000), nested_text(&mut rng, 65_537)] {
            assert!(exact::same(&value, &value), "{value}");
        }
        assert_eq!(long_text(&mut rng, 1_000).len(), 1_002);
    }
}
