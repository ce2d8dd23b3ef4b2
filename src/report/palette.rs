//! The colours of heat maps.

/// Cividis in nine steps: rises evenly in luminance, and alike for colour-blind readers.
pub(super) const CIVIDIS: [(u8, u8, u8); 9] = [
    (0x00, 0x20, 0x4D),
    (0x12, 0x35, 0x6F),
    (0x3B, 0x4A, 0x6C),
    (0x57, 0x5D, 0x6D),
    (0x70, 0x71, 0x73),
    (0x8A, 0x87, 0x79),
    (0xA6, 0x9D, 0x75),
    (0xC7, 0xB7, 0x68),
    (0xFE, 0xE8, 0x38),
];

/// The colour at `share`, 0 to 1.
pub(super) fn cividis(share: f64) -> (u8, u8, u8) {
    let at = share.clamp(0.0, 1.0) * (CIVIDIS.len() - 1) as f64;
    let i = (at.floor() as usize).min(CIVIDIS.len() - 2);
    let (a, b, t) = (CIVIDIS[i], CIVIDIS[i + 1], at - i as f64);
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * t).round() as u8;
    (mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// From much better to much worse: Okabe and Ito's blue and vermilion with lighter steps of both,
/// and a grey that says nothing. Told apart by every kind of colour vision.
pub(super) const DIVERGING: [(u8, u8, u8); 7] = [
    (0x00, 0x72, 0xB2),
    (0x6F, 0xB3, 0xDD),
    (0xC4, 0xE1, 0xF3),
    (0xEE, 0xF0, 0xF3),
    (0xFA, 0xDC, 0xC4),
    (0xF0, 0xA0, 0x68),
    (0xD5, 0x5E, 0x00),
];

/// The colour of a step from −3, much better, to 3, much worse.
pub(super) fn diverging(step: i8) -> (u8, u8, u8) {
    DIVERGING[usize::from((step.clamp(-3, 3) + 3).unsigned_abs())]
}

/// Whether white is better read on it than black, by WCAG's relative luminance.
pub(super) fn is_dark((r, g, b): (u8, u8, u8)) -> bool {
    let linear = |c: u8| {
        let c = f64::from(c) / 255.0;
        if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    // Contrast with white and black is equal at 0.179.
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) < 0.179
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_is_grey_and_the_steps_go_both_ways() {
        assert_eq!(diverging(0), DIVERGING[3]);
        assert_eq!((diverging(-3), diverging(3)), (DIVERGING[0], DIVERGING[6]));
        assert_eq!(diverging(9), diverging(3));
    }

    #[test]
    fn the_ends_are_the_ends_and_labels_switch_once() {
        assert_eq!(cividis(-1.0), CIVIDIS[0]);
        assert_eq!(cividis(1.0), CIVIDIS[8]);
        let dark: Vec<bool> = (0..=100).map(|i| is_dark(cividis(f64::from(i) / 100.0))).collect();
        assert!(dark[0] && !dark[100]);
        assert_eq!(dark.windows(2).filter(|w| w[0] != w[1]).count(), 1);
    }
}
