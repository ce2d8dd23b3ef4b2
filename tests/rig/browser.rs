//! A real browser, driven over its pipe: Chromium's DevTools protocol, JSON between NUL bytes.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The browser's program, if there is one. With `REQUIRE_CHROMIUM` set there must be.
pub fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).flat_map(|d| names.map(|n| d.join(n))).find(|p| p.is_file());
    if found.is_none() {
        assert!(std::env::var_os("REQUIRE_CHROMIUM").is_none(), "REQUIRE_CHROMIUM is set, and there is none");
        eprintln!("SKIPPED: no chromium on the PATH, so the page was not opened");
    }
    found
}

/// A tab of a browser that ends with it.
pub struct Tab {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: Option<String>,
    number: u64,
    /// What the page complained of.
    pub complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Tab {
    /// An empty tab, `width` pixels wide; nothing without a browser.
    pub fn open(width: u32) -> Option<Self> {
        let browser = chromium()?;
        let profile = tempfile::tempdir().unwrap();
        let (inward, outward) = (profile.path().join("in"), profile.path().join("out"));
        let made = Command::new("mkfifo").args([&inward, &outward]).status().unwrap();
        assert!(made.success());
        // It reads from descriptor 3 and writes to 4.
        let child = Command::new("sh")
            .arg("-c")
            .arg("exec \"$0\" \"$@\" 3<\"$IN\" 4>\"$OUT\"")
            .arg(&browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .env("IN", &inward)
            .env("OUT", &outward)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = File::options().write(true).open(&inward).unwrap();
        let from = BufReader::new(File::open(&outward).unwrap());
        let mut tab =
            Self { child, to, from, session: None, number: 0, complaints: Vec::new(), _profile: profile };
        let target = tab.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            tab.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        tab.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            tab.call(domain, json!({}));
        }
        tab.resize(width);
        Some(tab)
    }

    /// Make the window `width` pixels wide.
    pub fn resize(&mut self, width: u32) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut call = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&call).unwrap();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser went away");
            let said: Value = serde_json::from_slice(&bytes).unwrap();
            if said["id"] == self.number {
                assert!(said.get("error").is_none(), "{method}: {said}");
                return said["result"].clone();
            }
            let words = &said["params"];
            match said["method"].as_str() {
                Some("Runtime.exceptionThrown") => {
                    self.complaints.push(words["exceptionDetails"].to_string())
                }
                Some("Runtime.consoleAPICalled") if words["type"] == "error" => {
                    self.complaints.push(words["args"].to_string());
                }
                Some("Log.entryAdded") if words["entry"]["level"] == "error" => {
                    self.complaints.push(words["entry"]["text"].to_string());
                }
                _ => {}
            }
        }
    }

    /// Go to an address.
    pub fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let said = self.call("Runtime.evaluate", asked);
        assert!(said.get("exceptionDetails").is_none(), "{expression}: {said}");
        said["result"]["value"].clone()
    }

    /// Wait until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let until = Instant::now() + Duration::from_secs(90);
        // While a page is being changed for another, there is nobody to ask.
        let asked =
            format!("(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()");
        while self.value(&asked) != true {
            if Instant::now() > until {
                let shown = self.value("document.body.innerText");
                panic!(
                    "{expression} never came true; the page shows:\n{}",
                    shown.as_str().unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The text of an element.
    pub fn text(&mut self, id: &str) -> String {
        self.value(&format!("document.getElementById({id:?}).textContent"))
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Press a key, such as `Enter` or `Tab`, on what has the focus.
    pub fn key(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            other => panic!("{other}"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let pressed = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text
            });
            self.call("Input.dispatchKeyEvent", pressed);
        }
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
