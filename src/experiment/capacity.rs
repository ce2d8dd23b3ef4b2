//! `[capacity]`: the traffic that is to be carried, and what a plan for it counts with. The
//! command line says the same in one line, and both are read by the same reader.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::mistake::{Mistake, MistakeKind, Mistakes};
use super::reader::{Field, Reader, Section};
use super::tree::{self, Origin, Sources, Value as Written};
use super::{Slo, apply_set, read};

/// Share of its capacity at which a replica runs where nothing else is asked for.
pub const HEADROOM: f64 = 0.75;

/// What a traffic needs: `[capacity]`, or `--load`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapacitySettings {
    /// Peak of each part of the traffic; empty where none is given.
    pub peak: Vec<Flow>,
    /// Share by which it is to grow: 0.2 is a fifth more. 0 where not given.
    pub growth: f64,
    /// Share of its capacity at which a replica is to run: more than 0, at most 1.
    pub headroom: f64,
    /// Replicas beyond those needed.
    pub spares: u32,
    /// GPUs of one replica.
    pub gpus: Option<f64>,
    /// Price of one GPU for an hour, in `currency`.
    pub gpu_price_per_hour: Option<f64>,
    /// As it stands before an amount: `$`, `EUR`.
    pub currency: String,
}

impl Default for CapacitySettings {
    fn default() -> Self {
        Self {
            peak: Vec::new(),
            growth: 0.0,
            headroom: HEADROOM,
            spares: 0,
            gpus: None,
            gpu_price_per_hour: None,
            currency: "$".to_owned(),
        }
    }
}

/// One part of a traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Requests per second at the peak; more than 0.
    pub rps: f64,
    /// Mean prompt and output length in tokens. `None`: the only shape there is.
    pub tokens: Option<(u32, u32)>,
}

/// What a part of a traffic looks like, for who wrote it otherwise.
const FLOW: &str = "such as \"12 req/s at 512/128\" (prompt/output tokens), \"90 req/min at 2048/256\", or \"12 req/s\" where a single shape was measured";

impl Flow {
    /// Reads `12 req/s at 512/128`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (rate, tokens) = match text.split_once(" at ") {
            Some((rate, tokens)) => (rate, Some(tokens)),
            None => (text, None),
        };
        let rate = rate.trim();
        let digits = rate.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rate.len());
        let per_second: f64 = match rate[digits..].trim() {
            "" | "req/s" | "rps" | "qps" | "/s" => 1.0,
            "req/min" | "rpm" | "/min" => 60.0,
            "req/h" | "/h" => 3600.0,
            _ => return None,
        };
        let rps = rate[..digits].parse::<f64>().ok()? / per_second;
        let tokens = tokens.map(|text| {
            let text = text.trim().trim_end_matches("tokens").trim_end();
            let (prompt, output) = text.split_once('/').or_else(|| text.split_once('→'))?;
            let count = |text: &str| u32::try_from(crate::units::parse_count(text).ok()?).ok();
            Some((count(prompt)?, count(output)?))
        });
        let tokens = match tokens {
            Some(None) => return None,
            Some(read) => read,
            None => None,
        };
        (rps > 0.0 && rps.is_finite()).then_some(Self { rps, tokens })
    }
}

