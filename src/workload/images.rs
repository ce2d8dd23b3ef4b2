//! Pictures that go with prompts: noise of the asked sizes, or files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::data::{self, DataError};
use super::random;
use crate::experiment::{ImageSize, Images};
use crate::provider::Image;

/// Edge of the squares that generated pictures consist of, in pixels: noise in single pixels
/// can't be compressed, and would make files many times as large as photographs of that size.
const SQUARE: u32 = 4;

/// Pictures made ready before the first request: making one takes longer than sending it.
pub(super) struct Pictures {
    /// Of each size, or all files in one.
    pools: Vec<Vec<Image>>,
    count: u32,
}

impl Pictures {
    /// `stream` gives the randomness of picture number n.
    pub(super) fn open(images: &Images, stream: impl Fn(u64) -> ChaCha8Rng) -> Result<Self, DataError> {
        let pools = if images.files.is_empty() {
            let pool = u64::from(images.pool);
            let of = |(k, size): (u64, &ImageSize)| {
                (0..pool).map(|n| noise(*size, &mut stream(k * pool + n))).collect()
            };
            (0..).zip(&images.sizes).map(of).collect()
        } else {
            let read = |file| {
                let media_type = crate::experiment::DataFile::media_type(file)
                    .ok_or_else(|| DataError::whole(&file.path, "not a picture, by its name"))?;
                Ok(Image { media_type, base64: STANDARD.encode(data::bytes(file)?) })
            };
            vec![images.files.iter().map(read).collect::<Result<_, DataError>>()?]
        };
        Ok(Self { pools, count: images.count })
    }

    /// The pictures of arrival `seq`.
    pub(super) fn draw(&self, seed: u64, seq: u64) -> Vec<Image> {
        let mut rng = random::stream("pictures", seed, "", seq);
        let one = |_| {
            let pool = &self.pools[random::below(&mut rng, self.pools.len())];
            pool[random::below(&mut rng, pool.len())].clone()
        };
        (0..self.count).map(one).collect()
    }
}

/// A PNG of squares in random colours.
fn noise(size: ImageSize, rng: &mut ChaCha8Rng) -> Image {
    let ImageSize { width, height } = size;
    let across = width.div_ceil(SQUARE) as usize;
    let mut pixels = Vec::with_capacity(3 * width as usize * height as usize);
    let mut row = Vec::with_capacity(3 * width as usize);
    for y in 0..height {
        if y % SQUARE == 0 {
            let mut colours = vec![0; 3 * across];
            rng.fill_bytes(&mut colours);
            row.clear();
            row.extend((0..width).flat_map(|x| {
                let at = 3 * (x / SQUARE) as usize;
                [colours[at], colours[at + 1], colours[at + 2]]
            }));
        }
        pixels.extend_from_slice(&row);
    }
    Image { media_type: "image/png", base64: STANDARD.encode(png(size, &pixels)) }
}

/// RGB pixels as a PNG file.
fn png(size: ImageSize, pixels: &[u8]) -> Vec<u8> {
    const IN_MEMORY: &str = "as many pixels as were said, written to memory";
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.width, size.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().expect(IN_MEMORY);
    writer.write_image_data(pixels).expect(IN_MEMORY);
    writer.finish().expect(IN_MEMORY);
    file
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::experiment::DataFile;

    fn pictures(images: &Images, salt: &str) -> Pictures {
        let salt = salt.to_owned();
        Pictures::open(images, move |n| random::stream("picture", 1, &salt, n)).expect("pictures")
    }

    /// Width, height and pixels of a generated picture.
    fn decode(image: &Image) -> (u32, u32, Vec<u8>) {
        let file = STANDARD.decode(&image.base64).expect("base64");
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut pixels).expect("a whole PNG");
        (info.width, info.height, pixels)
    }

    #[test]
    fn generated_pictures_have_their_sizes_and_differ() {
        let sizes = vec![ImageSize { width: 30, height: 17 }, ImageSize { width: 64, height: 8 }];
        let images = Images { count: 2, sizes, pool: 3, files: Vec::new() };
        let source = pictures(&images, "a");
        let mut seen = HashSet::new();
        let mut wide = 0;
        for seq in 0..200 {
            let drawn = source.draw(9, seq);
            assert_eq!((drawn.len(), &drawn), (2, &source.draw(9, seq)));
            for image in drawn {
                assert_eq!(image.media_type, "image/png");
                let (width, height, _) = decode(&image);
                assert!([(30, 17), (64, 8)].contains(&(width, height)));
                wide += u32::from(width == 64);
                seen.insert(image.base64);
            }
        }
        assert_eq!(seen.len(), 6, "three of each size");
        assert!((160..=240).contains(&wide), "each size as often: {wide} of 400");
        let (_, _, pixels) = decode(&source.draw(9, 0)[0]);
        assert_eq!(pixels[0..3], pixels[9..12], "squares of four pixels");
        assert_ne!(pixels[0..3], pixels[12..15]);
        let other = pictures(&images, "b");
        assert!((0..20).flat_map(|seq| other.draw(9, seq)).all(|image| !seen.contains(&image.base64)));
    }

    #[test]
    fn a_large_picture_is_no_larger_than_a_photograph() {
        let images = Images {
            count: 1,
            sizes: vec![ImageSize { width: 512, height: 512 }],
            pool: 1,
            files: Vec::new(),
        };
        let bytes = pictures(&images, "a").draw(1, 0)[0].base64.len() * 3 / 4;
        assert!((40_000..400_000).contains(&bytes), "{bytes} bytes");
    }

    #[test]
    fn pictures_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.JPG");
        std::fs::write(&path, "bytes of a picture").unwrap();
        let (_kept, hashed) = data::written("bytes of a picture");
        let file = DataFile { path, sha256: hashed.sha256 };
        let images = Images { count: 1, sizes: Vec::new(), pool: 0, files: vec![file.clone()] };
        let drawn = pictures(&images, "a").draw(1, 0);
        assert_eq!(drawn[0].media_type, "image/jpeg");
        assert_eq!(STANDARD.decode(&drawn[0].base64).unwrap(), b"bytes of a picture");
        std::fs::write(&file.path, "others").unwrap();
        let error = Pictures::open(&images, |n| random::stream("picture", 1, "", n)).err().unwrap();
        assert!(matches!(error, DataError::Changed { .. }), "{error}");
    }
}
