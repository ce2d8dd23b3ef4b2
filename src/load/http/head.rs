//! The head of an HTTP/1 answer: its status, and how its body ends (RFC 9112 §6.3).

use httparse::{Header, ParserConfig, Response, Status};

use super::body::BodyDecoder;

/// Longest head that is held, in bytes.
pub(super) const MAX_HEAD: usize = 64 << 10;
/// Headers of an answer, at most.
const MAX_HEADERS: usize = 128;

/// A head that has come whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Its bytes.
    pub(super) len: usize,
    pub(super) status: u16,
    pub(super) body: BodyDecoder,
    /// Whether the server means to keep the connection.
    pub(super) keeps: bool,
    /// By what the body is compressed, which it was asked not to be.
    pub(super) coding: Option<String>,
}

/// The coding that a `Content-Encoding` names, if it is one.
pub(super) fn compression(value: &[u8]) -> Option<String> {
    let coding = tokens(value).find(|token| !token.eq_ignore_ascii_case(b"identity"))?;
    Some(String::from_utf8_lossy(coding).into_owned())
}

/// Read the final head at the start of `bytes`; heads of interim answers (1xx) before it are
/// passed over. `None`: more bytes are needed.
///
/// # Errors
/// A sentence when this is no HTTP/1 answer.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut from = 0;
    loop {
        let Some(head) = parse_one(&bytes[from..])? else {
            return if bytes.len() > MAX_HEAD {
                Err(format!("no end of the answer's head within {MAX_HEAD} bytes"))
            } else {
                Ok(None)
            };
        };
        from += head.len;
        match head.status {
            101 => return Err("the server switched to a protocol that was not asked for".to_owned()),
            100..200 => {}
            _ => return Ok(Some(Head { len: from, ..head })),
        }
    }
}

fn parse_one(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let mut config = ParserConfig::default();
    // Old, but to be understood (RFC 9112 §5.2).
    config.allow_obsolete_multiline_headers_in_responses(true);
    let parsed = config.parse_response(&mut response, bytes);
    let len = match parsed.map_err(|e| format!("not an HTTP/1 answer: {e}"))? {
        Status::Complete(len) => len,
        Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or(0);
    let fields = Fields::of(response.headers)?;
    let body = match (status, fields.chunked, fields.encoded, fields.length) {
        (100..200 | 204 | 304, ..) => BodyDecoder::empty(),
        (_, true, ..) => BodyDecoder::chunked(),
        // A coding that is not chunked at its end: the body ends with the connection.
        (_, false, true, _) | (_, false, false, None) => BodyDecoder::until_close(),
        (.., Some(length)) => BodyDecoder::of_length(length),
    };
    let persistent = if response.version == Some(1) { !fields.close } else { fields.keep_alive };
    let keeps = persistent && !body.ends_with_connection();
    Ok(Some(Head { len, status, keeps, body, coding: fields.coding }))
}

/// The header fields that decide on the body and the connection.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    encoded: bool,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    coding: Option<String>,
}

impl Fields {
    fn of(headers: &[Header<'_>]) -> Result<Self, String> {
        let mut fields = Self::default();
        for header in headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                fields.take_length(header.value)?;
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                fields.encoded = true;
                fields.chunked = false;
                for coding in tokens(header.value) {
                    fields.chunked = coding.eq_ignore_ascii_case(b"chunked");
                    if !fields.chunked {
                        fields.coding = compression(coding).or(fields.coding);
                    }
                }
            } else if header.name.eq_ignore_ascii_case("content-encoding") {
                fields.coding = compression(header.value).or(fields.coding);
            } else if header.name.eq_ignore_ascii_case("connection") {
                for token in tokens(header.value) {
                    fields.close |= token.eq_ignore_ascii_case(b"close");
                    fields.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
        }
        Ok(fields)
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), String> {
        if tokens(value).next().is_none() {
            return Err("a Content-Length that is no number".to_owned());
        }
        for token in tokens(value) {
            let digits = token.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(token).ok().filter(|_| digits).and_then(|t| t.parse().ok());
            let Some(length) = length else { return Err("a Content-Length that is no number".to_owned()) };
            if self.length.is_some_and(|before| before != length) {
                return Err("two Content-Lengths that differ".to_owned());
            }
            self.length = Some(length);
        }
        Ok(())
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().expect("a whole head")
    }

    #[test]
    fn bodies_end_as_the_head_says() {
        for (text, body, keeps) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", BodyDecoder::of_length(5), true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n", BodyDecoder::of_length(5), true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BodyDecoder::chunked(), true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n", BodyDecoder::chunked(), true),
            ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5,\r\n\r\n", BodyDecoder::of_length(5), true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 3\r\n\r\n",
                BodyDecoder::chunked(),
                true,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", BodyDecoder::until_close(), false),
            ("HTTP/1.1 200 OK\r\n\r\n", BodyDecoder::until_close(), false),
            ("HTTP/1.1 204 No Content\r\n\r\n", BodyDecoder::empty(), true),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", BodyDecoder::empty(), true),
            (
                "HTTP/1.1 200 OK\r\nConnection: Keep-Alive, Close\r\nContent-Length: 1\r\n\r\n",
                BodyDecoder::of_length(1),
                false,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", BodyDecoder::of_length(1), false),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
                BodyDecoder::of_length(1),
                true,
            ),
        ] {
            let head = head(text);
            assert_eq!((head.body, head.keeps, head.len), (body, keeps, text.len()), "{text}");
        }
    }

    #[test]
    fn compressed_bodies_are_known_by_their_coding() {
        for (field, coding) in [
            ("Content-Encoding: gzip", Some("gzip")),
            ("Content-Encoding: identity", None),
            ("Content-Encoding: identity, br", Some("br")),
            ("Transfer-Encoding: gzip, chunked", Some("gzip")),
            ("Transfer-Encoding: chunked", None),
        ] {
            let head = head(&format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n"));
            assert_eq!(head.coding.as_deref(), coding, "{field}");
        }
    }

    #[test]
    fn interim_answers_are_passed_over_and_pieces_awaited() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\nrest";
        let whole = head(text);
        assert_eq!((whole.status, whole.len), (429, text.len() - 4));
        for cut in 0..whole.len {
            assert_eq!(parse(&text.as_bytes()[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD));
        assert!(parse(endless.as_bytes()).is_err());
    }
}