impl CapacitySettings {
    /// Reads one line: parts of the traffic between commas, then settings, all between
    /// semicolons: `12 req/s at 512/128, 3 req/s at 2048/256; growth 20%; headroom 0.75`. What
    /// it doesn't say is as in `base`.
    ///
    /// # Errors
    /// Every mistake, with the setting's name.
    pub fn of_line(line: &str, base: &Self) -> Result<Self, Mistakes> {
        let mut text = String::from("[capacity]\n");
        let mut peak: Vec<&str> = Vec::new();
        for part in line.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            if part.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                peak.extend(part.split(',').map(str::trim));
                continue;
            }
            let (key, value) = part.split_once('=').or_else(|| part.rsplit_once(' ')).unwrap_or((part, ""));
            let key = key.trim().replace([' ', '-'], "_");
            let key = if key == "gpu_price" { "gpu_price_per_hour" } else { &key };
            let value = value.trim();
            match value.parse::<f64>() {
                Ok(_) => text.push_str(&format!("{key} = {value}\n")),
                Err(_) => text.push_str(&format!("{key} = {value:?}\n")),
            }
        }
        if !peak.is_empty() {
            text.push_str(&format!("peak = {peak:?}\n"));
        }
        let mut sources = Sources::new("--load".to_owned(), text);
        parse(&mut sources, &[], base)
    }

    /// The `[capacity]` of a stored experiment with its `--set`s, for a run that was checked
    /// when it began. `None` where it has none.
    ///
    /// # Errors
    /// When the section can't be read, which a later version may have written.
    pub fn of_experiment(text: &str, sets: &[String]) -> Result<Option<Self>, Mistakes> {
        let sets: Vec<&String> =
            sets.iter().filter(|set| set.trim_start().starts_with("capacity.")).collect();
        let mut sources = Sources::new("experiment.toml".to_owned(), text.to_owned());
        let (table, _) = tree::parse(&sources);
        if table.entry("capacity").is_none() && sets.is_empty() {
            return Ok(None);
        }
        parse(&mut sources, &sets, &Self::default()).map(Some)
    }
}

/// The SLO that these words make: names of presets, and limits such as `ttft_p95<=500ms`. Read
/// as `[slo]` is.
///
/// # Errors
/// Every mistake, with the word's own text.
pub fn slo_of_words(words: &[String]) -> Result<Slo, Mistakes> {
    let (mut presets, mut rules) = (Vec::new(), String::new());
    let mut mistakes = Vec::new();
    for word in words.iter().flat_map(|w| w.split(',')).map(str::trim).filter(|w| !w.is_empty()) {
        let Some((key, sign, value)) = limit_of_word(word) else {
            presets.push(word);
            continue;
        };
        let higher = read::is_floor(key);
        if higher.is_some_and(|higher| higher != (sign == '>')) {
            let right = if sign == '>' { "<=" } else { ">=" };
            let problem =
                format!("{key} is better the {} it is", if sign == '>' { "lower" } else { "higher" });
            let mistake = Mistake::new(MistakeKind::Conflict, problem).found(format!("{word:?}"));
            let sources = Sources::new("--slo".to_owned(), word.to_owned());
            let origin = Origin { source: 0, start: 0, end: word.len() };
            mistakes.push(mistake.allowed(format!("{key}{right}{value}")).placed(&sources, origin, key));
        }
        match value.parse::<f64>() {
            Ok(_) => rules.push_str(&format!("{key} = {value}\n")),
            Err(_) => rules.push_str(&format!("{key} = {value:?}\n")),
        }
    }
    let preset = if presets.is_empty() { String::new() } else { format!("preset = {presets:?}\n") };
    let sources = Sources::new("--slo".to_owned(), format!("[slo]\n{preset}{rules}"));
    let (table, syntax) = tree::parse(&sources);
    let reader = Reader::new(&sources, Path::new(""));
    reader.extend(mistakes);
    reader.extend(syntax);
    let slo = read::slo(reader.root(&table).sub("slo"));
    let mistakes = reader.take();
    if mistakes.is_empty() { Ok(slo) } else { Err(Mistakes::collect(mistakes)) }
}

/// Key, `<` or `>`, and limit of `ttft_p95<=500ms`; `None` for what is no comparison.
fn limit_of_word(word: &str) -> Option<(&str, char, &str)> {
    let at = word.find(['<', '>', '≤', '≥'])?;
    let sign = word[at..].chars().next()?;
    let value = word[at + sign.len_utf8()..].trim_start_matches('=').trim();
    Some((word[..at].trim(), if matches!(sign, '<' | '≤') { '<' } else { '>' }, value))
}

