//! Messages of D-Bus: a call is written, replies and signals are read.

use super::value::{Value, Writer};

/// The most bytes of a message that are read. What systemd sends the driver is far shorter.
const MAX_BYTES: usize = 1 << 20;

/// The part of a header that has the same size in every message.
const FIXED: usize = 16;

/// The method that a call is for.
#[derive(Clone, Copy)]
pub(super) struct Method<'a> {
    /// The name of the service; `None` when there is no bus between.
    pub(super) destination: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
}

/// The bytes of a call.
pub(super) fn call(serial: u32, method: Method, arguments: &[Value]) -> Vec<u8> {
    let mut body = Writer::default();
    arguments
        .iter()
        .for_each(|argument| argument.write(&mut body));
    let signature: String = arguments.iter().map(Value::signature).collect();
    let mut message = Writer(vec![b'l', 1, 0, 1]);
    message.u32(body.0.len() as u32);
    message.u32(serial);
    message.array(8, |to| {
        let mut field = |code: u8, kind: &str, text: &str| {
            to.align(8);
            to.0.push(code);
            to.signature(kind);
            match kind {
                "g" => to.signature(text),
                _ => to.text(text),
            }
        };
        field(1, "o", method.path);
        field(2, "s", method.interface);
        field(3, "s", method.member);
        if let Some(destination) = method.destination {
            field(6, "s", destination);
        }
        if !signature.is_empty() {
            field(8, "g", &signature);
        }
    });
    message.align(8);
    message.0.extend_from_slice(&body.0);
    message.0
}

/// What kind of message it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A message that was received.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The call that this answers.
    pub(super) reply_to: u32,
    pub(super) member: String,
    pub(super) error: String,
    pub(super) signature: String,
    body: Vec<u8>,
}

/// The number of bytes of the message that `bytes` starts with. `None` when they are too few to
/// tell.
///
/// # Errors
/// When they do not start with a message.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, ()> {
    let Some(fixed) = bytes.get(..FIXED) else {
        return Ok(None);
    };
    let mut reader = Reader {
        bytes: fixed,
        at: 4,
    };
    let is_known = fixed.starts_with(b"l") && fixed.get(3) == Some(&1);
    let numbers = (reader.u32(), reader.u32(), reader.u32());
    let (true, (Some(body), _, Some(fields))) = (is_known, numbers) else {
        return Err(());
    };
    let (body, fields) = (body as usize, fields as usize);
    if body > MAX_BYTES || fields > MAX_BYTES {
        return Err(());
    }
    Ok(Some((FIXED + fields).next_multiple_of(8) + body))
}

impl Message {
    /// Reads a whole message. `None` when it is malformed.
    pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
        let kind = match bytes.get(1)? {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return None,
        };
        let mut reader = Reader { bytes, at: 12 };
        let end = FIXED + reader.u32()? as usize;
        let mut message = Message {
            kind,
            reply_to: 0,
            member: String::new(),
            error: String::new(),
            signature: String::new(),
            body: bytes.get(end.next_multiple_of(8)..)?.to_vec(),
        };
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.signature()?.as_str()) {
                (5, "u") => message.reply_to = reader.u32()?,
                (3, "s") => message.member = reader.text()?,
                (4, "s") => message.error = reader.text()?,
                (8, "g") => message.signature = reader.signature()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.u32()?),
                _ => return None,
            }
        }
        Some(message)
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            bytes: &self.body,
            at: 0,
        }
    }

    /// The text of an error, which is its first argument.
    pub(super) fn first_text(&self) -> Option<String> {
        self.signature
            .starts_with('s')
            .then(|| self.reader())?
            .text()
    }
}

/// Reads values one after the other. Everything is `None` at the end of the bytes.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let start = self.at;
        self.at = start.checked_add(length)?;
        self.bytes.get(start..self.at)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A string or an object path.
    pub(super) fn text(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        let text = String::from_utf8(self.take(length)?.to_vec()).ok();
        self.byte()?;
        text
    }

    pub(super) fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        let text = String::from_utf8(self.take(length)?.to_vec()).ok();
        self.byte()?;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: Method = Method {
        destination: Some("a.b"),
        path: "/x",
        interface: "i.j",
        member: "Do",
    };

    #[test]
    fn a_call_can_be_read_again() {
        let bytes = call(7, METHOD, &[Value::text("one"), Value::U32(2)]);
        assert_eq!(length(&bytes), Ok(Some(bytes.len())));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.kind, Kind::Call);
        assert_eq!((&*message.member, &*message.signature), ("Do", "su"));
        let mut reader = message.reader();
        assert_eq!(reader.text().as_deref(), Some("one"));
        assert_eq!((reader.u32(), reader.u32()), (Some(2), None));
    }

    #[test]
    fn no_bytes_make_reading_panic_or_ask_for_much_memory() {
        let bytes = call(7, METHOD, &[Value::text("one")]);
        for end in 0..bytes.len() {
            Message::parse(&bytes[..end]);
            assert!(length(&bytes[..end]).is_ok());
        }
        for at in 0..bytes.len() {
            for wrong in [0, 1, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = wrong;
                Message::parse(&bytes);
                let length = length(&bytes);
                assert!(length.is_err() || length.unwrap().unwrap() <= 3 * MAX_BYTES);
            }
        }
        assert_eq!(length(b"HTTP/1.1 400 Bad"), Err(()));
    }
}
