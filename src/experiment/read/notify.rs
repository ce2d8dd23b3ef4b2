//! `[notify]`: who is told that a run has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use super::server::{address, words};
use super::target::{header_name, header_value};
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::notify::{End, Notify, Webhook, WebhookFormat};
use crate::experiment::reader::{Field, Section};
use crate::experiment::secret::is_env_name;

const TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3_600);

const FORMATS: [(&str, WebhookFormat); 3] =
    [("slack", WebhookFormat::Slack), ("json", WebhookFormat::Json), ("markdown", WebhookFormat::Markdown)];

/// Hosts whose webhooks bear their key in the URL itself.
const SECRET_HOSTS: [&str; 6] = [
    "hooks.slack.com",
    "discord.com",
    "discordapp.com",
    "webhook.office.com",
    "chat.googleapis.com",
    "api.telegram.org",
];

pub(crate) fn notify(section: Section<'_>) -> Notify {
    let command = section.get("command");
    let webhook = section.get("webhook");
    let notify = Notify {
        on: section.get("on").and_then(|f| ends(&f)).unwrap_or_else(|| End::ALL.to_vec()),
        timeout: section.get("timeout").and_then(|f| f.duration(SHORTEST, LONGEST)).unwrap_or(TIMEOUT),
        command: command.as_ref().and_then(words),
        webhook: webhook.as_ref().and_then(|f| read_webhook(f.section())),
    };
    if command.is_none() && webhook.is_none() {
        let mistake = Mistake::new(MistakeKind::Missing, "tells nobody").allowed("command, or webhook");
        section.reader.add(section.origin, section.key("command"), mistake);
    }
    section.done();
    notify
}

fn ends(field: &Field<'_>) -> Option<Vec<End>> {
    let allowed = End::ALL.map(|end| (end.word(), end));
    let items = field.items()?;
    if items.is_empty() {
        field.bad("names no end, so that nobody would ever be told");
        return None;
    }
    let named = |(i, node)| field.item(node, format!("{}[{}]", field.key(), i + 1)).word(&allowed);
    items.iter().enumerate().map(named).collect()
}

fn read_webhook(section: Section<'_>) -> Option<Webhook> {
    let field = section.get("url");
    if field.is_none() {
        let mistake = Mistake::new(MistakeKind::Missing, "missing")
            .allowed("http://…, https://…, or \"env:NAME\" where the URL is a secret");
        section.reader.add(section.origin, section.key("url"), mistake);
    }
    let url = field.and_then(|f| url(&f));
    let mut headers = BTreeMap::new();
    for field in section.sub("headers").entries() {
        if let Some(value) = header_name(&field).and_then(|()| header_value(&field)) {
            headers.insert(field.name().to_owned(), value.to_owned());
        }
    }
    let format = section.get("format").and_then(|f| f.word(&FORMATS)).unwrap_or(WebhookFormat::Json);
    section.done();
    Some(Webhook { url: url?, headers, format })
}

fn url(field: &Field<'_>) -> Option<String> {
    if let Some(variable) = field.str()?.strip_prefix("env:") {
        if is_env_name(variable) {
            return Some(format!("env:{variable}"));
        }
        field.bad("env: wants the name of an environment variable");
        return None;
    }
    let text = address(
        field,
        false,
        ("not where anything can be posted", "http://…, https://…, or \"env:NAME\" of a variable"),
    )?;
    let secret = url::Url::parse(&text).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default().to_lowercase();
        let of = |known: &&str| host == **known || host.ends_with(&format!(".{known}"));
        SECRET_HOSTS.iter().any(of)
    });
    if secret {
        let problem =
            "who knows this URL can post, so it must not be written here: the file is copied into every run";
        let mistake = Mistake::new(MistakeKind::Secret, problem);
        field.mistake(mistake.allowed("\"env:NAME\", the URL in an environment variable").hidden());
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiment::Experiment;

    fn read(notify: &str) -> Result<Notify, String> {
        let text = format!(
            "[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[cell]\nduration = \"1s\"\n[notify]\n{notify}"
        );
        let experiment = Experiment::parse(Path::new("f.toml"), &text, &[]).map_err(|m| m.to_string())?;
        Ok(experiment.notify.expect("there is a section"))
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let notify = read("command = [\"mail\", \"-s\", \"done\"]").unwrap();
        assert_eq!(notify.command.unwrap(), ["mail", "-s", "done"]);
        assert!(notify.webhook.is_none() && notify.on == End::ALL && notify.timeout == TIMEOUT);
        let notify = read(
            "webhook = { url = \"env:HOOK\", headers = { Authorization = \"env:KEY\" }, format = \"slack\" }
            on = [\"failure\", \"interrupt\"]
            timeout = \"2s\"",
        )
        .unwrap();
        let webhook = notify.webhook.unwrap();
        assert_eq!((webhook.url.as_str(), webhook.format), ("env:HOOK", WebhookFormat::Slack));
        assert_eq!(webhook.headers["Authorization"], "env:KEY");
        assert_eq!(notify.on, [End::Failure, End::Interrupt]);
        assert_eq!(notify.timeout, Duration::from_secs(2));
    }

    #[test]
    fn mistakes_name_their_key_and_hide_secrets() {
        for (notify, key, words) in [
            ("timeout = \"1s\"", "notify.command", "command, or webhook"),
            ("command = []", "notify.command", "names no program"),
            ("comand = [\"a\"]", "notify.comand", "command"),
            ("command = [\"a\"]\non = [\"finsh\"]", "notify.on[1]", "\"finish\""),
            ("command = [\"a\"]\non = []", "notify.on", "nobody"),
            ("webhook = { format = \"json\" }", "notify.webhook.url", "missing"),
            ("webhook = { url = \"/x\" }", "notify.webhook.url", "https://"),
            ("webhook = { url = \"http://u:hunter2@h/\" }", "notify.webhook.url", "name or password"),
            (
                "webhook = { url = \"https://hooks.slack.com/services/hunter2\" }",
                "notify.webhook.url",
                "env:NAME",
            ),
            ("webhook = { url = \"http://h/\", format = \"slak\" }", "notify.webhook.format", "\"slack\""),
            (
                "webhook = { url = \"http://h/\", headers = { X-Token = \"hunter2\" } }",
                "notify.webhook.headers.X-Token",
                "env:NAME",
            ),
        ] {
            let text = read(notify).unwrap_err();
            assert!(text.contains(key) && text.contains(words), "{notify}: {text}");
            assert!(!text.contains("hunter2"), "{notify}: {text}");
        }
    }
}
