//! Ctrl-C, and the signals that mean the same.

use std::io::IsTerminal;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::trouble::Exit;

/// The wish of the user, or of the system, that this program ends.
pub(super) struct Interrupts {
    signals: Vec<Signal>,
}

impl Interrupts {
    /// From now on these signals do not end the program by themselves.
    pub(super) fn listen() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        // One that cannot be caught ends the program as ever, which is safe.
        Self { signals: kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect() }
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        let waits = self.signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        if waits.len() == 0 {
            return std::future::pending().await;
        }
        let _ = futures::future::select_all(waits).await;
    }

    /// Waits for something to be done; the next signal ends the program at once.
    pub(super) async fn or_end<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.next() => {
                if std::io::stderr().is_terminal() {
                    // A progress bar may have hidden the cursor.
                    eprint!("\x1b[?25h");
                }
                eprintln!();
                std::process::exit(Exit::Interrupted.number().into());
            }
        }
    }
}
