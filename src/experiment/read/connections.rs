//! The keys of `[target]` that say how connections are made, and `[target.tls]`.

use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::secret::is_env_name;
use crate::experiment::settings::{Connections, Dns, HttpVersion, Proxy, Tls};
use crate::experiment::tree::Value as Written;

const VERSIONS: [(&str, HttpVersion); 2] = [("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];
const LOOKUPS: [(&str, Dns); 2] = [("start", Dns::Start), ("connect", Dns::Connect)];
/// What a proxy's URL may begin with.
const PROXY_SCHEMES: [&str; 3] = ["http", "socks5", "socks5h"];
const PROXY_ALLOWED: &str =
    "\"env\", \"none\", \"http://host:port\", \"socks5://…\", \"socks5h://…\" or \"env:NAME\"";

pub(super) fn read(section: &Section<'_>) -> Connections {
    let usual = Connections::default();
    let socket = section.get("unix_socket");
    let proxy = section.get("proxy");
    if let (Some(_), Some(field)) = (&socket, &proxy) {
        let problem = "no proxy stands before a Unix socket";
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    Connections {
        http: section.get("http").and_then(|f| version(&f)).unwrap_or(usual.http),
        keep_alive: section.get("keep_alive").and_then(|f| f.bool()).unwrap_or(usual.keep_alive),
        // A server that is not up yet has no socket; the run will tell.
        unix_socket: socket.and_then(|f| f.path()),
        proxy: proxy.and_then(|f| read_proxy(&f)).unwrap_or(usual.proxy),
        dns: section.get("dns").and_then(|f| f.word(&LOOKUPS)).unwrap_or(usual.dns),
    }
}

/// `"1.1"` or `"2"`; as a number, too, since that is what `--set target.http=2` gives.
fn version(field: &Field<'_>) -> Option<HttpVersion> {
    let number = match field.node.value {
        Written::Int(n) => n as f64,
        Written::Float(x) => x,
        _ => return field.word(&VERSIONS),
    };
    let found = VERSIONS.iter().find(|(word, _)| word.parse() == Ok(number));
    if found.is_none() {
        let near = if number < 2.0 { "1.1" } else { "2" };
        field.unknown_word_near(&VERSIONS.map(|(word, _)| word), Some(near));
    }
    found.map(|(_, version)| *version)
}

fn read_proxy(field: &Field<'_>) -> Option<Proxy> {
    let text = field.text()?;
    match text.as_str() {
        "env" => return Some(Proxy::Environment),
        "none" => return Some(Proxy::None),
        _ => {}
    }
    if let Some(variable) = text.strip_prefix("env:") {
        if is_env_name(variable) {
            return Some(Proxy::Url(text));
        }
        field.bad("env: wants the name of an environment variable");
        return None;
    }
    let url = url::Url::parse(&text).ok();
    if let Some(url) = url.filter(|url| PROXY_SCHEMES.contains(&url.scheme()) && url.has_host()) {
        if url.username().is_empty() && url.password().is_none() {
            return Some(Proxy::Url(text));
        }
        let problem = "a proxy's name and password must not be written here";
        let mistake = Mistake::new(MistakeKind::Secret, problem);
        field.mistake(mistake.allowed("\"env:NAME\", the whole URL in an environment variable").hidden());
        return None;
    }
    // What is no proxy's URL may still hold a password.
    let mistake = Mistake::new(MistakeKind::BadValue, "not a proxy").allowed(PROXY_ALLOWED);
    field.mistake(if text.contains('@') { mistake.hidden() } else { mistake.found(format!("{text:?}")) });
    None
}

pub(super) fn tls(section: Section<'_>) -> Tls {
    let (cert, key) = (section.get("cert_file"), section.get("key_file"));
    for (there, missing) in [(&cert, ("key_file", &key)), (&key, ("cert_file", &cert))] {
        if let (Some(field), (name, None)) = (there, missing) {
            let problem = format!("{} is of use only together with {name}", field.name());
            field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
        }
    }
    let tls = Tls {
        ca_file: section.get("ca_file").and_then(|f| f.file()),
        cert_file: cert.and_then(|f| f.file()),
        key_file: key.and_then(|f| f.file()),
        insecure: section.get("insecure").and_then(|f| f.bool()).unwrap_or(false),
    };
    section.done();
    tls
}
