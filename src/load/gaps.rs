//! A histogram of chunk gaps as text, for the way from one machine to another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize as _, Serialize as _};

/// # Errors
/// None in practice: what is written is memory.
pub(super) fn serialize<S: serde::Serializer>(gaps: &Histogram<u64>, out: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(gaps, &mut bytes).map_err(|e| S::Error::custom(e.to_string()))?;
    STANDARD.encode(bytes).serialize(out)
}

/// # Errors
/// When it is no such text, or a histogram with other bounds, which can't be added to ours.
pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Histogram<u64>, D::Error> {
    let text = String::deserialize(from)?;
    let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
    let read = Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice());
    let read = read.map_err(|e| D::Error::custom(e.to_string()))?;
    let mut gaps = super::tally::gap_histogram();
    gaps.add(read).map_err(|e| D::Error::custom(format!("{e:?}")))?;
    Ok(gaps)
}
