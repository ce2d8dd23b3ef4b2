//! Pictures in prompts: decoded so far as to know their size, and counted as so many tokens
//! for each tile of 512 by 512 pixels.

use super::config::Config;
use super::request::ApiError;
use super::tokens::{self, mark};

/// Side of a tile, in pixels.
const TILE: u32 = 512;

/// The tokens of a picture given as a `data:` URL.
pub(super) fn url_into(url: &str, config: &Config, out: &mut Vec<u64>) -> Result<(), ApiError> {
    let refused = || {
        ApiError::bad_request(
            Some("messages"),
            "An image must come as a data: URL in base64: this server fetches none",
        )
    };
    let (kind, data) = url.strip_prefix("data:").and_then(|rest| rest.split_once(',')).ok_or_else(refused)?;
    if !kind.ends_with(";base64") {
        return Err(refused());
    }
    into(data, config, out)
}

/// The tokens of a picture given in base64.
pub(super) fn into(base64: &str, config: &Config, out: &mut Vec<u64>) -> Result<(), ApiError> {
    let bytes = decode(base64)
        .ok_or_else(|| ApiError::bad_request(Some("messages"), "Invalid base64-encoded image data"))?;
    let (width, height) = size(&bytes)
        .ok_or_else(|| ApiError::bad_request(Some("messages"), "Cannot identify the image file"))?;
    let tiles = width.div_ceil(TILE) * height.div_ceil(TILE);
    // The same picture is the same tokens, so that a prompt's beginning may be found again.
    let seed = bytes.chunks(8).fold(bytes.len() as u64, |hash, part| {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        tokens::mix(hash ^ u64::from_le_bytes(word))
    });
    let count = u64::from(tiles.max(1)) * u64::from(config.image_tokens_per_tile);
    if count > u64::from(config.max_model_len) {
        return Err(ApiError::context_length(config.max_model_len, count, 1));
    }
    out.extend((0..count).map(|n| mark::picture(tokens::mix(seed ^ n))));
    Ok(())
}

/// Base64 with or without padding; `None` for anything else.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(text.len() * 3 / 4 + 3);
    let (mut held, mut bits) = (0_u32, 0);
    for byte in text.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'\r' | b'\n' => continue,
            _ => return None,
        };
        held = (held << 6 | u32::from(six)) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    Some(out)
}

/// Width and height in pixels of a PNG, JPEG, GIF or WebP file.
fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let be16 = |at: usize| Some(u32::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let le16 = |at: usize| Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let be32 = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let le24 = |at: usize| Some(le16(at)? | u32::from(*bytes.get(at + 2)?) << 16);
    let (width, height) = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        (be32(16)?, be32(20)?)
    } else if bytes.starts_with(b"GIF8") {
        (le16(6)?, le16(8)?)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12)? == b"WEBP" {
        match bytes.get(12..16)? {
            b"VP8X" => (le24(24)? + 1, le24(27)? + 1),
            b"VP8L" => {
                let packed = le16(21)? | le16(23)? << 16;
                ((packed & 0x3fff) + 1, (packed >> 14 & 0x3fff) + 1)
            }
            _ => (le16(26)? & 0x3fff, le16(28)? & 0x3fff),
        }
    } else if bytes.starts_with(&[0xff, 0xd8]) {
        jpeg_size(bytes, be16)?
    } else {
        return None;
    };
    // No real picture is larger; what claims to be would be counted in billions of tokens.
    ((1..=1 << 16).contains(&width) && (1..=1 << 16).contains(&height)).then_some((width, height))
}

/// A JPEG's size stands in its frame header, behind segments that are skipped.
fn jpeg_size(bytes: &[u8], be16: impl Fn(usize) -> Option<u32>) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let (lead, marker) = (*bytes.get(at)?, *bytes.get(at + 1)?);
        if lead != 0xff {
            return None;
        }
        match marker {
            0xff => at += 1,
            0x01 | 0xd0..=0xd7 => at += 2,
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some((be16(at + 7)?, be16(at + 5)?));
            }
            _ => at += 2 + be16(at + 2)? as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a PNG of that size, in base64.
    fn png(width: u32, height: u32) -> String {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        encode(&bytes)
    }

    fn encode(bytes: &[u8]) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for part in bytes.chunks(3) {
            let word = part.iter().enumerate().fold(0_u32, |w, (n, b)| w | u32::from(*b) << (16 - 8 * n));
            for n in 0..=part.len() {
                text.push(LETTERS[(word >> (18 - 6 * n) & 63) as usize] as char);
            }
        }
        text
    }

    fn count(url: &str) -> Result<usize, ApiError> {
        let config = Config { image_tokens_per_tile: 10, ..Config::default() };
        let mut out = Vec::new();
        url_into(url, &config, &mut out).map(|()| out.len())
    }

    #[test]
    fn pictures_are_so_many_tokens_a_tile() {
        assert_eq!(decode("TWFu").as_deref(), Some(b"Man".as_slice()));
        assert_eq!(decode("TWE=").as_deref(), Some(b"Ma".as_slice()));
        assert_eq!(decode("T?E="), None);
        for (width, height, tiles) in [(1, 1, 1), (512, 512, 1), (513, 512, 2), (1024, 1025, 6)] {
            let url = format!("data:image/png;base64,{}", png(width, height));
            assert_eq!(count(&url), Ok(10 * tiles), "{width}×{height}");
        }
        let jpeg = [
            &[0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc2, 0, 17, 8][..],
            &600_u16.to_be_bytes(),
            &700_u16.to_be_bytes(),
            &[3, 0, 0],
        ]
        .concat();
        assert_eq!(size(&jpeg), Some((700, 600)));
        assert_eq!(size(b"GIF89a\x02\x01\x03\0"), Some((258, 3)));
        let mut webp = b"RIFF\0\0\0\0WEBPVP8 ".to_vec();
        webp.resize(26, 0);
        webp.extend([0x40, 0x01, 0xf0, 0x00]);
        assert_eq!(size(&webp), Some((320, 240)));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for bad in ["", "https://example.com/a.png", "data:image/png,abc", "data:image/png;base64,AAAA"] {
            assert!(count(bad).is_err(), "{bad}");
        }
        // A size that no picture has, and one that no context holds.
        assert!(count(&format!("data:image/png;base64,{}", png(1 << 30, 1))).is_err());
        assert!(count(&format!("data:image/png;base64,{}", png(60_000, 60_000))).is_err());
    }

    #[test]
    fn the_same_picture_is_the_same_tokens() {
        let config = Config::default();
        let tokens = |width| {
            let mut out = Vec::new();
            into(&png(width, 8), &config, &mut out).unwrap();
            out
        };
        assert_eq!(tokens(8), tokens(8));
        assert_ne!(tokens(8), tokens(9));
        assert_eq!(tokens::decode(&tokens(8)), "", "a picture has no text");
    }
}
