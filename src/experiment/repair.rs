//! Closes lists and tables that were left open, so that what follows them can still be read.
//!
//! A bracket that is never closed swallows the rest of the file: TOML then reports every
//! later line as wrong, and none of the real mistakes there. Here the open value is told
//! once, and blanked in place, so that every other offset stays what it was.

use std::ops::Range;

/// The text with every open value blanked, and where those values are.
pub(super) fn close_open_values(text: &str) -> (String, Vec<Range<usize>>) {
    let mut scanner = Scanner::default();
    let mut open = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if scanner.is_open_before(line) {
            open.push(scanner.open[0].0..start);
            scanner = Scanner::default();
        }
        scanner.line(line, start);
        start += line.len();
    }
    if let (Some((at, _)), None) = (scanner.open.first(), scanner.text) {
        open.push(*at..text.len());
    }
    let mut bytes = text.as_bytes().to_vec();
    for range in &mut open {
        range.end = range.start + text[range.clone()].trim_end().len();
        blank(&mut bytes[range.clone()]);
    }
    // Only whole values were overwritten, with ASCII.
    (String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned()), open)
}

fn blank(value: &mut [u8]) {
    let stands_for: &[u8] = match value {
        [b'[', second, ..] if *second != b'\n' => b"[]",
        [b'{', second, ..] if *second != b'\n' => b"{}",
        _ => b"0",
    };
    for (i, byte) in value.iter_mut().enumerate() {
        if *byte != b'\n' {
            *byte = stands_for.get(i).copied().unwrap_or(b' ');
        }
    }
}

/// Which brackets are open, and whether a long text is.
#[derive(Default)]
struct Scanner {
    /// Offset and kind of each open bracket.
    open: Vec<(usize, u8)>,
    /// The delimiter of an open text of several lines.
    text: Option<&'static str>,
}

impl Scanner {
    /// Whether `line` begins something that cannot stand inside the open value.
    fn is_open_before(&self, line: &str) -> bool {
        let Some((_, innermost)) = self.open.last().filter(|_| self.text.is_none()) else { return false };
        is_header(line) || (*innermost == b'[' && is_assignment(line))
    }

    fn line(&mut self, line: &str, start: usize) {
        if self.open.is_empty() && self.text.is_none() && line.trim_start().starts_with('[') {
            return;
        }
        let mut at = 0;
        while at < line.len() {
            let rest = &line[at..];
            if let Some(delimiter) = self.text {
                let Some(end) = rest.find(delimiter) else { return };
                self.text = None;
                at += end + delimiter.len();
                continue;
            }
            if let Some(delimiter) = ["\"\"\"", "'''"].into_iter().find(|d| rest.starts_with(d)) {
                self.text = Some(delimiter);
                at += delimiter.len();
                continue;
            }
            match rest.as_bytes()[0] {
                b'#' => return,
                quote @ (b'"' | b'\'') => at += text_length(rest.as_bytes(), quote),
                bracket @ (b'[' | b'{') => {
                    self.open.push((start + at, bracket));
                    at += 1;
                }
                b']' | b'}' => {
                    self.open.pop();
                    at += 1;
                }
                _ => at += rest.chars().next().map_or(1, char::len_utf8),
            }
        }
    }
}

/// Bytes of a text in quotes; an unclosed one ends with its line.
fn text_length(bytes: &[u8], quote: u8) -> usize {
    let mut escaped = false;
    for (i, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quote == b'"' => escaped = true,
            byte if *byte == quote => return i + 1,
            _ => {}
        }
    }
    bytes.len()
}

/// `[section]` or `[[section]]`: no list of values begins with a bare word.
fn is_header(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or("").trim();
    let Some(inner) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) else { return false };
    let name = inner.trim_start_matches('[').trim_end_matches(']').trim();
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-. \"'".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(bare)
        && !["true", "false", "inf", "nan"].contains(&name)
}

/// `key = …`.
fn is_assignment(line: &str) -> bool {
    let Some((key, _)) = line.split_once('=') else { return false };
    let key = key.trim();
    key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_files_stay_as_they_are() {
        for text in [
            "a = [1, 2]\n[b]\nc = { d = [\"]\", '}'] } # [\n",
            "a = [\n  [1, 2],\n  [\"x\"], # ]\n]\nb = \"\"\"\n[ {\n\"\"\"\n",
            "a = {\n  b = 1,\n  c = [2],\n}\n[[d]]\ne = 'it\\'\n",
            "",
        ] {
            assert_eq!(close_open_values(text), (text.to_owned(), vec![]), "{text}");
        }
    }

    #[test]
    fn an_open_value_is_blanked_in_place() {
        let text = "a = [1, 2\n[b]\nc = 1\n";
        let (repaired, open) = close_open_values(text);
        assert_eq!(repaired, "a = []   \n[b]\nc = 1\n");
        assert_eq!((open.len(), open[0].start, open[0].end), (1, 4, 9));
        let (repaired, open) = close_open_values("a = [\n 1,\nb = { c = 1\n");
        assert_eq!(repaired, "a = 0\n   \nb = {}     \n");
        assert_eq!(open.len(), 2);
    }
}
