//! GPUs of this machine by NVML, NVIDIA's management library, which is loaded while we run: a
//! machine without it has no such GPUs.

use std::time::Instant;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};

use super::{ObserveError, Reading, Source};
use crate::record::inside::{
    GPU, GPU_CLOCK, GPU_ENERGY, GPU_MEMORY, GPU_MEMORY_CLOCK, GPU_MEMORY_SHARE, GPU_POWER, GPU_TEMPERATURE,
    GPU_THROTTLE, GPU_THROTTLED,
};

/// Reasons for which a GPU runs slower than it could, with their words. Left out are those that
/// are no trouble: it has nothing to do, or somebody set its clock.
const REASONS: [(ThrottleReasons, &str); 6] = [
    (ThrottleReasons::SW_POWER_CAP, "power_cap"),
    (ThrottleReasons::HW_SLOWDOWN, "hardware_slowdown"),
    (ThrottleReasons::SYNC_BOOST, "sync_boost"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "thermal_software"),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "thermal_hardware"),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "power_brake"),
];

/// See the module.
pub struct Gpus {
    nvml: Result<Nvml, String>,
    /// Which of them; `None`: all.
    wanted: Option<Vec<u32>>,
    /// Energy of each that has no counter of it.
    integrals: Vec<(u32, Integral)>,
}

impl Gpus {
    /// All GPUs of this machine; `None` where there are none.
    #[must_use]
    pub fn all() -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        let some = nvml.device_count().is_ok_and(|count| count > 0);
        some.then(|| Self { nvml: Ok(nvml), wanted: None, integrals: Vec::new() })
    }

    /// Those that were asked for, all where `wanted` is `None`. Where there are none, each reading
    /// says so.
    #[must_use]
    pub fn asked(wanted: Option<Vec<u32>>) -> Self {
        let nvml = Nvml::init().map_err(|error| format!("no GPU can be read: {error}"));
        Self { nvml, wanted, integrals: Vec::new() }
    }
}

/// What one GPU tells; `None` for what it doesn't.
#[derive(Debug, Clone, Default)]
struct Look {
    /// Of 100.
    utilisation: Option<u32>,
    /// Bytes taken, and all.
    memory: Option<(u64, u64)>,
    milliwatts: Option<u32>,
    clock_mhz: Option<u32>,
    memory_clock_mhz: Option<u32>,
    celsius: Option<u32>,
    throttled: Option<ThrottleReasons>,
    millijoules: Option<u64>,
}

impl Source for Gpus {
    fn name(&self) -> &'static str {
        "GPUs"
    }

    /// # Errors
    /// Where NVML or a GPU that was asked for is not there.
    fn read(&mut self) -> Result<Vec<Reading>, ObserveError> {
        let failed = |what: String| ObserveError::Failed(what);
        let nvml = self.nvml.as_ref().map_err(|why| failed(why.clone()))?;
        let count = nvml.device_count().map_err(|e| failed(format!("no GPU can be read: {e}")))?;
        let all: Vec<u32> = (0..count).collect();
        let wanted = self.wanted.as_ref().unwrap_or(&all);
        if wanted.is_empty() {
            return Err(failed("there is no GPU".to_owned()));
        }
        let mut readings = Vec::new();
        for &index in wanted {
            let device = nvml.device_by_index(index);
            let device =
                device.map_err(|e| failed(format!("there is no GPU {index} ({count} in all): {e}")))?;
            let look = Look {
                utilisation: device.utilization_rates().ok().map(|rates| rates.gpu),
                memory: device.memory_info().ok().map(|memory| (memory.used, memory.total)),
                milliwatts: device.power_usage().ok(),
                clock_mhz: device.clock_info(Clock::SM).ok(),
                memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
                celsius: device.temperature(TemperatureSensor::Gpu).ok(),
                throttled: device.current_throttle_reasons().ok(),
                millijoules: device.total_energy_consumption().ok(),
            };
            let known = self.integrals.iter().position(|(i, _)| *i == index);
            let place = known.unwrap_or_else(|| {
                self.integrals.push((index, Integral::default()));
                self.integrals.len() - 1
            });
            look.tell(index, &mut self.integrals[place].1, Instant::now(), &mut readings);
        }
        Ok(readings)
    }
}

impl Look {
    fn tell(&self, index: u32, integral: &mut Integral, now: Instant, out: &mut Vec<Reading>) {
        let index = index.to_string();
        let labels = [("gpu", index.as_str())];
        let watts = self.milliwatts.map(|mw| f64::from(mw) / 1000.0);
        let share = |(used, all): (u64, u64)| (all > 0).then(|| used as f64 / all as f64);
        let values = [
            (GPU, self.utilisation.map(|percent| f64::from(percent) / 100.0)),
            (GPU_MEMORY, self.memory.map(|(used, _)| used as f64)),
            (GPU_MEMORY_SHARE, self.memory.and_then(share)),
            (GPU_POWER, watts),
            (GPU_CLOCK, self.clock_mhz.map(f64::from)),
            (GPU_MEMORY_CLOCK, self.memory_clock_mhz.map(f64::from)),
            (GPU_TEMPERATURE, self.celsius.map(f64::from)),
        ];
        let some = values.into_iter().filter_map(|(name, value)| Some(Reading::gauge(name, &labels, value?)));
        out.extend(some);
        let counted = self.millijoules.map(|mj| mj as f64 / 1000.0);
        let summed = watts.map(|watts| integral.add(now, watts));
        let joules = if *integral.counted.get_or_insert(counted.is_some()) { counted } else { summed };
        out.extend(joules.map(|joules| Reading::counter(GPU_ENERGY, &labels, joules)));
        if let Some(reasons) = self.throttled {
            let words = words(reasons);
            out.push(Reading::gauge(GPU_THROTTLED, &labels, f64::from(u8::from(!words.is_empty()))));
            let of = |(_, word): &(ThrottleReasons, &'static str)| {
                let labels = [("gpu", index.as_str()), ("reason", *word)];
                Reading::gauge(GPU_THROTTLE, &labels, f64::from(u8::from(words.contains(word))))
            };
            out.extend(REASONS.iter().map(of));
        }
    }
}