fn parse(
    sources: &mut Sources,
    sets: &[&String],
    base: &CapacitySettings,
) -> Result<CapacitySettings, Mistakes> {
    let (mut table, syntax) = tree::parse(sources);
    let mut mistakes = Vec::new();
    for set in sets {
        if let Err(mistake) = apply_set(&mut table, sources, set) {
            mistakes.push(*mistake);
        }
    }
    let reader = Reader::new(sources, Path::new(""));
    reader.extend(mistakes);
    // Of a stored experiment the rest was read when it began.
    reader.extend(syntax);
    let settings = read(reader.root(&table).sub("capacity"), base);
    let mistakes = reader.take();
    if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes::collect(mistakes)) }
}

/// Reads the section; what it doesn't say is as in `base`.
pub(super) fn read(section: Section<'_>, base: &CapacitySettings) -> CapacitySettings {
    let positive = |field: &Field<'_>| field.number_in("more than 0", |x| x > 0.0);
    let settings = CapacitySettings {
        peak: section.get("peak").map_or_else(|| base.peak.clone(), |f| flows(&f)),
        growth: section.get("growth").and_then(|f| growth(&f)).unwrap_or(base.growth),
        headroom: section.get("headroom").and_then(|f| headroom(&f)).unwrap_or(base.headroom),
        spares: section.get("spares").and_then(|f| f.u32(0, 10_000)).unwrap_or(base.spares),
        gpus: section.get("gpus").and_then(|f| positive(&f)).or(base.gpus),
        gpu_price_per_hour: section
            .get("gpu_price_per_hour")
            .and_then(|f| f.number_in("at least 0", |x| x >= 0.0))
            .or(base.gpu_price_per_hour),
        currency: section.get("currency").and_then(|f| f.text()).unwrap_or_else(|| base.currency.clone()),
    };
    section.done();
    settings
}

/// One text with commas, or a list of texts.
fn flows(field: &Field<'_>) -> Vec<Flow> {
    let one = |field: &Field<'_>, text: &str| {
        let flow = Flow::parse(text);
        if flow.is_none() {
            let mistake = Mistake::new(MistakeKind::BadValue, "not a part of a traffic");
            field.mistake(mistake.found(format!("{text:?}")).allowed(FLOW));
        }
        flow
    };
    let Written::Array(items) = &field.node.value else {
        let Some(text) = field.text() else { return Vec::new() };
        return text.split(',').filter_map(|part| one(field, part.trim())).collect();
    };
    let item = |(i, node)| {
        let item = field.item(node, format!("{}[{}]", field.key(), i + 1));
        one(&item, item.str()?)
    };
    items.iter().enumerate().filter_map(item).collect()
}

/// `0.2`, or `"20%"`; more than 1 is more than double.
fn growth(field: &Field<'_>) -> Option<f64> {
    let allowed = "at least 0: 0.2 or \"20%\" is a fifth more";
    if let Written::Str(text) = &field.node.value {
        let percent = text.trim().strip_suffix('%').and_then(|p| p.trim().parse::<f64>().ok());
        let fits = percent.filter(|p| p.is_finite() && *p >= 0.0);
        if fits.is_none() {
            let mistake = Mistake::new(MistakeKind::BadValue, "not a share");
            field.mistake(mistake.found(format!("{text:?}")).allowed(allowed));
        }
        return fits.map(|p| p / 100.0);
    }
    field.number_in(allowed, |x| x >= 0.0)
}

