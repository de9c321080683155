//! All of it, on this computer, in less than a minute.
//!
//! The first acts are played by this program as its user would run it, in processes of their own, one of which is killed
//! in the middle. Then the demonstration holds the data itself, with an engine and a plugin that fail on demand
//! ([`testing`](crate::testing)): failures come in through the public traits, and the sagas know nothing of them.

mod acts;
mod blocks;
mod stage;
mod story;

use std::path::{Path, PathBuf};

use self::stage::Stage;
use self::story::Story;
use super::args::Options;
use super::interrupt::Interrupts;
use super::paths::DataDir;
use super::trouble::{Exit, Trouble};

/// Runs the demonstration, and cleans up after it however it ends.
pub(super) async fn run(options: &Options, keep: bool, fast: bool) -> Exit {
    let mut story = Story::new(options.json, fast);
    let mut interrupts = Interrupts::listen();
    let temporary = options.data.is_none().then(temporary_directory);
    let data = match DataDir::open(temporary.as_deref().or(options.data.as_deref())) {
        Ok(data) => data,
        Err(trouble) => return story.fail(trouble),
    };
    let mut stage = match Stage::new(data, options) {
        Ok(stage) => stage,
        Err(trouble) => return story.fail(trouble),
    };
    let played = tokio::select! {
        played = acts::play(&mut stage, &mut story, keep) => Some(played),
        () = interrupts.next() => None,
    };
    let kept = keep && matches!(played, Some(Ok(())));
    let exit = match played {
        Some(Ok(())) => story.verdict(),
        Some(Err(trouble)) => story.fail(trouble),
        None => {
            story.say("Ctrl-C: killing the nodes, and no more.");
            Exit::Interrupted
        }
    };
    if kept {
        return exit;
    }
    let cleaned = interrupts.or_end(clean_up(&mut stage, temporary.as_deref())).await;
    match cleaned {
        Ok(()) => exit,
        Err(trouble) => story.fail(trouble),
    }
}

/// A directory that nobody else has.
fn temporary_directory() -> PathBuf {
    std::env::temp_dir().join(format!("saga-cluster-demo-{}", std::process::id()))
}

/// Kills every node that is left, and removes what is only temporary.
async fn clean_up(stage: &mut Stage, temporary: Option<&Path>) -> Result<(), Trouble> {
    stage.kill_nodes().await?;
    stage.leave().await;
    let Some(directory) = temporary else { return Ok(()) };
    std::fs::remove_dir_all(directory).map_err(|error| {
        Trouble::new(format!("{} cannot be removed: {error}", directory.display())).next("remove it by hand")
    })
}