/// The words of the reasons that are any trouble.
fn words(reasons: ThrottleReasons) -> Vec<&'static str> {
    REASONS.iter().filter(|(reason, _)| reasons.contains(*reason)).map(|(_, word)| *word).collect()
}

/// Energy from power: between two looks it is taken for their mean.
#[derive(Debug, Default)]
struct Integral {
    /// Whether the GPU counts its energy itself, as its first look said: a count that comes and goes is
    /// never mixed with a sum of our own.
    counted: Option<bool>,
    last: Option<(Instant, f64)>,
    joules: f64,
}

impl Integral {
    /// The energy in joules since the first look.
    fn add(&mut self, now: Instant, watts: f64) -> f64 {
        if let Some((then, before)) = self.last.replace((now, watts)) {
            self.joules += before.midpoint(watts) * now.saturating_duration_since(then).as_secs_f64();
        }
        self.joules
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn value(readings: &[Reading], name: &str, labels: &str) -> Option<f64> {
        readings.iter().find(|r| r.name == name && r.labels == labels).map(|r| r.value)
    }

    #[test]
    fn what_a_gpu_tells_is_told_in_plain_units() {
        let look = Look {
            utilisation: Some(87),
            memory: Some((60 << 30, 80 << 30)),
            milliwatts: Some(412_500),
            clock_mhz: Some(1980),
            celsius: Some(71),
            throttled: Some(ThrottleReasons::SW_POWER_CAP | ThrottleReasons::GPU_IDLE),
            millijoules: Some(9_000),
            ..Look::default()
        };
        let mut out = Vec::new();
        look.tell(1, &mut Integral::default(), Instant::now(), &mut out);
        let gpu = "gpu=\"1\"";
        for (name, want) in [
            (GPU, Some(0.87)),
            (GPU_MEMORY, Some((60_u64 << 30) as f64)),
            (GPU_MEMORY_SHARE, Some(0.75)),
            (GPU_POWER, Some(412.5)),
            (GPU_CLOCK, Some(1980.0)),
            (GPU_MEMORY_CLOCK, None),
            (GPU_TEMPERATURE, Some(71.0)),
            (GPU_ENERGY, Some(9.0)),
            (GPU_THROTTLED, Some(1.0)),
        ] {
            assert_eq!(value(&out, name, gpu), want, "{name}");
        }
        assert_eq!(value(&out, GPU_THROTTLE, "gpu=\"1\",reason=\"power_cap\""), Some(1.0));
        assert_eq!(value(&out, GPU_THROTTLE, "gpu=\"1\",reason=\"thermal_software\""), Some(0.0));
    }

    #[test]
    fn idleness_and_settings_are_no_trouble() {
        use ThrottleReasons as T;
        assert_eq!(words(T::GPU_IDLE | T::APPLICATIONS_CLOCKS_SETTING), [""; 0]);
        assert_eq!(words(T::HW_SLOWDOWN | T::HW_THERMAL_SLOWDOWN), ["hardware_slowdown", "thermal_hardware"]);
    }

    #[test]
    fn energy_without_a_counter_is_powers_integral() {
        let (mut integral, t) = (Integral::default(), Instant::now());
        assert_eq!(integral.add(t, 100.0), 0.0);
        assert_eq!(integral.add(t + Duration::from_secs(2), 300.0), 400.0);
        assert_eq!(integral.add(t + Duration::from_secs(3), 300.0), 700.0);
        let look = Look { milliwatts: Some(100_000), ..Look::default() };
        let mut out = Vec::new();
        look.tell(0, &mut integral, t + Duration::from_secs(4), &mut out);
        assert_eq!(value(&out, GPU_ENERGY, "gpu=\"0\""), Some(900.0));
        assert_eq!(value(&out, GPU_THROTTLED, "gpu=\"0\""), None, "it isn't known");
    }

    #[test]
    fn where_there_is_none_only_who_asked_is_told() {
        match Gpus::all() {
            None => {
                let error = Gpus::asked(Some(vec![0])).read().unwrap_err().to_string();
                assert!(error.contains("GPU"), "{error}");
            }
            Some(mut gpus) => {
                assert!(gpus.read().unwrap().iter().any(|r| r.name == GPU_MEMORY));
                let error = Gpus::asked(Some(vec![99])).read().unwrap_err().to_string();
                assert!(error.contains("no GPU 99"), "{error}");
            }
        }
    }
}
