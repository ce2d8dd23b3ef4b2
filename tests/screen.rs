//! `--progress tui` on a terminal of the test's own: figures come, keys are heard, and the terminal is
//! left as it was.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::rig::program::{SMALL, directory, only_run, plimsoll, stderr};
use crate::rig::wait_for;

const LEAVE: &str = "\u{1b}[?1049l";
const ENTER: &str = "\u{1b}[?1049h";

/// A terminal with the program on it.
struct OnTerminal {
    master: File,
    slave: File,
    said: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl OnTerminal {
    fn start(dir: &Path) -> (Self, Termios) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let noctty = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
        let slave = OpenOptions::new().read(true).write(true).custom_flags(noctty).open(name).unwrap();
        size(&slave, 24, 80);
        let before = tcgetattr(&slave).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(["run", "small.toml", "--progress", "tui", "--no-report"])
            .current_dir(dir)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave.try_clone().unwrap()))
            // Not its controlling terminal, whose size is then asked of standard output.
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let said: Arc<Mutex<Vec<u8>>> = Arc::default();
        let master = File::from(master);
        let (mut reader, heard) = (master.try_clone().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut piece) {
                heard.lock().unwrap().extend_from_slice(&piece[..n]);
            }
        });
        (Self { master, slave, said, child }, before)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Wait until it says `words` after its first `from` bytes; gives how much it has said then.
    fn says(&self, words: &str, from: usize) -> usize {
        wait_for(words, || {
            let said = self.said.lock().unwrap();
            let rest = String::from_utf8_lossy(&said[from.min(said.len())..]).into_owned();
            rest.contains(words).then_some(said.len())
        })
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// As `/proc` says it: `T` for one that is stopped.
    fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(slave: &File, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(slave, size).unwrap();
}

fn same(a: &Termios, b: &Termios) -> bool {
    (a.local_modes, a.input_modes, a.output_modes) == (b.local_modes, b.input_modes, b.output_modes)
}

#[test]
fn figures_come_and_q_ends_the_sweep_with_the_terminal_as_it_was() {
    let long = SMALL.replace("requests = 12", "duration = \"600s\"");
    let dir = directory(&long);
    let (mut on, before) = OnTerminal::start(dir.path());
    on.says(ENTER, 0);
    for words in ["tok/s", "in flight", "TTFT", "finished cell", "measure", "q or Ctrl-C"] {
        on.says(words, 0);
    }
    assert!(on.is_raw());

    // Suspended, the terminal is the shell's; taken up again, it is the screen's.
    let said = on.said.lock().unwrap().len();
    on.signal(Signal::TSTP);
    wait_for("it is stopped", || (on.state() == 'T').then_some(()));
    on.says(LEAVE, said);
    assert!(!on.is_raw());
    let said = on.said.lock().unwrap().len();
    on.signal(Signal::CONT);
    on.says(ENTER, said);
    let said = on.says("finished cell", said);

    // A smaller window has other words.
    size(&on.slave, 8, 40);
    on.signal(Signal::WINCH);
    let said = on.says("q: end", said);

    on.master.write_all(b"q").unwrap();
    let status = on.child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{}", on.text());
    on.says(LEAVE, said);
    let end = on.text();
    let end = &end[end.rfind(LEAVE).unwrap()..];
    assert!(!end.contains(ENTER) && end.contains("\u{1b}[?25h"), "{end:?}");
    assert!(same(&tcgetattr(&on.slave).unwrap(), &before));
    // What a person should know is left on it.
    on.says("go on with: plimsoll run", said);
    assert!(on.text().contains("ending: what is in flight is awaited"), "{}", on.text());
    assert!(only_run(dir.path()).join("run.json").is_file());
}

#[test]
fn without_a_terminal_it_is_lines() {
    let dir =
        directory(&SMALL.replace("users = [1, 2]", "users = [1]").replace("repeats = 2", "repeats = 1"));
    let output = plimsoll(dir.path(), &["run", "small.toml", "--progress", "tui", "--no-report"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains(": 1 cell, about") && text.contains("cell 1/1") && !text.contains('\u{1b}'),
        "{text}"
    );
}
