//! A client of one run: it starts it, changes its mind, helps it on, and waits for its end.
//!
//! It may be killed with its process and begin anew: everything that it does can be done again.

use std::time::Duration;

use saga_core::store::StoreError;
use saga_core::{
    Actor, CancelError, Client, Epoch, OperatorError, Outcome, OutcomeError, Payload, Place, RunHandle, RunId,
    StartError, StartOptions, StepName,
};

use crate::acks::{Ack, Acks, Told};
use crate::load::{Help, Job, Kind, Made, Sagas};
use crate::world::{Sabotage, World};

/// How long to wait before something is tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// Whom the customers turn to.
pub(crate) struct Desk {
    pub(crate) client: Client<World>,
    /// Another one, for what is started twice at once.
    pub(crate) rival: Client<World>,
    pub(crate) sagas: Sagas,
    pub(crate) world: World,
    pub(crate) acks: Acks,
}

impl Desk {
    /// Sees one job through to its end.
    ///
    /// # Errors
    ///
    /// If what it is told cannot be written down. What it should not be told is written down too.
    pub(crate) async fn serve(&self, job: &Job) -> std::io::Result<()> {
        match self.see_through(job).await {
            Ok(()) => Ok(()),
            Err(Fault::Log(error)) => Err(error),
            Err(Fault::Answer(what)) => self.ack(&job.run, Told::Trouble(what)),
        }
    }

    async fn see_through(&self, job: &Job) -> Result<(), Fault> {
        if job.twice {
            let (one, other) = futures::join!(self.start(&self.client, job), self.start(&self.rival, job));
            one.and(other)?;
        } else {
            self.start(&self.client, job).await?;
        }
        if job.order.kind == Kind::Cancelled {
            tokio::time::sleep(job.patience).await;
            self.cancel(job).await?;
        }
        loop {
            let outcome = self.outcome(&job.run).await?;
            if !outcome.is_resting() {
                return Ok(self.ack(&job.run, Told::Ended(outcome.to_string()))?);
            }
            self.help(job).await?;
        }
    }

    /// Starts the run, and waits for its exclusive key if it has one.
    async fn start(&self, client: &Client<World>, job: &Job) -> Result<(), Fault> {
        let sabotage = self.world.sabotage();
        if sabotage == Some(Sabotage::LoseStart) && job.order.salt.is_multiple_of(16) {
            return Ok(self.ack(&job.run, Told::Started)?);
        }
        let mut options = StartOptions::new().id(job.run.clone());
        if let Some(key) = job.key.clone().filter(|_| sabotage != Some(Sabotage::IgnoreKeys)) {
            options = options.key(key);
        }
        if job.order.kind == Kind::Overdue {
            options = options.deadline(job.patience * 4);
        }
        loop {
            match client.start_with(self.sagas.of(job.order.kind), job.order.clone(), options.clone()).await {
                Ok(_) => return Ok(self.ack(&job.run, Told::Started)?),
                Err(StartError::KeyHeld { holder, .. }) if holder != job.run => {}
                Err(StartError::Store(error)) if error.is_transient() => {}
                Err(error) => return Err(Fault::answer("start", &error)),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn cancel(&self, job: &Job) -> Result<(), Fault> {
        loop {
            match self.client.cancel(&job.run, Actor::new("customer", "does not want it any more")).await {
                Ok(()) => return Ok(self.ack(&job.run, Told::Cancelled)?),
                // It was faster.
                Err(CancelError::NotLive { .. }) => return Ok(()),
                Err(CancelError::Store(error)) if error.is_transient() => {}
                Err(error) => return Err(Fault::answer("cancel", &error)),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn outcome(&self, run: &RunId) -> Result<Outcome<Payload>, Fault> {
        loop {
            let attached: Result<RunHandle<_, Payload>, _> = self.client.attach(run).await;
            let told = match attached {
                Ok(handle) => handle.outcome().await,
                Err(error) => Err(error),
            };
            match told {
                Ok(outcome) => return Ok(outcome),
                Err(OutcomeError::Store(error)) if error.is_transient() => {}
                Err(error) => return Err(Fault::answer("outcome", &error)),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Moves a run on that rests, as an operator. Whether that has worked is found by looking at the run again.
    async fn help(&self, job: &Job) -> Result<(), Fault> {
        let (run, client, by) = (&job.run, &self.client, Actor::new("operator", "on duty"));
        let helped = match job.help {
            Help::Retry => {
                self.world.settle(run)?;
                client.retry(run, by).await
            }
            Help::Skip => {
                let place = Place::from(StepName::new("pivot").expect("a valid name"));
                let by_hand = Made { key: "by hand".to_owned(), epoch: Epoch::default() };
                let output = Payload::encode(&by_hand).map_err(|error| Fault::answer("skip", &error))?;
                client.skip(run, &place, Some(output), by).await
            }
            Help::RollBack => client.roll_back(run, by).await,
            Help::Abandon => client.abandon(run, by).await,
        };
        match helped {
            Ok(_) => Ok(self.ack(run, Told::Helped(job.help))?),
            // An earlier request had worked, or is at work, though the answer was lost.
            Err(OperatorError::NotAllowed { .. } | OperatorError::Busy(_)) => later().await,
            Err(OperatorError::Store(error)) if error.is_transient() => later().await,
            Err(error) => Err(Fault::answer("help", &error)),
        }
    }

    fn ack(&self, run: &RunId, told: Told) -> std::io::Result<()> {
        self.acks.add(&Ack { run: run.clone(), told })
    }
}

async fn later() -> Result<(), Fault> {
    tokio::time::sleep(AGAIN).await;
    Ok(())
}

/// Why a customer gave up.
enum Fault {
    Answer(String),
    Log(std::io::Error),
}

impl Fault {
    fn answer(to: &str, error: &dyn std::error::Error) -> Self {
        Self::Answer(format!("{to}: {error}"))
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Log(error)
    }
}

/// A client of a store that has all sagas. To be called within a runtime.
pub(crate) fn client(
    store: impl saga_core::store::Store,
    sagas: &Sagas,
) -> Result<Client<World>, saga_core::RegisterError> {
    sagas.register_with_client(Client::builder(store)).build()
}

/// Calls again what fails for a while only.
pub(crate) async fn patiently<T, Fut>(mut call: impl FnMut() -> Fut) -> Result<T, StoreError>
where
    Fut: Future<Output = Result<T, StoreError>>,
{
    loop {
        match call().await {
            Err(error) if error.is_transient() => tokio::time::sleep(AGAIN).await,
            done => return done,
        }
    }
}
