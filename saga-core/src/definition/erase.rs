//! From typed functions to functions on payloads.
//!
//! Everything that the user wrote runs inside of the returned future, also the part of a closure before its first
//! `await`: the runtime watches the future, so that is where a panic must happen.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::action::{Ctx, Probe, StepError, Undo};
use crate::definition::{FinalizerFn, GuardFn, ProbeFn, RunFn, UndoFn};
use crate::journal::{FailureKind, FailureOrigin};
use crate::outcome::Outcome;
use crate::payload::{Payload, PayloadError};

/// The user's code was not even called, so nothing happened; and the same bytes will not decode next time either.
fn unreadable(error: PayloadError) -> StepError {
    StepError::new(FailureKind::Rejected, FailureOrigin::Undecodable, error)
}

/// The user's code did its work, and what it returned is lost: its effect must not be taken for none.
fn unwritable(error: PayloadError) -> StepError {
    StepError::new(FailureKind::Fatal, FailureOrigin::Undecodable, error)
}

pub(super) fn run<App, Arg, Out, F, Fut>(action: F) -> RunFn<App>
where
    App: Send + Sync + 'static,
    Arg: DeserializeOwned + Send + 'static,
    Out: Serialize + Send + 'static,
    F: Fn(Ctx<App>, Arg) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
{
    let action = Arc::new(action);
    Arc::new(move |ctx, input| {
        let action = Arc::clone(&action);
        Box::pin(async move {
            let arg = input.decode().map_err(unreadable)?;
            let output = action(ctx, arg).await?;
            Payload::encode(&output).map_err(unwritable)
        })
    })
}

pub(super) fn undo<App, Arg, Out, F, Fut>(compensation: F) -> UndoFn<App>
where
    App: Send + Sync + 'static,
    Arg: DeserializeOwned + Send + 'static,
    Out: DeserializeOwned + Send + 'static,
    F: Fn(Ctx<App>, Undo<Arg, Out>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), StepError>> + Send + 'static,
{
    let compensation = Arc::new(compensation);
    Arc::new(move |ctx, known| {
        let compensation = Arc::clone(&compensation);
        Box::pin(async move {
            let known = known.decode().map_err(unreadable)?;
            compensation(ctx, known).await
        })
    })
}

pub(super) fn probe<App, Arg, Out, F, Fut>(ask: F) -> ProbeFn<App>
where
    App: Send + Sync + 'static,
    Arg: DeserializeOwned + Send + 'static,
    Out: Serialize + Send + 'static,
    F: Fn(Ctx<App>, Arg) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Probe<Out>, StepError>> + Send + 'static,
{
    let ask = Arc::new(ask);
    Arc::new(move |ctx, input| {
        let ask = Arc::clone(&ask);
        Box::pin(async move {
            let arg = input.decode().map_err(unreadable)?;
            Ok(match ask(ctx, arg).await? {
                Probe::Done(output) => Probe::Done(Payload::encode(&output).map_err(unwritable)?),
                Probe::NotDone => Probe::NotDone,
                Probe::Unknown => Probe::Unknown,
            })
        })
    })
}

pub(super) fn guard<App, In, F, Fut>(ask: F) -> GuardFn<App>
where
    App: Send + Sync + 'static,
    In: DeserializeOwned + Send + 'static,
    F: Fn(Ctx<App>, In) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<bool, StepError>> + Send + 'static,
{
    let ask = Arc::new(ask);
    Arc::new(move |ctx, input| {
        let ask = Arc::clone(&ask);
        Box::pin(async move {
            let input = input.decode().map_err(unreadable)?;
            ask(ctx, input).await
        })
    })
}

pub(super) fn finalizer<App, In, F, Fut>(tell: F) -> FinalizerFn<App>
where
    App: Send + Sync + 'static,
    In: DeserializeOwned + Send + 'static,
    F: Fn(Ctx<App>, In, Outcome<Payload>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), StepError>> + Send + 'static,
{
    let tell = Arc::new(tell);
    Arc::new(move |ctx, input, outcome| {
        let tell = Arc::clone(&tell);
        Box::pin(async move {
            let input = input.decode().map_err(unreadable)?;
            tell(ctx, input, outcome).await
        })
    })
}

