//! OpenTelemetry's protocol over HTTP, in its JSON encoding: the names of its fields, 64-bit numbers as
//! text. Cumulative, so that what one request couldn't bring the next one does.

use serde::Serialize;
use url::Url;

use super::families::Kind;
use super::feed::Notes;
use super::post::{Receiver, below};
use super::registry::{Point, Registry, Series, Value, now_ns};
use super::{PublishError, variable};
use crate::experiment::{OtlpEndpoint, OtlpSettings};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// Posts to one collector.
pub(super) struct Exporter {
    receiver: Receiver,
    url: Url,
    headers: Vec<(String, String)>,
}

impl Exporter {
    pub(super) fn new(
        settings: &OtlpSettings,
        environment: &dyn Fn(&str) -> Option<String>,
        notes: &Notes,
    ) -> Result<Self, PublishError> {
        let (base, mut headers) = match &settings.endpoint {
            OtlpEndpoint::Url(url) => (super::parse("publish.otlp.endpoint", url)?, Vec::new()),
            OtlpEndpoint::Environment => {
                let url = variable(environment, ENDPOINT, "publish.otlp.endpoint")?;
                let headers = environment(HEADERS).map(|text| listed(&text)).unwrap_or_default();
                (super::parse(ENDPOINT, &url)?, headers)
            }
        };
        let mut secrets: Vec<String> = headers.iter().map(|(_, value)| value.clone()).collect();
        for (name, value) in &settings.headers {
            let key = format!("publish.otlp.headers.{name}");
            let value = match value.strip_prefix("env:") {
                Some(from) => {
                    let value = variable(environment, from, &key)?;
                    secrets.push(value.clone());
                    value
                }
                None => value.clone(),
            };
            headers.push((name.clone(), value));
        }
        let path = if base.path().ends_with("/v1/metrics") { "" } else { "/v1/metrics" };
        let receiver = Receiver::new("the OTLP collector", &base, secrets, notes)?;
        Ok(Self { receiver, url: below(&base, path), headers })
    }

    pub(super) async fn post(&mut self, body: String) {
        let mut request =
            self.receiver.client.post(self.url.clone()).header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        self.receiver.send(request.body(body)).await;
    }

    pub(super) fn sum_up(&self) {
        self.receiver.sum_up();
    }
}

/// Headers as the environment has them: `name=value,name=value`, values in percent encoding.
fn listed(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), unescaped(value.trim()))).collect()
}

fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// All figures as the body of a request.
pub(super) fn render(registry: &Registry) -> String {
    let now = now_ns().to_string();
    let metrics = registry.series().into_iter().filter(|series| !series.points.is_empty());
    let metrics: Vec<Metric> = metrics.map(|series| metric(series, &now)).collect();
    let (name, version) = ("plimsoll", env!("CARGO_PKG_VERSION"));
    let mut about = vec![attribute("service.name", name), attribute("service.version", version)];
    if !registry.run().is_empty() {
        about.push(attribute("service.instance.id", registry.run()));
    }
    let request = Request {
        resource_metrics: [ResourceMetrics {
            resource: Resource { attributes: about },
            scope_metrics: [ScopeMetrics { scope: Scope { name, version }, metrics }],
        }],
    };
    // Of texts and numbers alone: there is nothing in it that JSON can't have.
    serde_json::to_string(&request).unwrap_or_default()
}

fn metric(series: Series, now: &str) -> Metric {
    let Series { family, points } = series;
    let counted = family.kind != Kind::Gauge;
    let data: Vec<DataPoint> = points.into_iter().map(|point| data_point(point, counted, now)).collect();
    let mut metric = Metric {
        name: family.name,
        description: family.help,
        unit: family.unit,
        sum: None,
        gauge: None,
        histogram: None,
    };
    match family.kind {
        Kind::Counter => {
            metric.sum =
                Some(Sum { data_points: data, aggregation_temporality: CUMULATIVE, is_monotonic: true });
        }
        Kind::Gauge => metric.gauge = Some(Gauge { data_points: data }),
        Kind::Histogram => {
            metric.histogram = Some(Histogram { data_points: data, aggregation_temporality: CUMULATIVE });
        }
    }
    metric
}

fn data_point(point: Point, counted: bool, now: &str) -> DataPoint {
    let mut data = DataPoint {
        attributes: point.labels.iter().map(|(name, value)| attribute(name, value)).collect(),
        start_time_unix_nano: counted.then(|| point.since_ns.to_string()),
        time_unix_nano: now.to_owned(),
        ..DataPoint::default()
    };
    match point.value {
        Value::Whole(n) => data.as_int = Some(n.to_string()),
        Value::Number(x) => data.as_double = Some(x),
        Value::Buckets(histo) => {
            data.count = Some(histo.n().to_string());
            data.sum = Some(histo.sum);
            data.bucket_counts = Some(histo.counts.iter().map(ToString::to_string).collect());
            data.explicit_bounds = Some(histo.bounds);
        }
    }
    data
}

fn attribute(key: &str, value: &str) -> Attribute {
    Attribute { key: key.to_owned(), value: AnyValue { string_value: value.to_owned() } }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_metrics: [ResourceMetrics; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceMetrics {
    resource: Resource,
    scope_metrics: [ScopeMetrics; 1],
}

#[derive(Serialize)]
struct Resource {
    attributes: Vec<Attribute>,
}

#[derive(Serialize)]
struct ScopeMetrics {
    scope: Scope,
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Metric {
    name: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<Sum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gauge: Option<Gauge>,
    #[serde(skip_serializing_if = "Option::is_none")]
    histogram: Option<Histogram>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sum {
    data_points: Vec<DataPoint>,
    aggregation_temporality: u8,
    is_monotonic: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Gauge {
    data_points: Vec<DataPoint>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Histogram {
    data_points: Vec<DataPoint>,
    aggregation_temporality: u8,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct DataPoint {
    attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time_unix_nano: Option<String>,
    time_unix_nano: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_int: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_double: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket_counts: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explicit_bounds: Option<&'static [f64]>,
}

#[derive(Serialize)]
struct Attribute {
    key: String,
    value: AnyValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue {
    string_value: String,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn headers_of_the_environment_are_unescaped() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            listed("authorization=Bearer%20a%2Cb, tenant = x%zz%"),
            [header("authorization", "Bearer a,b"), header("tenant", "x%zz%")]
        );
    }

    #[test]
    fn the_environment_counts_only_where_it_is_asked_for() {
        let environment = |name: &str| match name {
            ENDPOINT => Some("http://collector:4318/".to_owned()),
            HEADERS => Some("a=b".to_owned()),
            _ => None,
        };
        let exporter = |endpoint| {
            let settings = OtlpSettings { endpoint, headers: Vec::new(), interval: Duration::from_secs(1) };
            Exporter::new(&settings, &environment, &Notes::default()).unwrap()
        };
        let own = exporter(OtlpEndpoint::Url("http://here:1/v1/metrics".to_owned()));
        assert_eq!((own.url.as_str(), own.headers.len()), ("http://here:1/v1/metrics", 0));
        let asked = exporter(OtlpEndpoint::Environment);
        assert_eq!((asked.url.as_str(), asked.headers.len()), ("http://collector:4318/v1/metrics", 1));
    }
}
