//! A process that dies in the middle of its work, and the next one that goes on.
//!
//! ```text
//! cargo run -p saga-examples --example crash      # dies by abort(), as by kill -9
//! cargo run -p saga-examples --example crash      # takes up the run, and ends it
//! ```
//!
//! The journal is in `saga-crash-example` in the system's directory for temporary files (or in the directory given as
//! the first argument). The second process knows nothing of the first but that directory.

use std::path::PathBuf;
use std::time::Duration;

use saga_core::store::{Query, RunStatus, SledStore};
use saga_core::{Coordinator, Ctx, Payload, Saga, Shutdown, StepError, Undo};

/// What the steps work with: whether this process is the one that is to die.
struct App {
    dies: bool,
}

async fn pour_foundation(ctx: Ctx<App>, house: String) -> Result<String, StepError> {
    println!("  pouring the foundation of {house}");
    // Recorded durably in the middle of the step: the next attempt, the compensation and the residue see it.
    ctx.checkpoint("concrete ordered").await?;
    Ok(format!("foundation of {house}"))
}

async fn build_walls(ctx: Ctx<App>, foundation: String) -> Result<String, StepError> {
    println!("  building walls on the {foundation} (attempt {})", ctx.attempt());
    if ctx.dies {
        println!("  ... and the power fails. (abort: no destructor runs, nothing is flushed)");
        std::process::abort();
    }
    Ok(format!("walls on the {foundation}"))
}

async fn tear_down<In, Out>(ctx: Ctx<App>, _undo: Undo<In, Out>) -> Result<(), StepError> {
    println!("  undoing {}", ctx.step());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory =
        std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("saga-crash-example"), PathBuf::from);

    let mut saga = Saga::<App, String>::builder("build-house", 1);
    let house = saga.input();
    let foundation = saga.step("foundation", house, pour_foundation).compensate(tear_down);
    let walls = saga.step("walls", foundation, build_walls).compensate(tear_down);
    let build_house = saga.build(walls)?;

    let store = SledStore::open(&directory)?;
    let unfinished = {
        use saga_core::store::Store;
        store.list(&Query { statuses: vec![RunStatus::Running], ..Query::default() }).await?.runs
    };
    let app = App { dies: unfinished.is_empty() };
    println!("The journal is in {}.", directory.display());

    // Starting the coordinator is all that recovery takes: it takes up every run that has not ended.
    let coordinator = Coordinator::builder(store, app).register(&build_house).start().await?;

    if unfinished.is_empty() {
        println!("No unfinished run: starting one. This process will die in the middle of it.");
        let run = coordinator.start(&build_house, "the house at the lake".to_owned()).await?;
        run.outcome().await?;
        unreachable!("the second step aborts the process");
    }
    for found in unfinished {
        println!("Found the unfinished run {}, after {} events. It goes on:", found.run, found.seq);
        let run = coordinator.attach::<Payload>(&found.run).await?;
        println!("  => {}", run.outcome().await?);
    }
    coordinator.shutdown(Shutdown::Park { grace: Duration::from_secs(5) }).await?;
    println!("Nothing is unfinished now. Run it again to start over.");
    Ok(())
}
