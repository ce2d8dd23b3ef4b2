//! Ways to a server: Unix sockets, proxies, TLS with certificates of both sides, HTTP/2, kept and
//! fresh connections; the questions before the load go by them as well.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use plimsoll::experiment::HttpVersion;
use plimsoll::record::Outcome;

use super::{MS, closed, run};
use crate::rig::program::{directory, holding, only_run, plimsoll_with, stderr};
use crate::rig::relay::Relay;
use crate::rig::scripted::serve;
use crate::rig::simulator;

const REQUESTS: usize = 40;

/// A cell of four users with these lines in `[target]`.
fn experiment(url: &str, target: &str) -> String {
    format!(
        r#"
        [target]
        url = "{url}"
        {target}
        [workload]
        prompt_tokens = 16
        max_tokens = 8
        [load]
        users = 4
        [cell]
        requests = {REQUESTS}
        warmup = "0s"
        "#
    )
}

/// Run it, and hold that every request was answered.
fn all_is_answered(dir: &Path, environment: &[(&str, &str)]) {
    let output = plimsoll_with(dir, &["run", "small.toml", "--no-report"], environment);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = std::fs::read_to_string(only_run(dir).join("summary.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(rows.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let value = |name: &str| row[headers.iter().position(|h| h == name).unwrap()].to_owned();
    assert_eq!((value("ok"), value("failed")), (REQUESTS.to_string(), "0".to_owned()), "{rows}");
    assert_eq!(value("retries"), "0");
}

fn sim() -> plimsoll::sim::Server {
    sim_of("sim")
}

fn sim_of(model: &str) -> plimsoll::sim::Server {
    simulator(&[("step_base".to_owned(), "1ms".into()), ("model".to_owned(), model.into())].into())
}

#[test]
fn connections_are_kept_for_each_user_or_made_for_each_request() {
    let sim = sim_of("m");
    for keep in [true, false] {
        let relay = Relay::plain(sim.addr());
        let mut cell = closed(4);
        cell.settings.cell.requests = Some(REQUESTS as u64);
        cell.settings.target.connections.keep_alive = keep;
        let (_, records) = run(&cell, relay.address);
        let odd = records.iter().find(|r| r.outcome != Outcome::Ok || r.retries > 0);
        assert!(odd.is_none(), "{odd:?}");
        if keep {
            assert!((1..=4).contains(&relay.connections()), "{}", relay.connections());
        } else {
            assert_eq!(relay.connections(), records.len());
        }
    }
}

#[test]
fn headers_of_ones_own_go_out_with_every_request() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&heads);
    let server = serve(move |conn| {
        into.lock().expect("no test panics while it holds this").push(conn.head.to_owned());
        conn.answer(1);
        true
    });
    let mut cell = closed(4);
    cell.settings.cell.requests = Some(REQUESTS as u64);
    let (_, records) = run(&cell, server.address);
    let heads = heads.lock().expect("no test panics while it holds this");
    assert_eq!(heads.len(), records.len());
    for head in heads.iter() {
        // The key of the endpoint that tests ask.
        let mine = head.lines().filter(|line| line.eq_ignore_ascii_case("authorization: Bearer x"));
        assert_eq!(mine.count(), 1, "{head}");
    }
}

#[test]
fn by_a_unix_socket() {
    let sim = sim();
    let dir = directory(&experiment("http://localhost", "unix_socket = \"server.sock\""));
    let relay = Relay::unix(&dir.path().join("server.sock"), sim.addr());
    all_is_answered(dir.path(), &[]);
    assert!(relay.connections() > 4);
}

#[test]
fn by_an_http_proxy_with_a_password_that_no_file_holds() {
    let sim = sim();
    let relay = Relay::http_proxy(sim.addr());
    let dir = directory(&experiment("http://model.invalid:81", "proxy = \"env:THE_PROXY\""));
    let proxy = format!("http://me:hushhush@{}", relay.address);
    all_is_answered(dir.path(), &[("THE_PROXY", &proxy)]);
    let lines = relay.lines();
    let posts = lines
        .iter()
        .filter(|line| line.starts_with("POST http://model.invalid:81/v1/chat/completions HTTP/1.1"))
        .count();
    assert!(posts >= REQUESTS, "{lines:?}");
    // "me:hushhush" in base 64.
    assert!(lines.iter().all(|line| line.ends_with("| Basic bWU6aHVzaGh1c2g=")), "{lines:?}");
    for secret in ["hushhush", "bWU6aHVzaGh1c2g"] {
        assert_eq!(holding(dir.path(), secret.as_bytes()), Vec::<PathBuf>::new(), "{secret}");
    }
}

