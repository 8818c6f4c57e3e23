//! A reader of EDN, <https://github.com/edn-format/edn>: what histories have of it, and no more.

pub(super) mod history;

use std::fmt::{self, Display, Formatter};

use super::{ParseError, error};

/// How deep brackets may nest.
const DEPTH_MAX: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edn {
    /// `nil`.
    Nil,
    /// A string.
    Text(String),
    /// A number, keyword, symbol or character, as it is written; whole numbers without what they
    /// can be written with and without.
    Word(String),
    /// A vector or a list.
    List(Vec<Edn>),
    /// A set, as it is written.
    Set(Vec<Edn>),
    /// A map.
    Map(Vec<(Edn, Edn)>),
}

impl Edn {
    /// Reads one value, and nothing after it.
    pub fn read(text: &str) -> Result<Edn, ParseError> {
        let mut reader = Reader::new(text);
        let Some(value) = reader.value(0)? else {
            return error(reader.line, "a value is missing");
        };
        match reader.value(0)? {
            None => Ok(value),
            Some(_) => error(reader.line, "there is more than one value"),
        }
    }
}

/// As EDN.
impl Display for Edn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |f: &mut Formatter<'_>, open: &str, items: &[Edn], close: &str| {
            f.write_str(open)?;
            for (at, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if at == 0 { "" } else { " " })?;
            }
            f.write_str(close)
        };
        match self {
            Edn::Nil => f.write_str("nil"),
            Edn::Text(text) => write!(f, "{text:?}"),
            Edn::Word(word) => f.write_str(word),
            Edn::List(items) => list(f, "[", items, "]"),
            Edn::Set(items) => list(f, "#{", items, "}"),
            Edn::Map(entries) => {
                f.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key} {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Reads values one after the other.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Reader<'a> {
        Reader { rest: text, line: 1 }
    }

    /// The next value; `None` at the end of the text or before a closing bracket.
    fn value(&mut self, depth: usize) -> Result<Option<Edn>, ParseError> {
        if depth > DEPTH_MAX {
            return error(self.line, format!("brackets nest deeper than {DEPTH_MAX}"));
        }
        loop {
            self.skip_space();
            let Some(first) = self.rest.chars().next() else {
                return Ok(None);
            };
            return Ok(Some(match first {
                ')' | ']' | '}' => return Ok(None),
                '"' => Edn::Text(self.string()?),
                '[' => Edn::List(self.items(1, ']', depth)?),
                '(' => Edn::List(self.items(1, ')', depth)?),
                '{' => self.map(depth)?,
                '#' if self.rest.starts_with("#{") => Edn::Set(self.items(2, '}', depth)?),
                '#' if self.rest.starts_with("#_") => {
                    self.skip(2);
                    if self.value(depth + 1)?.is_none() {
                        return error(self.line, "#_ has nothing to leave out");
                    }
                    continue;
                }
                // A tag: the value alone is what counts.
                '#' => {
                    self.word();
                    continue;
                }
                _ => self.plain()?,
            }));
        }
    }

    fn items(&mut self, open: usize, close: char, depth: usize) -> Result<Vec<Edn>, ParseError> {
        let line = self.line;
        self.skip(open);
        let mut items = Vec::new();
        while let Some(item) = self.value(depth + 1)? {
            items.push(item);
        }
        if !self.rest.starts_with(close) {
            return error(line, format!("the bracket is not closed by '{close}'"));
        }
        self.skip(1);
        Ok(items)
    }

    fn map(&mut self, depth: usize) -> Result<Edn, ParseError> {
        let line = self.line;
        let items = self.items(1, '}', depth)?;
        if !items.len().is_multiple_of(2) {
            return error(line, "a key of the map has no value");
        }
        let mut items = items.into_iter();
        let mut entries = Vec::new();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            entries.push((key, value));
        }
        Ok(Edn::Map(entries))
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let line = self.line;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.skip(at + 1);
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('b') => text.push('\u{8}'),
                    Some('f') => text.push('\u{c}'),
                    Some('u') => {
                        let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        match code {
                            Some(c) if digits.len() == 4 => text.push(c),
                            Some(_) | None => return error(line, "\\u needs four digits"),
                        }
                    }
                    Some(c @ ('"' | '\\' | '/')) => text.push(c),
                    Some(_) | None => return error(line, "the string has no such escape"),
                },
                c => text.push(c),
            }
        }
        error(line, "the string is not closed")
    }

    fn plain(&mut self) -> Result<Edn, ParseError> {
        let word = if let Some(character) = self.rest.strip_prefix('\\') {
            let first = character.chars().next().map_or(0, char::len_utf8);
            let more = character[first..].find(is_end).unwrap_or(character.len() - first);
            let (word, _) = self.rest.split_at(1 + first + more);
            self.skip(word.len());
            word
        } else {
            self.word()
        };
        Ok(match word {
            "nil" => Edn::Nil,
            "" => return error(self.line, "a value is missing"),
            word => {
                let digits = word.strip_suffix('N').unwrap_or(word);
                let number = digits.parse::<i128>().map(|number| number.to_string());
                Edn::Word(number.unwrap_or_else(|_| word.to_owned()))
            }
        })
    }

    fn word(&mut self) -> &'a str {
        // What cannot end a word at its first character is taken as part of it.
        let mut ends = self.rest.char_indices().skip(1).filter(|(_, c)| is_end(*c));
        let length = ends.next().map_or(self.rest.len(), |(at, _)| at);
        let word = &self.rest[..length];
        self.skip(length);
        word
    }

    fn skip_space(&mut self) {
        loop {
            let rest = self.rest.trim_start_matches(is_space);
            self.skip(self.rest.len() - rest.len());
            if !self.rest.starts_with(';') {
                return;
            }
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
    }
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c == ','
}

fn is_end(c: char) -> bool {
    is_space(c) || matches!(c, '(' | ')' | '[' | ']' | '{' | '}' | '"' | ';')
}
