//! `[publish]`: where this client's own figures go.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::publish::{
    GrafanaSettings, OtlpEndpoint, OtlpSettings, PublishSettings, PushMethod, PushSettings,
};
use crate::experiment::reader::{Field, Section};
use crate::experiment::secret::{is_env_name, looks_secret};
use crate::experiment::tree::Value as Written;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(3_600);
/// As Prometheus scrapes.
const PUSH_EVERY: Duration = Duration::from_secs(15);
const JOB: &str = "plimsoll";

pub(crate) fn publish(section: Section<'_>) -> PublishSettings {
    let usual = PublishSettings::default();
    let table = |key| section.get(key).map(|f| f.section());
    let settings = PublishSettings {
        listen: section.get("listen").and_then(|f| listen(&f)),
        linger: section
            .get("linger")
            .and_then(|f| f.duration(Duration::ZERO, LONGEST))
            .unwrap_or(usual.linger),
        cells: section.get("cells").and_then(|f| f.u32(1, 10_000)).map_or(usual.cells, |n| n as usize),
        pushgateway: table("pushgateway").and_then(pushgateway),
        otlp: table("otlp").and_then(otlp),
        grafana: table("grafana").and_then(grafana),
    };
    section.done();
    settings
}

/// An address; a port alone is one of this machine's own, for nobody else.
fn listen(field: &Field<'_>) -> Option<SocketAddr> {
    let text = match &field.node.value {
        Written::Int(port) => port.to_string(),
        _ => field.text()?,
    };
    let port = text.strip_prefix("localhost:").or(text.strip_prefix(':')).unwrap_or(&text);
    if let Ok(port) = port.parse::<u16>() {
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    let address = text.parse().ok();
    if address.is_none() {
        let mistake = Mistake::new(MistakeKind::BadValue, "no address to listen on");
        let allowed = "such as \"127.0.0.1:9464\"; a port alone is on the loopback address";
        field.mistake(mistake.found(field.node.describe()).allowed(allowed));
    }
    address
}

/// A key's value, also under the name that another tool has for it.
fn either<'r>(section: &Section<'r>, key: &'static str, other: &str) -> Option<Field<'r>> {
    let (own, alias) = (section.get(key), section.peek(other));
    section.skip(other);
    if let (Some(_), Some(alias)) = (&own, &alias) {
        alias.key_mistake(Mistake::new(
            MistakeKind::Conflict,
            format!("the same as {key}, which is here too"),
        ));
    }
    own.or(alias)
}

/// The base URL under `key`, which must be there. One without a scheme is `http`.
fn base_url(section: &Section<'_>, field: Option<Field<'_>>, key: &str, example: &str) -> Option<String> {
    let Some(field) = field else {
        let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed(format!("such as {example:?}"));
        section.reader.add(section.origin, section.key(key), mistake);
        return None;
    };
    let text = field.text()?;
    let whole = if text.contains("://") { text.clone() } else { format!("http://{text}") };
    let tell = |kind, problem: &str| {
        let mistake = Mistake::new(kind, problem).allowed(format!("such as {example:?}"));
        // What is no URL may still hold a password.
        let open = !text.contains(['@', '?']);
        field.mistake(if open { mistake.found(format!("{text:?}")) } else { mistake.hidden() });
        None
    };
    match url::Url::parse(&whole) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            tell(MistakeKind::Secret, "a URL must not hold a name or password")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            tell(MistakeKind::BadValue, "a base URL has no ? and no #")
        }
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host_str().is_some() => {
            Some(whole.trim_end_matches('/').to_owned())
        }
        _ => tell(MistakeKind::BadValue, "not a URL"),
    }
}

/// The variable that holds a secret, written `env:NAME`.
fn secret(field: &Field<'_>) -> Option<String> {
    let text = field.str()?;
    match text.strip_prefix("env:").filter(|name| is_env_name(name)) {
        Some(name) => Some(name.to_owned()),
        None => {
            let problem = "a secret is never written here, as the file is copied into every run";
            let mistake = Mistake::new(MistakeKind::Secret, problem);
            field.mistake(mistake.allowed("\"env:NAME\", the name of an environment variable").hidden());
            None
        }
    }
}

fn interval(field: Option<Field<'_>>) -> Duration {
    field.and_then(|f| f.duration(SHORTEST, LONGEST)).unwrap_or(PUSH_EVERY)
}

