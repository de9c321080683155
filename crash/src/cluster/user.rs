//! A user and their cluster, from its creation on; and the others who come in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use saga_cluster::model::Cluster;
use tokio::time::sleep;

use super::blocks;
use super::evidence::Deleted;
use super::faults;
use super::plan::{Act, Break, Direction, Life, Meanwhile};
use super::told::{Looked, Told};
use super::town::{Rest, Town};
use crate::Fail;

/// How many blocks are written before a scale, and while it goes on.
const BLOCKS: usize = 8;
/// For how long disks are away.
const AWAY: Duration = Duration::from_secs(1);
/// How often a user whose cluster was not created tries again.
const CREATES: usize = 3;
/// How often a user asks again who was not told the end.
const ATTEMPTS: usize = 40;

/// One cluster's user.
pub(crate) struct User {
    pub(crate) town: Arc<Town>,
    pub(crate) name: String,
}

impl User {
    /// Lives through the whole plan.
    pub(crate) async fn live(self, life: &Life) -> Result<(), Fail> {
        let mut rest = self.create(&life.groups, life.create).await?;
        // It may have failed, which leaves nothing to go on with; or nobody was left who had heard of it. Once more, then,
        // undisturbed.
        for _ in 0..CREATES {
            if let Rest::Error(_) = rest {
                rest = self.delete(Meanwhile::Nothing).await?;
            }
            if let Rest::Gone = rest {
                rest = self.create(&life.groups, Act { meanwhile: Meanwhile::Nothing, trouble: None }).await?;
            }
        }
        for (number, (direction, act)) in life.scales.iter().enumerate() {
            if let Rest::Error(record) = rest {
                rest = self.settle(&record).await?;
            }
            let Rest::Active(record) = rest else { break };
            blocks::write(&self.town, &record, &format!("{}.{number}", self.name), BLOCKS).await?;
            rest = self.scale(&record, *direction, *act, number).await?;
        }
        match (rest, life.delete) {
            (Rest::Gone, _) | (_, None) => Ok(()),
            (_, Some(act)) => self.delete(act.meanwhile).await.map(drop),
        }
    }

    async fn create(&self, groups: &[(&str, u32)], act: Act) -> Result<Rest, Fail> {
        self.town.notes().blocks.insert(self.name.clone(), Default::default());
        if let Some(Break::New(fault)) = act.trouble {
            self.town.place.plant(&self.name, &format!("{}-1", groups[0].0), fault)?;
        }
        let spec = self.town.place.spec(&self.name, groups)?;
        let spec = spec.to_string_lossy().into_owned();
        let told = self.act(&["create", &spec], act.meanwhile).await?;
        let rest = self.town.rest(&self.name).await;
        self.town.place.mend(&self.name)?;
        if act.meanwhile == Meanwhile::Nothing {
            self.remember(&told, groups.iter().map(|(group, count)| ((*group).to_owned(), *count)), &rest);
        }
        self.after(act.meanwhile, rest).await
    }

    async fn scale(&self, record: &Cluster, direction: Direction, act: Act, number: usize) -> Result<Rest, Fail> {
        let counts = counts(record, direction);
        let changes: Vec<String> = counts.iter().map(|(group, count)| format!("{group}={count}")).collect();
        self.break_things(record, act.trouble)?;
        let arguments: Vec<&str> =
            ["scale", &self.name].into_iter().chain(changes.iter().map(String::as_str)).collect();
        let prefix = format!("{}.{number}.meanwhile", self.name);
        let writing = blocks::write(&self.town, record, &prefix, BLOCKS);
        let (told, written, breaking) =
            tokio::join!(self.act(&arguments, act.meanwhile), writing, self.take_disks(record, act.trouble));
        let told = told?;
        written?;
        breaking?;
        let rest = self.town.rest(&self.name).await;
        self.town.place.mend(&self.name)?;
        if act.meanwhile == Meanwhile::Nothing {
            self.remember(&told, counts.into_iter(), &rest);
        }
        self.after(act.meanwhile, rest).await
    }

    /// Moves on what rests in error: mostly by trying again, now that nothing is broken any more.
    async fn settle(&self, record: &Cluster) -> Result<Rest, Fail> {
        let shown = self.town.show(&self.name).await?;
        // Which of the three follows from the name, so from the seed.
        let verb = match record.version % 10 {
            0 => "abandon",
            _ => "retry",
        };
        if !shown.allows(verb) {
            return self.delete(Meanwhile::Nothing).await;
        }
        let arguments: &[&str] =
            if verb == "abandon" { &["abandon", &self.name, "--reason", "enough"] } else { &["retry", &self.name] };
        self.act(arguments, Meanwhile::Nothing).await?;
        Ok(match self.town.rest(&self.name).await {
            // As often as it takes would be for ever.
            Rest::Error(_) => self.delete(Meanwhile::Nothing).await?,
            rest => rest,
        })
    }

