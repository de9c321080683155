//! One case: what is asked for, when the coordinator dies, and what happens then.

use std::fmt;

use saga_cluster::service::Service;
use tokio::time::timeout;

use super::coordinator::Task;
use super::site::{SCALED, done, has};
use super::{Asked, CREATED, Moment, Site, World};

/// What the next coordinator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Resumed,
    Deleted,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) asked: Asked,
    pub(crate) then: Then,
    pub(crate) moment: Moment,
    pub(crate) append: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, then, moment, append } = self;
        write!(f, "{asked:?}, killed {moment:?} append {append}, then {then:?}")
    }
}

impl Case {
    /// Whether the coordinator was killed; an error if the end is not what it has to be.
    pub(crate) async fn run<W: World>(self, world: W) -> Result<bool, String> {
        let data = tempfile::tempdir().map_err(|error| error.to_string())?;
        let site = Site::new(world, data.path());
        let tried = self.try_on(&site).await;
        let cleaned = W::clean(&site).await;
        let killed = tried?;
        cleaned.map(|()| killed)
    }

    async fn try_on<W: World>(self, site: &Site<W>) -> Result<bool, String> {
        if self.asked != Asked::Create {
            site.prepare().await?;
        }
        let killed = Task::new(site, self).spawn().await?;
        let checked = site.with_service(async |service| {
            let checked = timeout(W::PATIENCE, self.check(site, service, killed)).await;
            checked.map_err(|_| "it came to no end".to_owned())?
        });
        checked.await.map(|()| killed)
    }

    async fn check<W: World>(self, site: &Site<W>, service: &Service, killed: bool) -> Result<(), String> {
        if self.then == Then::Deleted && killed {
            // The user changes their mind, while the new coordinator is taking up what the dead one left. There may be
            // nothing to delete: it died before there was anything, or when all was deleted.
            site.delete(service).await?;
            return site.is_gone(service).await;
        }
        for operation in service.operations().await.map_err(|error| error.to_string())? {
            done(&operation).await?;
        }
        if !self.is_done(site, service).await? {
            // It died before it was durable that anything was asked for: then nothing was done, and it can be asked again.
            site.have(service, self.asked).await?;
        }
        match self.asked {
            Asked::Create => site.is_active(service, CREATED, false).await,
            Asked::Scale => site.is_active(service, SCALED, true).await,
            Asked::Delete => site.is_gone(service).await,
        }
    }

    /// Whether what was asked for had become durable before the coordinator died.
    async fn is_done<W: World>(self, site: &Site<W>, service: &Service) -> Result<bool, String> {
        let record = site.record(service).await?;
        Ok(match self.asked {
            Asked::Create => record.is_some(),
            Asked::Scale => record.is_some_and(|record| has(&record, SCALED)),
            Asked::Delete => record.is_none(),
        })
    }
}