fn headroom(field: &Field<'_>) -> Option<f64> {
    let share = field.share()?;
    if share > 0.0 {
        return Some(share);
    }
    let mistake = Mistake::new(MistakeKind::OutOfRange, "out of range").found(field.node.describe());
    field.mistake(mistake.allowed("more than 0, at most 1: 0.75 keeps a quarter free"));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_traffic_and_settings() {
        let line = "12 req/s at 512/128, 90 rpm at 2k/256; growth 20%; headroom=0.8; spares 1; gpu-price 2.5; gpus 2; currency EUR";
        let read = CapacitySettings::of_line(line, &CapacitySettings::default()).unwrap();
        assert_eq!(
            read,
            CapacitySettings {
                peak: vec![
                    Flow { rps: 12.0, tokens: Some((512, 128)) },
                    Flow { rps: 1.5, tokens: Some((2000, 256)) }
                ],
                growth: 0.2,
                headroom: 0.8,
                spares: 1,
                gpus: Some(2.0),
                gpu_price_per_hour: Some(2.5),
                currency: "EUR".to_owned(),
            }
        );
        let base = CapacitySettings { headroom: 0.6, spares: 3, ..read };
        let over = CapacitySettings::of_line("7 req/s; growth 0.5", &base).unwrap();
        assert_eq!((over.headroom, over.spares, over.growth), (0.6, 3, 0.5), "the rest is the base's");
        assert_eq!(over.peak, [Flow { rps: 7.0, tokens: None }]);
    }

    #[test]
    fn mistakes_of_a_line_say_what_is_allowed() {
        let told = |line: &str| {
            CapacitySettings::of_line(line, &CapacitySettings::default()).unwrap_err().to_string()
        };
        for (line, words) in [
            ("12 apples at 512/128", "not a part of a traffic"),
            ("12 req/s at 512", "prompt/output tokens"),
            ("0 req/s", "not a part of a traffic"),
            ("1 req/s; growth -1", "at least 0"),
            ("1 req/s; growth lots", "not a share"),
            ("1 req/s; headroom 0", "more than 0"),
            ("1 req/s; headroom 1.5", "0 to 1"),
            ("1 req/s; spare 2", "spares"),
            ("1 req/s; gpus 0", "more than 0"),
        ] {
            let told = told(line);
            assert!(told.contains(words) && told.contains("--load"), "{line}: {told}");
        }
    }

    #[test]
    fn a_stored_experiment_keeps_its_section_and_sets() {
        let text = "name = \"x\"\n[grid]\nqps = [1]\n[capacity]\npeak = \"12 req/s at 512/128\"\n";
        let read = |text: &str, sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
            CapacitySettings::of_experiment(text, &sets).unwrap()
        };
        assert_eq!(read(text, &["cell.duration=1s"]).unwrap().peak[0].rps, 12.0);
        let set = read(text, &["capacity.growth=20%"]).unwrap();
        assert_eq!((set.growth, set.peak.len()), (0.2, 1));
        assert_eq!(read("name = \"x\"\n", &[]), None);
    }

    #[test]
    fn words_make_an_slo() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let slo = slo_of_words(&words(&["ttft_p95<=500ms, error_rate ≤ 2%", "user_tps_p50>=20"])).unwrap();
        let rules: Vec<_> = slo.rules.iter().map(|r| (r.metric.as_str(), r.stat.as_str(), r.limit)).collect();
        assert_eq!(rules, [("ttft", "p95", 500.0), ("error_rate", "", 0.02), ("user_tps", "p50", 20.0)]);
        let both = slo_of_words(&words(&["llm-good", "ttft_p95<2s"])).unwrap();
        assert_eq!(both.presets, ["llm-good"]);
        assert_eq!(both.rules.iter().find(|r| r.metric == "ttft").unwrap().limit, 2000.0, "own limits win");
        for (word, told) in [
            ("lm-good", "llm-good"),
            ("ttft_p96<=1s", "ttft_p90"),
            ("ttft_p95<=500", "unit"),
            ("ttft_p95>=500ms", "ttft_p95<=500ms"),
            ("attainment<=0.9", "attainment>=0.9"),
        ] {
            let error = slo_of_words(&words(&[word])).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("--slo"), "{word}: {error}");
        }
    }
}
