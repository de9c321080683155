//! Doing what is asked for, with the service at hand.

use std::collections::BTreeMap;
use std::pin::pin;

use futures::StreamExt;
use tokio::sync::mpsc::Sender;

use super::change::{By, Change, NewGroup};
use super::control::{Answer, Call};
use super::excuse::excuse;
use super::reply::{About, Reply};
use super::request::Request;
use super::trouble::{Exit, Trouble};
use crate::model::{Cluster, ClusterName, NodeGroup, ScaleRequest, Timestamp};
use crate::service::{Actor, DeleteOptions, Operation, OperationEnd, Service, ServiceError, Verdict};

/// Answers requests, whoever they come from.
#[derive(Clone)]
pub(super) struct Desk {
    service: Service,
    /// The screen of the process that holds the data, which is told of what others ask for.
    screen: Sender<Reply>,
}

impl Desk {
    pub(super) fn new(service: Service, screen: Sender<Reply>) -> Self {
        Self { service, screen }
    }

    /// Does what a call asks for, to the end.
    pub(super) async fn act(&self, call: Call, replies: &Sender<Reply>) -> Exit {
        let name = call.request.cluster().cloned();
        match self.try_to_act(call, replies).await {
            Ok(exit) => exit,
            Err(Refusal::Trouble(trouble)) => fail(trouble, replies).await,
            Err(Refusal::Service(error)) => fail(excuse(error, name.as_ref(), &self.service).await, replies).await,
        }
    }

    /// Tells all that an operation does, from a point in time on, until it comes to rest.
    pub(super) async fn follow(&self, operation: &Operation, since: Timestamp, replies: &Sender<Reply>) -> Exit {
        let about = About::from(operation);
        let mut progress = pin!(operation.progress());
        while let Some(next) = progress.next().await {
            match next {
                // It was told before, by the process that was ended or by the command that is tried again.
                Ok(progress) if progress.at < since => {}
                // If nobody listens any more, it goes on all the same.
                Ok(progress) => drop(replies.send(Reply::Progress { about: about.clone(), progress }).await),
                Err(error) => return self.fail(operation, error, replies).await,
            }
        }
        match operation.end().await {
            Ok(end) => {
                let exit = exit_of(&end);
                let _ = replies.send(Reply::End { run: operation.run.clone(), end }).await;
                exit
            }
            Err(error) => self.fail(operation, error, replies).await,
        }
    }

    async fn fail(&self, operation: &Operation, error: ServiceError, replies: &Sender<Reply>) -> Exit {
        fail(excuse(error, Some(&operation.cluster), &self.service).await, replies).await
    }

    async fn try_to_act(&self, call: Call, replies: &Sender<Reply>) -> Result<Exit, Refusal> {
        let service = &self.service;
        let by =
            |reason: &str| Actor::new(call.by.clone(), if reason.is_empty() { "on the command line" } else { reason });
        let since = Timestamp::now();
        let operation = match call.request {
            Request::List => return Ok(told(replies, Reply::List(service.list().await?)).await),
            Request::Show { name } => {
                return Ok(told(replies, Reply::Report(Box::new(service.show(&name).await?))).await);
            }
            Request::History { name } => {
                let entries = service.history(&name).await?;
                return Ok(told(replies, Reply::History { cluster: name, entries }).await);
            }
            Request::Create { spec } => service.create(*spec, by("")).await?,
            Request::Scale { name, changes, new_groups } => {
                let request = self.resolve(&name, &changes, new_groups).await?;
                service.scale(&name, request, by("")).await?
            }
            Request::Delete { name, force } => service.delete(&name, DeleteOptions { force }, by("")).await?,
            Request::Retry { name, reason } => service.retry(&name, by(&reason)).await?,
            Request::Abandon { name, reason } => {
                let operation = service.abandon(&name, by(&reason)).await?;
                let _ = replies.send(Reply::Began { about: About::from(&operation) }).await;
                let exit = self.follow(&operation, since, replies).await;
                // Given up is what was asked for.
                return Ok(if exit == Exit::RolledBack { Exit::Done } else { exit });
            }
        };
        let _ = replies.send(Reply::Began { about: About::from(&operation) }).await;
        Ok(self.follow(&operation, since, replies).await)
    }

    /// Makes numbers of "two more", from what the record says now.
    async fn resolve(
        &self,
        name: &ClusterName,
        changes: &[Change],
        new_groups: Vec<NewGroup>,
    ) -> Result<ScaleRequest, Refusal> {
        let mut counts = BTreeMap::new();
        let relative = changes.iter().any(|change| !matches!(change.by, By::To(_)));
        let record = match relative {
            false => None,
            true => match record(&self.service, name).await {
                Some(record) => Some(record),
                None => return Err(ServiceError::NoSuchCluster { name: name.clone() }.into()),
            },
        };
        for Change { group, by } in changes {
            let has = record.as_ref().map_or(0, |record| record.nodes_in(group).count());
            let known = record.as_ref().is_none_or(|record| record.spec.group(group).is_some());
            // An unknown group is refused by the service, with all else that is wrong.
            let wanted = if known { by.apply(u32::try_from(has).unwrap_or(u32::MAX)) } else { Some(0) };
            let Some(wanted) = wanted else {
                let trouble = Trouble::usage(format!("group `{group}` of cluster `{name}` has only {has} nodes"));
                return Err(trouble.next(format!("ask for a number: {group}=0 to empty it")).into());
            };
            if counts.insert(group.clone(), wanted).is_some() {
                return Err(Trouble::usage(format!("group `{group}` is named twice")).next("name it once").into());
            }
        }
        let new_groups = new_groups
            .into_iter()
            .map(|new| NodeGroup { name: new.name, count: new.count, settings: new.settings })
            .collect();
        Ok(ScaleRequest { counts, new_groups })
    }
}

impl Answer for Desk {
    async fn answer(&self, call: Call, replies: Sender<Reply>) -> Exit {
        if !call.request.is_question() {
            let note = format!("asked for by {} in another process: {}", call.by, call.request);
            let _ = self.screen.send(Reply::note(note)).await;
        }
        self.act(call, &replies).await
    }
}

/// The record of a cluster. Unlike `show`, this asks no node how it is.
pub(super) async fn record(service: &Service, name: &ClusterName) -> Option<Cluster> {
    service.list().await.ok()?.clusters.into_iter().find(|cluster| cluster.name() == name)
}

/// Why a request was not done, not yet put into words.
enum Refusal {
    Trouble(Trouble),
    Service(ServiceError),
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

async fn told(replies: &Sender<Reply>, reply: Reply) -> Exit {
    let _ = replies.send(reply).await;
    Exit::Done
}

async fn fail(trouble: Trouble, replies: &Sender<Reply>) -> Exit {
    let exit = trouble.exit;
    let _ = replies.send(Reply::Error(trouble)).await;
    exit
}

fn exit_of(end: &OperationEnd) -> Exit {
    match end.verdict {
        _ if end.verdict.is_resting() || !end.nodes_left.is_empty() => Exit::NeedsOperator,
        Verdict::Done => Exit::Done,
        _ => Exit::RolledBack,
    }
}
