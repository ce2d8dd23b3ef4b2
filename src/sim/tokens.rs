//! The simulator's own tokenizer, and the words it answers with.
//!
//! A token is a piece of at most six bytes: a word, with the one white-space character
//! before it, is cut every six bytes at a character boundary; white space beyond that one
//! character makes pieces of its own. A token's id is its bytes read as a little-endian
//! number, so that ids can be turned back into text without a vocabulary. English comes to
//! about 1.3 tokens a word, as with real tokenizers.

/// Bytes in the longest piece. Six make ids that any JSON reader holds exactly.
const PIECE: usize = 6;

/// Ids that stand for no text: a template's marks.
pub(super) mod mark {
    pub const BOS: u64 = 1;
    pub const SYSTEM: u64 = 2;
    pub const USER: u64 = 3;
    pub const ASSISTANT: u64 = 4;
    pub const TOOL: u64 = 5;
    pub const END: u64 = 6;

    /// Above every piece's id, and exact in any JSON reader.
    pub const PICTURE: u64 = 1 << 52;

    /// The id of a piece of a picture.
    pub const fn picture(hash: u64) -> u64 {
        PICTURE | hash >> 12
    }
}

/// Cut a text into tokens, appended to `out`.
pub(super) fn encode_into(text: &str, out: &mut Vec<u64>) {
    let mut rest = text;
    while !rest.is_empty() {
        let spaces = rest.len() - rest.trim_start().len();
        let word_at = rest[spaces..].find(char::is_whitespace).map_or(rest.len(), |n| spaces + n);
        // All white space but the last character stands alone, unless no word follows.
        let lead = if word_at == spaces {
            spaces
        } else {
            rest[..spaces].char_indices().last().map_or(0, |(at, _)| at)
        };
        pieces(&rest[..lead], out);
        pieces(&rest[lead..word_at], out);
        rest = &rest[word_at..];
    }
}

/// Cut a text into tokens.
pub(super) fn encode(text: &str) -> Vec<u64> {
    let mut out = Vec::with_capacity(text.len() / 4 + 1);
    encode_into(text, &mut out);
    out
}

fn pieces(mut text: &str, out: &mut Vec<u64>) {
    while !text.is_empty() {
        let mut cut = text.len().min(PIECE);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let mut bytes = [0_u8; 8];
        bytes[..cut].copy_from_slice(&text.as_bytes()[..cut]);
        out.push(u64::from_le_bytes(bytes));
        text = &text[cut..];
    }
}

/// The text of one token; nothing for a mark.
pub(super) fn piece_of(id: u64) -> String {
    if id <= mark::END || id >= mark::PICTURE {
        return String::new();
    }
    let bytes = id.to_le_bytes();
    let len = bytes.iter().rposition(|b| *b != 0).map_or(0, |n| n + 1);
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// Tokens back to text.
pub(super) fn decode(ids: &[u64]) -> String {
    ids.iter().map(|id| piece_of(*id)).collect()
}

/// Every one fits a token with the blank before it, and holds no character that JSON
/// would escape.
const WORDS: [&str; 64] = [
    "able", "also", "back", "bay", "been", "boat", "bow", "calm", "came", "cargo", "chart", "coast", "crew",
    "day", "deck", "deep", "draft", "each", "ebb", "even", "fair", "far", "find", "flag", "fog", "from",
    "full", "gale", "give", "good", "gulf", "half", "hand", "heel", "hold", "hull", "keel", "knot", "land",
    "line", "load", "long", "made", "mark", "mast", "mate", "more", "oar", "over", "plank", "port", "rope",
    "sail", "salt", "sea", "ship", "sound", "stern", "tide", "time", "wave", "wind", "with", "yard",
];

/// The word of an answer's `n`-th token (from 0), without the blank before it.
pub(super) fn word(key: u64, n: u32) -> &'static str {
    WORDS[(mix(key ^ u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15)) & 63) as usize]
}

/// The text of an answer's tokens `from` (counted from 0) to `to`, with the blank that
/// belongs to the first.
pub(super) fn answer(key: u64, from: u32, to: u32) -> String {
    let mut text = String::with_capacity(to.saturating_sub(from) as usize * 5);
    for n in from..to {
        text.push_str(if n > 0 { " " } else { "" });
        text.push_str(word(key, n));
    }
    text
}

/// The id of an answer's `n`-th token (from 0).
pub(super) fn answer_id(key: u64, n: u32) -> u64 {
    let mut bytes = [0_u8; 8];
    let word = word(key, n).as_bytes();
    let blank = usize::from(n > 0);
    bytes[..blank].fill(b' ');
    bytes[blank..blank + word.len()].copy_from_slice(word);
    u64::from_le_bytes(bytes)
}

/// How likely an answer's `n`-th token was: the natural logarithm of it, the same whenever
/// it is asked.
pub(super) fn logprob(key: u64, n: u32) -> f64 {
    -(unit(mix(key ^ 0x106) ^ u64::from(n)) * 3e6).round() / 1e6
}

/// A well-spread 64-bit hash of one number.
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of tokens that continues `start`.
pub(super) fn hash(start: u64, tokens: &[u64]) -> u64 {
    tokens.iter().fold(mix(start ^ 0x5113), |h, t| mix(h.rotate_left(5) ^ *t))
}

/// A uniform number in [0, 1) from a hash.
pub(super) fn unit(x: u64) -> f64 {
    (mix(x) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_with_their_blank_are_one_token_up_to_five_letters() {
        let text = |ids: Vec<u64>| ids.into_iter().map(piece_of).collect::<Vec<_>>();
        assert_eq!(text(encode("the quick brown fox")), ["the", " quick", " brown", " fox"]);
        assert_eq!(text(encode("elephants  run\n")), ["elepha", "nts", " ", " run", "\n"]);
        assert_eq!(text(encode("ééééé")), ["ééé", "éé"]);
        assert_eq!(encode("").len(), 0);
    }

    #[test]
    fn an_answer_counts_as_many_tokens_as_it_was_made_of() {
        let text = (0..500).map(|n| word(7, n)).collect::<Vec<_>>().join(" ");
        assert_eq!(encode(&text).len(), 500);
        assert!(WORDS.iter().all(|w| w.len() < PIECE));
        assert_eq!(answer(7, 0, 500), text);
        assert_eq!(encode(&text), (0..500).map(|n| answer_id(7, n)).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn text_survives_being_cut(text in "[ -~\n\té漢]{0,200}") {
            prop_assert_eq!(decode(&encode(&text)), text);
        }

        #[test]
        fn units_lie_in_the_unit_interval(x: u64) {
            prop_assert!((0.0..1.0).contains(&unit(x)));
        }
    }
}
