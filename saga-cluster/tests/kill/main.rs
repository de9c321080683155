//! The coordinator is killed at every journal append, on real node processes (see `deaths`).

#[path = "../deaths/mod.rs"]
mod deaths;
mod world;

use libtest_mimic::Arguments;

use world::Processes;

fn main() {
    if deaths::died::<Processes>() {
        return;
    }
    libtest_mimic::run(&Arguments::from_args(), deaths::series(&Processes, "")).exit();
}
