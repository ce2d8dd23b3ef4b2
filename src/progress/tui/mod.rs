//! A screen of figures: the sweep, the running cell over time, finished cells, notices.
//!
//! A thread of its own draws and hears keys; the one that brings events only takes them in. However
//! the program ends, is stopped or goes on, the terminal is left and taken up as it should be:
//! at the sweep's end, at a panic, at a suspension, and before the process is ended at once.

mod state;
mod view;

use std::io::{self, Stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::process::{Signal, kill_current_process_group};

use super::Press;
use crate::event::{Event, Watcher};
use state::State;

/// Between two pictures: the eye needs no more, and the load cores need the time.
const DRAW: Duration = Duration::from_millis(250);
/// Between two looks at keys and signals.
const LOOK: Duration = Duration::from_millis(50);

/// Whether a screen of ours is up.
static UP: AtomicBool = AtomicBool::new(false);
/// Lines for a screen that is up, from those who would write over it.
static MAIL: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Leave the terminal as it was before a screen was put up, if one is. For who ends the process.
pub fn restore() {
    if UP.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs no restoring.
        let _ = execute!(io::stderr(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Show a line on the screen that is up; `false`: none is.
pub fn tell(line: &str) -> bool {
    let up = UP.load(Ordering::SeqCst);
    if up {
        MAIL.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    }
    up
}

fn put_up() -> io::Result<()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
    enable_raw_mode()?;
    UP.store(true, Ordering::SeqCst);
    execute!(io::stderr(), EnterAlternateScreen, Clear(ClearType::All)).inspect_err(|_| restore())
}

/// See the module.
pub(super) struct Tui {
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    started: Instant,
}

impl Tui {
    /// Put the screen up. `press` is what Ctrl-C does, which a terminal in raw mode no longer does
    /// itself.
    pub(super) fn new(press: Press) -> io::Result<Self> {
        let suspend = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGTSTP, Arc::clone(&suspend))?;
        put_up()?;
        let (state, over) = (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let screen = Terminal::new(CrosstermBackend::new(io::stderr())).inspect_err(|_| restore())?;
        let shown = Screen { screen, state: Arc::clone(&state), over: Arc::clone(&over), suspend, press };
        let thread = std::thread::Builder::new().name("screen".to_owned()).spawn(move || shown.run());
        let thread = Some(thread.inspect_err(|_| restore())?);
        Ok(Self { state, over, thread, started: Instant::now() })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher for Tui {
    fn on(&mut self, event: &Event<'_>) {
        if let Event::SweepStarted { .. } = event {
            self.started = Instant::now();
        }
        let mut state = lock(&self.state);
        state.take(event);
        state.elapsed_s = self.started.elapsed().as_secs_f64();
    }
}

impl Drop for Tui {
    /// What a person should have read is left below what was there before.
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // One that panicked has restored the terminal already.
            let _ = thread.join();
        }
        restore();
        let mut state = lock(&self.state);
        let late = std::mem::take(&mut *MAIL.lock().unwrap_or_else(PoisonError::into_inner));
        late.iter().for_each(|line| state.note(line));
        for line in &state.notices {
            eprintln!("note: {line}");
        }
        if let Some(ending) = &state.ending {
            eprintln!("{ending}");
        }
    }
}

/// The thread that draws.
struct Screen {
    screen: Terminal<CrosstermBackend<Stderr>>,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
    /// Someone wants the program suspended.
    suspend: Arc<AtomicBool>,
    press: Press,
}

impl Screen {
    fn run(mut self) {
        let mut draw_at = Instant::now();
        // A panic elsewhere, or an end at once, takes the screen down: then nothing is drawn over
        // what they say.
        while !self.over.load(Ordering::SeqCst) && UP.load(Ordering::SeqCst) {
            if Instant::now() >= draw_at {
                self.draw();
                draw_at = Instant::now() + DRAW;
            }
            match event::poll(LOOK) {
                Ok(true) => {
                    if self.hear() {
                        draw_at = Instant::now();
                    }
                }
                Ok(false) => {}
                // Without a keyboard it is still a screen.
                Err(_) => std::thread::sleep(LOOK),
            }
            if self.suspend.swap(false, Ordering::SeqCst) {
                self.rest();
                draw_at = Instant::now();
            }
        }
    }

    fn draw(&mut self) {
        let state = {
            let mut state = lock(&self.state);
            let mail = std::mem::take(&mut *MAIL.lock().unwrap_or_else(PoisonError::into_inner));
            mail.iter().for_each(|line| state.note(line));
            state.clone()
        };
        // A terminal that refuses is no reason to end a sweep.
        let _ = self.screen.draw(|frame| view::draw(frame, &state));
    }

    /// Take in a key; whether the screen is to be drawn at once.
    fn hear(&self) -> bool {
        match event::read() {
            Ok(Input::Key(key)) if key.kind != KeyEventKind::Release => match wish(key) {
                Some(Wish::End) => (self.press)(),
                // The whole job of the shell, as the terminal does it; the signal comes back to us.
                Some(Wish::Rest) => drop(kill_current_process_group(Signal::TSTP)),
                None => return false,
            },
            Ok(Input::Resize(..)) => {}
            _ => return false,
        }
        true
    }

    /// Give the terminal back, stop, and take it up again once the shell lets us go on.
    fn rest(&mut self) {
        restore();
        // To this very thread, so that we are stopped within this call: sent to the process, the signal
        // may be another thread's to take, and the screen up again before it is.
        let _ = signal_hook::low_level::raise(signal_hook::consts::SIGSTOP);
        if put_up().is_ok()
            && let Ok(screen) = Terminal::new(CrosstermBackend::new(io::stderr()))
        {
            // One that knows of nothing drawn yet. Clearing the old one would ask the terminal where its
            // cursor is, and wait for the answer.
            self.screen = screen;
        }
    }
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    End,
    Rest,
}

fn wish(key: KeyEvent) -> Option<Wish> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('q' | 'Q') if !control => Some(Wish::End),
        KeyCode::Char('c') if control => Some(Wish::End),
        KeyCode::Char('z') if control => Some(Wish::Rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_what_they_say() {
        let key = |c, modifiers| wish(KeyEvent::new(KeyCode::Char(c), modifiers));
        assert_eq!(key('q', KeyModifiers::NONE), Some(Wish::End));
        assert_eq!(key('c', KeyModifiers::CONTROL), Some(Wish::End));
        assert_eq!(key('z', KeyModifiers::CONTROL), Some(Wish::Rest));
        assert_eq!(key('c', KeyModifiers::NONE), None);
        assert_eq!(key('p', KeyModifiers::NONE), None);
    }

    #[test]
    fn without_a_screen_nothing_is_told_on_it() {
        assert!(!tell("x"));
    }
}
