//! A Prometheus Pushgateway is given all figures, again and again.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use reqwest::Method;
use url::Url;

use super::feed::Notes;
use super::post::{Receiver, below};
use super::registry::Registry;
use super::{PublishError, text, variable};
use crate::experiment::{PushMethod, PushSettings};

/// Pushes to one group.
pub(super) struct Pusher {
    receiver: Receiver,
    group: Url,
    method: Method,
    /// Name and password.
    user: Option<(String, Option<String>)>,
    aliases: bool,
}

impl Pusher {
    pub(super) fn new(
        settings: &PushSettings,
        environment: &dyn Fn(&str) -> Option<String>,
        notes: &Notes,
    ) -> Result<Self, PublishError> {
        let base = super::parse("publish.pushgateway.url", &settings.url)?;
        let password = settings.password_env.as_deref();
        let password =
            password.map(|name| variable(environment, name, "publish.pushgateway.password")).transpose()?;
        let secrets = password.iter().cloned().collect();
        Ok(Self {
            receiver: Receiver::new("the Pushgateway", &base, secrets, notes)?,
            group: below(&base, &group(settings)),
            method: match settings.method {
                PushMethod::Put => Method::PUT,
                PushMethod::Post => Method::POST,
            },
            user: settings.user.clone().map(|user| (user, password)),
            aliases: settings.aliases,
        })
    }

    pub(super) fn body(&self, registry: &Registry) -> String {
        let mut body = text::render(&registry.series());
        if self.aliases {
            body.push_str(&text::render(&registry.aliases()));
        }
        body
    }

    pub(super) async fn push(&mut self, body: String) {
        let request = self.request(self.method.clone()).header("content-type", text::CONTENT_TYPE).body(body);
        self.receiver.send(request).await;
    }

    /// Take the group away.
    pub(super) async fn delete(&mut self) {
        let request = self.request(Method::DELETE);
        self.receiver.send(request).await;
    }

    pub(super) fn sum_up(&self) {
        self.receiver.sum_up();
    }

    fn request(&self, method: Method) -> reqwest::RequestBuilder {
        let request = self.receiver.client.request(method, self.group.clone());
        match &self.user {
            Some((user, password)) => request.basic_auth(user, password.as_ref()),
            None => request,
        }
    }
}

/// The path of the group. Values that are empty or hold a slash are written in Base64, as a gateway
/// wants them.
fn group(settings: &PushSettings) -> String {
    let instance = settings.instance.iter().map(|value| ("instance", value.as_str()));
    let others = settings.grouping.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut path = "/metrics".to_owned();
    for (name, value) in [("job", settings.job.as_str())].into_iter().chain(instance).chain(others) {
        if value.is_empty() {
            path.push_str(&format!("/{name}@base64/="));
        } else if value.contains('/') {
            path.push_str(&format!("/{name}@base64/{}", URL_SAFE.encode(value)));
        } else {
            path.push_str(&format!("/{name}/{}", percent(value)));
        }
    }
    path
}

/// A part of a path, with everything that could end it or be read otherwise written in hexadecimal.
fn percent(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_~:".contains(&b);
    let one = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    value.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_group_is_a_path() {
        let mut settings = PushSettings {
            url: "http://h/base".to_owned(),
            job: "llm_load_test".to_owned(),
            instance: Some("a b".to_owned()),
            grouping: vec![("team".to_owned(), "x/y".to_owned()), ("none".to_owned(), String::new())],
            interval: Duration::from_secs(1),
            method: PushMethod::Put,
            delete: false,
            user: None,
            password_env: None,
            aliases: false,
        };
        let path = group(&settings);
        assert_eq!(path, "/metrics/job/llm_load_test/instance/a%20b/team@base64/eC95/none@base64/=");
        let url = below(&Url::parse("http://h/base/").unwrap(), &path);
        assert_eq!(url.as_str(), format!("http://h/base{path}"));
        settings.password_env = Some("P".to_owned());
        let error = Pusher::new(&settings, &|_| None, &Notes::default()).err().unwrap().to_string();
        assert!(error.contains("P") && error.contains("publish.pushgateway.password"), "{error}");
    }
}