/// Whether a payload is an `Out`.
pub(super) fn check_output<Out: DeserializeOwned>(payload: &Payload) -> Result<(), PayloadError> {
    payload.decode::<Out>().map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::action::UndoPayloads;

    fn ctx() -> Ctx<()> {
        Ctx::detached(Arc::new(()), "step", CancellationToken::new())
    }

    fn json(text: &str) -> Payload {
        Payload::from_json(text).unwrap()
    }

    #[tokio::test]
    async fn an_action_gets_its_argument_and_gives_its_output() {
        let add = run(|_: Ctx<()>, (a, b): (u64, u64)| async move { Ok(a + b) });
        assert_eq!(add(ctx(), json("[1,2]")).await.unwrap(), json("3"));
    }

    #[tokio::test]
    async fn a_tuple_of_one_is_an_array_of_one() {
        let one = run(|_: Ctx<()>, (a,): (u64,)| async move { Ok((a,)) });
        assert_eq!(one(ctx(), json("[1]")).await.unwrap(), json("[1]"));
    }

    #[tokio::test]
    async fn an_unreadable_input_did_nothing() {
        let never = run(|_: Ctx<()>, (): ()| async move { panic!("must not be called") as Result<(), StepError> });
        let failure = never(ctx(), json("1")).await.unwrap_err().into_failure();
        assert_eq!((failure.kind, failure.origin), (FailureKind::Rejected, FailureOrigin::Undecodable));
    }

    #[tokio::test]
    async fn an_unwritable_output_leaves_the_effect_unknown() {
        let odd = run(|_: Ctx<()>, (): ()| async move { Ok(BTreeMap::from([((1, 2), 3)])) });
        let failure = odd(ctx(), Payload::null()).await.unwrap_err().into_failure();
        assert_eq!((failure.kind, failure.origin), (FailureKind::Fatal, FailureOrigin::Undecodable));
    }

    #[tokio::test]
    async fn a_closure_panics_only_when_it_is_polled() {
        fn broken(_: Ctx<()>, (): ()) -> std::future::Ready<Result<(), StepError>> {
            panic!("before the first await")
        }
        let future = run(broken)(ctx(), Payload::null());
        assert!(tokio::spawn(future).await.unwrap_err().is_panic());
    }

    #[tokio::test]
    async fn a_compensation_sees_what_is_known() {
        let undo = undo(|_: Ctx<()>, undo: Undo<u64, String>| async move {
            assert_eq!((undo.input, undo.output), (1, None));
            assert_eq!(undo.checkpoints, [json("2")]);
            Ok(())
        });
        let known = UndoPayloads { input: json("1"), output: None, checkpoints: vec![json("2")] };
        undo(ctx(), known.clone()).await.unwrap();
        let unreadable = UndoPayloads { output: Some(json("3")), ..known };
        assert_eq!(undo(ctx(), unreadable).await.unwrap_err().kind(), FailureKind::Rejected);
    }

    #[tokio::test]
    async fn a_probe_answers_in_payloads() {
        let ask = probe(|_: Ctx<()>, n: u64| async move {
            Ok(match n {
                0 => Probe::NotDone,
                1 => Probe::Done("one".to_owned()),
                _ => Probe::Unknown,
            })
        });
        assert_eq!(ask(ctx(), json("0")).await.unwrap(), Probe::NotDone);
        assert_eq!(ask(ctx(), json("1")).await.unwrap(), Probe::Done(json("\"one\"")));
        assert_eq!(ask(ctx(), json("2")).await.unwrap(), Probe::Unknown);
    }

    #[tokio::test]
    async fn guards_and_finalizers_get_the_input() {
        let there = guard(|_: Ctx<()>, n: u64| async move { Ok(n == 1) });
        assert!(there(ctx(), json("1")).await.unwrap());
        assert!(!there(ctx(), json("2")).await.unwrap());
        let tell = finalizer(|_: Ctx<()>, n: u64, outcome: Outcome<Payload>| async move {
            assert_eq!((n, outcome.completed()), (1, Some(json("2"))));
            Ok(())
        });
        tell(ctx(), json("1"), Outcome::Completed(json("2"))).await.unwrap();
    }

    #[test]
    fn an_output_is_checked_by_its_type() {
        assert!(check_output::<u64>(&json("1")).is_ok());
        assert!(check_output::<u64>(&json("\"1\"")).is_err());
    }
}