    /// Deletes the cluster. Whoever is not told that it is gone asks again.
    pub(crate) async fn delete(&self, meanwhile: Meanwhile) -> Result<Rest, Fail> {
        let mut meanwhile = Some(meanwhile);
        for _ in 0..ATTEMPTS {
            // From the moment that somebody asks for it, nobody keeps its data.
            self.town.notes().blocks.remove(&self.name);
            let told = self.act(&["delete", &self.name], meanwhile.take().unwrap_or(Meanwhile::Nothing)).await?;
            if told.code == Some(0) || told.finds_no_cluster() {
                return Ok(Rest::Gone);
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.town.incident(format!("{} could not be deleted, however often that was asked for", self.name));
        Ok(Rest::Gone)
    }

    /// Asks for something, while somebody else may do something too.
    async fn act(&self, arguments: &[&str], meanwhile: Meanwhile) -> Result<Told, Fail> {
        let own = async |kill| {
            let told = self.town.ask(&self.name, arguments, kill).await?;
            self.is_it_gone(arguments, &told).await?;
            Ok::<_, Fail>(told)
        };
        match meanwhile {
            Meanwhile::Nothing => own(None).await,
            Meanwhile::KillCommand(after) => own(Some(Duration::from_millis(after))).await,
            Meanwhile::Delete(after) => {
                let rival = async {
                    sleep(Duration::from_millis(after)).await;
                    self.town.notes().blocks.remove(&self.name);
                    let told = self.town.ask(&self.name, &["delete", &self.name], None).await?;
                    self.is_it_gone(&["delete"], &told).await
                };
                let (told, rival) = tokio::join!(own(None), rival);
                rival?;
                told
            }
            Meanwhile::Scale(after) => {
                let rival = async {
                    sleep(Duration::from_millis(after)).await;
                    self.town.ask(&self.name, &["scale", &self.name, "east=2"], None).await
                };
                let (told, rival) = tokio::join!(own(None), rival);
                rival?;
                told
            }
            Meanwhile::Vanish(after) => {
                let (told, gone) = tokio::join!(own(None), self.vanish(after));
                gone?;
                told
            }
        }
    }

    /// Removes the record, if there is one, behind the back of all.
    async fn vanish(&self, after: u64) -> Result<(), Fail> {
        sleep(Duration::from_millis(after)).await;
        self.town.notes().blocks.remove(&self.name);
        let lock = self.town.place.lock();
        let kill = || {
            let _ = self.town.processes.hit_holder(&lock, Signal::KILL);
        };
        if self.town.place.remove_record(&self.name, kill).await? {
            self.town.notes().vanished.insert(self.name.clone());
        }
        Ok(())
    }

    /// A delete that is done leaves nothing, at once: not a record, not a process, not a directory.
    async fn is_it_gone(&self, arguments: &[&str], told: &Told) -> Result<(), Fail> {
        if arguments[0] != "delete" || told.code != Some(0) {
            return Ok(());
        }
        let left = self.town.machines(|machines| machines.of(&self.name).is_empty()).await?.of(&self.name);
        let record = match self.town.records(|records| !records.contains_key(&self.name)).await {
            Ok(_) => None,
            Err(mut records) => records.remove(&self.name),
        };
        self.town.notes().deleted.push(Deleted { by: told.by.clone(), left, record });
        Ok(())
    }

    /// After somebody has removed the record, or another one has asked for the delete, the user sees to it that it is gone.
    async fn after(&self, meanwhile: Meanwhile, rest: Rest) -> Result<Rest, Fail> {
        match meanwhile {
            Meanwhile::Vanish(_) | Meanwhile::Delete(_) => self.delete(Meanwhile::Nothing).await,
            _ => Ok(rest),
        }
    }

    /// Notes what a user finds who was told that it is done.
    fn remember(&self, told: &Told, ordered: impl Iterator<Item = (String, u32)>, rest: &Rest) {
        let record = match rest {
            Rest::Active(record) | Rest::Error(record) => Some((**record).clone()),
            Rest::Gone => None,
        };
        let mut notes = self.town.notes();
        if let Some(noted) = notes.told.iter_mut().find(|one| one.by == told.by) {
            noted.looked = Some(Looked { ordered: ordered.collect(), record });
        }
    }

    fn break_things(&self, record: &Cluster, trouble: Option<Break>) -> Result<(), Fail> {
        match trouble {
            Some(Break::New(fault)) => {
                for group in &record.spec.groups {
                    if let Some(node) = record.next_names(&group.name, 1).first() {
                        self.town.place.plant(&self.name, &node.to_string(), fault)?;
                    }
                }
            }
            Some(Break::Old) => {
                self.town.place.machines_of(&self.name)?.iter().for_each(|machine| faults::make_stubborn(machine));
            }
            Some(Break::Disk(_)) | None => {}
        }
        Ok(())
    }

    async fn take_disks(&self, record: &Cluster, trouble: Option<Break>) -> Result<(), Fail> {
        let Some(Break::Disk(after)) = trouble else { return Ok(()) };
        sleep(Duration::from_millis(after)).await;
        let machines = self.town.place.machines_of(record.name().as_str())?;
        machines.iter().for_each(|machine| faults::take_disk(machine));
        sleep(AWAY).await;
        Ok(self.town.place.mend(&self.name)?)
    }
}

/// How many nodes each group is to have.
fn counts(record: &Cluster, direction: Direction) -> BTreeMap<String, u32> {
    let groups = &record.spec.groups;
    let last = groups.len() - 1;
    let all: u32 = groups.iter().map(|group| group.count).sum();
    let mut counts: BTreeMap<String, u32> = groups.iter().map(|one| (one.name.to_string(), one.count)).collect();
    let mut change = |at: usize, by: i32| {
        if let Some(count) = counts.get_mut(groups[at].name.as_str()) {
            *count = count.saturating_add_signed(by);
        }
    };
    match direction {
        Direction::Up => change(0, 1),
        // One node stays, to take the blocks.
        Direction::Down if all > 1 => {
            let at = groups.iter().position(|group| group.count > 0).unwrap_or_default();
            change(at, -1);
        }
        Direction::Both if last > 0 && groups[last].count > 0 => {
            change(0, 2);
            change(last, -1);
        }
        Direction::Down | Direction::Both => change(0, 2),
    }
    counts
}