fn pushgateway(section: Section<'_>) -> Option<PushSettings> {
    let enabled = section.get("enabled").and_then(|f| f.bool()).unwrap_or(true);
    let url = either(&section, "url", "pushgateway_url");
    let url = base_url(&section, url, "url", "http://127.0.0.1:9091");
    // Another tool has it in seconds.
    let seconds = section.peek("push_interval_seconds");
    let every = section.get("interval");
    section.skip("push_interval_seconds");
    if let (Some(_), Some(alias)) = (&every, &seconds) {
        alias.key_mistake(Mistake::new(MistakeKind::Conflict, "the same as interval, which is here too"));
    }
    let seconds = seconds.and_then(|f| f.number_in("0.1 to 3600", |s| (0.1..=3600.0).contains(&s)));
    let settings = PushSettings {
        url: url.clone().unwrap_or_default(),
        job: either(&section, "job", "job_name").and_then(|f| f.text()).unwrap_or_else(|| JOB.to_owned()),
        instance: either(&section, "instance", "instance_name").and_then(|f| f.text()),
        grouping: section.get("grouping").map(|f| grouping(&f.section())).unwrap_or_default(),
        interval: seconds.map_or_else(|| interval(every), Duration::from_secs_f64),
        method: section
            .get("method")
            .and_then(|f| f.word(&[("PUT", PushMethod::Put), ("POST", PushMethod::Post)]))
            .unwrap_or(PushMethod::Put),
        delete: section.get("delete").and_then(|f| f.bool()).unwrap_or(false),
        user: either(&section, "user", "username").and_then(|f| f.text()),
        password_env: section.get("password").and_then(|f| secret(&f)),
        aliases: section.get("aliases").and_then(|f| f.bool()).unwrap_or(false),
    };
    if settings.password_env.is_some() && settings.user.is_none() {
        let mistake = Mistake::new(MistakeKind::Missing, "missing beside password");
        section.reader.add(section.origin, section.key("user"), mistake);
    }
    section.done();
    url.filter(|_| enabled).map(|_| settings)
}

/// Labels of the grouping key, beside job and instance.
fn grouping(section: &Section<'_>) -> Vec<(String, String)> {
    let fits =
        |name: &str| is_env_name(name) && !name.starts_with("__") && !["job", "instance"].contains(&name);
    let label = |field: Field<'_>| {
        if !fits(field.name()) {
            let mistake = Mistake::new(MistakeKind::BadValue, "no name of a further label");
            field.key_mistake(mistake.allowed("letters, digits and underscores; job and instance are keys"));
            return None;
        }
        Some((field.name().to_owned(), field.str()?.to_owned()))
    };
    section.entries().filter_map(label).collect()
}

fn otlp(section: Section<'_>) -> Option<OtlpSettings> {
    let field = section.get("endpoint");
    let endpoint = if field.as_ref().is_some_and(|f| matches!(&f.node.value, Written::Str(s) if s == "env")) {
        Some(OtlpEndpoint::Environment)
    } else {
        base_url(&section, field, "endpoint", "http://127.0.0.1:4318").map(OtlpEndpoint::Url)
    };
    let headers = section.get("headers").map(|f| headers(&f.section())).unwrap_or_default();
    let interval = interval(section.get("interval"));
    section.done();
    endpoint.map(|endpoint| OtlpSettings { endpoint, headers, interval })
}

fn headers(section: &Section<'_>) -> Vec<(String, String)> {
    let header = |field: Field<'_>| {
        let named = matches!(&field.node.value, Written::Str(s) if s.starts_with("env:"));
        if looks_secret(field.name()) || named {
            return secret(&field).map(|name| (field.name().to_owned(), format!("env:{name}")));
        }
        Some((field.name().to_owned(), field.text()?))
    };
    section.entries().filter_map(header).collect()
}

