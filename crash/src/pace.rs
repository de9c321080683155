//! How slow the machine is: a process has to have had the time to get somewhere before it is killed.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Fail;
use crate::log;
use crate::mortal::{Phase, phases_of};

/// How long a process takes until it drives runs, where the times between kills are as they are meant.
const USUAL: Duration = Duration::from_millis(100);
/// How a report calls what [`stretch`] says.
pub(crate) const STRETCHED: &str = "times between kills, over what is usual";
const AGAIN: Duration = Duration::from_millis(1);

/// Waits until one of the processes that were begun at that time drives runs, and says how many times as long as usual that
/// took: by so much the times between kills are to be stretched.
///
/// # Errors
///
/// If that takes longer than anybody would wait.
pub(crate) async fn stretch(folder: &Path, began: Instant, patience: Duration) -> Result<u32, Fail> {
    while !log::read::<(String, Phase)>(&phases_of(folder))?.whole.iter().any(|(_, phase)| *phase == Phase::Driving) {
        if began.elapsed() > patience {
            return Err(format!("no process drives runs after {patience:?}").into());
        }
        tokio::time::sleep(AGAIN).await;
    }
    let stretch = began.elapsed().as_millis() / USUAL.as_millis();
    Ok(u32::try_from(stretch).unwrap_or(u32::MAX).max(1))
}