#[test]
fn by_a_tunnel_and_by_socks() {
    let sim = sim();
    let authority = Authority::new();
    let behind = Relay::tls(sim.addr(), authority.server(false, b"http/1.1"));
    let relay = Relay::http_proxy(behind.address);
    let target = format!("proxy = \"http://{}\"\ntls.ca_file = \"ca.pem\"", relay.address);
    let dir = directory(&experiment("https://model.invalid", &target));
    std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    all_is_answered(dir.path(), &[]);
    let lines = relay.lines();
    assert!(lines.iter().all(|l| l.starts_with("CONNECT model.invalid:443 ")), "{lines:?}");

    let relay = Relay::socks(sim.addr());
    let dir = directory(&experiment("http://model.invalid", "proxy = \"env:THE_PROXY\""));
    let proxy = format!("socks5h://me:hushhush@{}", relay.address);
    all_is_answered(dir.path(), &[("THE_PROXY", &proxy)]);
    let lines = relay.lines();
    assert!(lines.iter().all(|l| l == "model.invalid:80 | me:hushhush"), "{lines:?}");
}

#[test]
fn by_tls_with_certificates_of_both_sides() {
    let sim = sim();
    let authority = Authority::new();
    let relay = Relay::tls(sim.addr(), authority.server(true, b"http/1.1"));
    let url = format!("https://127.0.0.1:{}", relay.address.port());
    let with = |target: &str| {
        let dir = directory(&experiment(&url, target));
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        let (cert, key) = authority.client();
        std::fs::write(dir.path().join("cert.pem"), cert).unwrap();
        std::fs::write(dir.path().join("key.pem"), key).unwrap();
        dir
    };
    let known = "tls.ca_file = \"ca.pem\"\ntls.cert_file = \"cert.pem\"\ntls.key_file = \"key.pem\"";
    all_is_answered(with(known).path(), &[]);
    for target in [
        // Nobody we trust; nobody whom the server trusts.
        "tls.cert_file = \"cert.pem\"\ntls.key_file = \"key.pem\"",
        "tls.ca_file = \"ca.pem\"",
    ] {
        let output = plimsoll_with(with(target).path(), &["run", "small.toml", "--no-report"], &[]);
        assert!(!output.status.success(), "{target}");
        assert!(stderr(&output).contains("cannot reach"), "{}", stderr(&output));
    }
}

#[test]
fn by_http_2_in_clear_and_in_tls() {
    let sim = sim();
    let authority = Authority::new();
    for tls in [false, true] {
        let relay = Relay::http2(sim.addr(), tls.then(|| authority.server(false, b"h2")));
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{}", relay.address.port());
        let dir = directory(&experiment(&url, "http = \"2\"\nmodel = \"sim\"\ntls.ca_file = \"ca.pem\""));
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        all_is_answered(dir.path(), &[]);
        let posts = relay.lines().iter().filter(|l| *l == "POST /v1/chat/completions").count();
        assert!(posts >= REQUESTS, "{posts}");
        // Each question has its own, and all the load shares one.
        let others = relay.lines().len() - REQUESTS;
        assert!(relay.connections() <= others + 1, "{} for {others} questions", relay.connections());
    }
}

/// Signs certificates for both sides.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server of this machine and of `model.invalid`, which may want to know its clients.
    fn server(&self, knows_clients: bool, protocol: &[u8]) -> rustls::ServerConfig {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let names = ["127.0.0.1".to_owned(), "model.invalid".to_owned()];
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if knows_clients {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from(self.0.der().to_vec())).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }

    /// A client's certificate and key.
    fn client(&self) -> (String, String) {
        let mut params = CertificateParams::new(["a-client".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        (cert.pem(), key.serialize_pem())
    }
}

/// What is above the server's limit would wait in this client, and be taken for load on the server.
#[test]
fn http2_bears_as_many_requests_on_a_connection_as_the_server_allows() {
    let server = serve(|conn| {
        std::thread::sleep(100 * MS);
        conn.answer(2);
        true
    });
    for (allowed, connections) in [(4, 5), (200, 1)] {
        let relay = Relay::http2_allowing(allowed, server.address, None);
        let mut cell = closed(20);
        cell.settings.target.connections.http = HttpVersion::Http2;
        cell.settings.cell.requests = Some(60);
        let (_, records) = run(&cell, relay.address);
        assert!(records.iter().all(|r| r.outcome == Outcome::Ok && r.retries == 0), "{records:?}");
        assert_eq!(relay.connections(), connections, "with {allowed} at once");
    }
}