fn grafana(section: Section<'_>) -> Option<GrafanaSettings> {
    let url = base_url(&section, section.get("url"), "url", "http://127.0.0.1:3000");
    let tags = section.get("tags").map(|f| {
        let items = f.items().unwrap_or_default().iter().enumerate();
        items.filter_map(|(i, node)| f.item(node, format!("{}[{}]", f.key(), i + 1)).text()).collect()
    });
    let token_env = section.get("token").and_then(|f| secret(&f));
    let dashboard = section.get("dashboard").and_then(|f| f.text());
    section.done();
    url.map(|url| GrafanaSettings { url, token_env, dashboard, tags: tags.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiment::Experiment;

    fn read(publish: &str) -> Result<PublishSettings, String> {
        let text = format!(
            "[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[cell]\nduration = \"1s\"\n[publish]\n{publish}"
        );
        let experiment = Experiment::parse(Path::new("f.toml"), &text, &[]).map_err(|m| m.to_string())?;
        Ok(experiment.publish)
    }

    #[test]
    fn nothing_goes_anywhere_unless_asked_for() {
        let usual = read("").unwrap();
        assert_eq!(usual, PublishSettings::default());
        assert!(!usual.is_wanted());
    }

    #[test]
    fn a_port_alone_is_on_the_loopback_address() {
        for (written, address) in [
            ("\"127.0.0.1:9464\"", "127.0.0.1:9464"),
            ("\":9464\"", "127.0.0.1:9464"),
            ("9464", "127.0.0.1:9464"),
            ("\"localhost:0\"", "127.0.0.1:0"),
            ("\"0.0.0.0:9464\"", "0.0.0.0:9464"),
            ("\"[::1]:9464\"", "[::1]:9464"),
        ] {
            let listen = read(&format!("listen = {written}")).unwrap().listen;
            assert_eq!(listen, Some(address.parse().unwrap()), "{written}");
        }
    }

    #[test]
    fn a_gateway_is_read_under_both_names() {
        let own = read(
            "[publish.pushgateway]\nurl = \"http://localhost:9091\"\njob = \"llm_load_test\"\ninstance = \"local_test\"\ninterval = \"5s\"\nuser = \"admin\"\npassword = \"env:PUSH_PASSWORD\"",
        )
        .unwrap();
        let other = read(
            "[publish.pushgateway]\nenabled = true\npushgateway_url = \"localhost:9091\"\njob_name = \"llm_load_test\"\ninstance_name = \"local_test\"\npush_interval_seconds = 5\nusername = \"admin\"\npassword = \"env:PUSH_PASSWORD\"",
        )
        .unwrap();
        assert_eq!(own, other);
        let push = own.pushgateway.unwrap();
        assert_eq!((push.job.as_str(), push.interval), ("llm_load_test", Duration::from_secs(5)));
        assert_eq!(
            (push.user.as_deref(), push.password_env.as_deref()),
            (Some("admin"), Some("PUSH_PASSWORD"))
        );
        assert_eq!((push.method, push.delete, push.aliases), (PushMethod::Put, false, false));
        assert_eq!(
            read("pushgateway = { enabled = false, pushgateway_url = \"h:1\" }").unwrap().pushgateway,
            None
        );
    }

    #[test]
    fn a_collector_and_a_grafana_are_read() {
        let settings = read(
            "otlp = { endpoint = \"env\", interval = \"1s\", headers = { Authorization = \"env:OTLP\", tenant = \"a\" } }\n[publish.grafana]\nurl = \"http://g:3000/grafana/\"\ntoken = \"env:TOKEN\"\ntags = [\"x\"]",
        )
        .unwrap();
        let otlp = settings.otlp.unwrap();
        assert_eq!(otlp.endpoint, OtlpEndpoint::Environment);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(otlp.headers, [header("Authorization", "env:OTLP"), header("tenant", "a")]);
        let grafana = settings.grafana.unwrap();
        assert_eq!(grafana.url, "http://g:3000/grafana");
        assert_eq!((grafana.token_env.as_deref(), grafana.tags), (Some("TOKEN"), vec!["x".to_owned()]));
    }

    #[test]
    fn mistakes_name_their_key_and_secrets_are_not_shown() {
        for (written, key, words) in [
            ("listen = \"here\"", "publish.listen", "127.0.0.1:9464"),
            ("lissen = 1", "publish.lissen", "listen"),
            ("pushgateway = {}", "publish.pushgateway.url", "http://127.0.0.1:9091"),
            ("pushgateway = { url = \"ftp://h\" }", "publish.pushgateway.url", "not a URL"),
            ("pushgateway = { url = \"h:1\", jbo = \"x\" }", "publish.pushgateway.jbo", "job"),
            (
                "pushgateway = { url = \"h:1\", pushgateway_url = \"h:1\" }",
                "pushgateway_url",
                "the same as url",
            ),
            ("pushgateway = { url = \"h:1\", password = \"env:P\" }", "publish.pushgateway.user", "missing"),
            (
                "pushgateway = { url = \"h:1\", grouping = { job = \"x\" } }",
                "grouping.job",
                "job and instance",
            ),
            (
                "otlp = { endpoint = \"h:1\", headers = { api-key = \"hush\" } }",
                "headers.api-key",
                "env:NAME",
            ),
            ("pushgateway = { url = \"h:1\", user = \"u\", password = \"hush\" }", "password", "env:NAME"),
            ("pushgateway = { url = \"http://u:hush@h\" }", "publish.pushgateway.url", "name or password"),
            ("grafana = { url = \"h:1\", token = \"hush\" }", "publish.grafana.token", "env:NAME"),
        ] {
            let text = read(written).unwrap_err();
            assert!(text.contains(key) && text.contains(words), "{written}: {text}");
            assert!(!text.contains("hush"), "{written}: {text}");
        }
    }
}
