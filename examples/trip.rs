//! Booking a trip: the tutorial of `saga-core`.
//!
//! ```text
//! cargo run -p saga-examples --example trip
//! ```
//!
//! A trip is a hotel, a flight, a payment and a mail. Each is a call to somebody else's system, each can fail, and
//! nobody wants to pay for a hotel without a flight. So each is a *step* with its way to recover, the trip is a *saga*
//! of them, and the library sees to it that it ends in an honest state. This program books three trips: one that goes
//! well, one whose card is declined, and one whose last step fails in a way that nothing can be said about.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use saga_core::store::MemoryStore;
use saga_core::{Actor, BuildError, Coordinator, Ctx, Outcome, Retry, Saga, Shutdown, StepError, Undo};
use serde::{Deserialize, Serialize};

// 1. The types that travel between the steps. They are journaled as JSON, so they are plain data.

#[derive(Debug, Clone, Serialize, Deserialize)]
struct TripRequest {
    traveller: String,
    card: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Hotel {
    reservation: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Flight {
    seat: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Receipt {
    number: String,
    cents: u64,
}

// 2. The application: what the steps work with. Here it is a pretended travel agency that remembers what is booked. A
//    real one would hold HTTP clients and connection pools.

#[derive(Clone, Default)]
struct Agency {
    booked: Arc<Mutex<BTreeMap<String, String>>>,
    mail_server_is_up: Arc<Mutex<bool>>,
}

impl Agency {
    /// Booking under a key twice is booking once.
    fn book(&self, key: String, what: &str) {
        println!("    + {what}");
        self.booked.lock().expect("no panics in here").insert(key, what.to_owned());
    }

    /// Cancelling what was never booked, or is cancelled already, is fine.
    fn cancel(&self, key: &str) {
        if let Some(what) = self.booked.lock().expect("no panics in here").remove(key) {
            println!("    - {what}");
        }
    }
}

// 3. The actions and their compensations: async functions. `Ctx` dereferences to the application.

async fn book_hotel(ctx: Ctx<Agency>, trip: TripRequest) -> Result<Hotel, StepError> {
    // The key is the same on every attempt, also after a crash; and no other step of any run has it.
    let reservation = format!("hotel for {}", trip.traveller);
    ctx.book(ctx.idempotency_key(), &reservation);
    Ok(Hotel { reservation })
}

/// By the key, and not by the output: if the action failed half-way, or its process died, there is no output, and maybe a
/// booking all the same. The compensation of a step has the same key as its action.
async fn cancel<In, Out>(ctx: Ctx<Agency>, _: Undo<In, Out>) -> Result<(), StepError> {
    ctx.cancel(&ctx.idempotency_key());
    Ok(())
}

async fn book_flight(ctx: Ctx<Agency>, trip: TripRequest) -> Result<Flight, StepError> {
    if ctx.attempt() == 1 {
        // Any error becomes a `StepError` by `?`: its effect is unknown, and it is retried as the step's policy says.
        println!("    ! the airline does not answer");
        return Err(std::io::Error::other("connection reset by the airline").into());
    }
    let seat = format!("seat for {}", trip.traveller);
    ctx.book(ctx.idempotency_key(), &seat);
    Ok(Flight { seat })
}

async fn charge_card(
    ctx: Ctx<Agency>,
    (trip, _hotel, _flight): (TripRequest, Hotel, Flight),
) -> Result<Receipt, StepError> {
    if trip.card == "expired" {
        // We know that nothing was charged, and say so: this step needs no undoing.
        return Err(StepError::rejected("the card has expired"));
    }
    let receipt = Receipt { number: format!("receipt for {}", trip.traveller), cents: 99_900 };
    ctx.book(ctx.idempotency_key(), &receipt.number);
    Ok(receipt)
}

async fn send_confirmation(ctx: Ctx<Agency>, (trip, receipt): (TripRequest, Receipt)) -> Result<Receipt, StepError> {
    if !*ctx.mail_server_is_up.lock().expect("no panics in here") {
        println!("    ! the mail server hangs up in the middle");
        return Err(StepError::failed("the mail server hung up; who knows whether the mail went out"));
    }
    ctx.book(ctx.idempotency_key(), &format!("mail to {}", trip.traveller));
    Ok(receipt)
}

// 4. The saga. Passing a handle as an input is what makes an edge, and the compiler checks that the types fit. The
//    recovery verb ends each step: a step that does not say how it recovers does not compile.

fn book_trip() -> Result<Saga<Agency, TripRequest, Receipt>, BuildError> {
    let mut saga = Saga::<Agency, TripRequest>::builder("book-trip", 1);
    let trip = saga.input();
    let hotel = saga.step("hotel", trip, book_hotel).compensate(cancel);
    let flight = saga.step("flight", trip, book_flight).retry(Retry::exponential(3)).compensate(cancel);
    let paid = saga.step("charge", (trip, hotel, flight), charge_card).compensate(cancel);
    // A mail cannot be taken back.
    let sent = saga.step("mail", (trip, paid), send_confirmation).non_compensable();
    saga.build(sent)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let book_trip = book_trip()?;

    // 5. What would happen if a step failed? The saga can be asked before anything runs.
    println!("What if?\n\n{}", book_trip.forecast());

    // 6. The coordinator runs sagas, and keeps their journals in a store. `MemoryStore` forgets; for real work it is
    //    `SledStore::open("some/directory")?`, and nothing else changes (see the example `crash`).
    let coordinator = Coordinator::builder(MemoryStore::new(), Agency::default()).register(&book_trip).start().await?;
    let agency = Arc::clone(coordinator.app());
    *agency.mail_server_is_up.lock().expect("no panics in here") = true;

    println!("\nAda books a trip. The airline needs to be asked twice:");
    let ada = TripRequest { traveller: "Ada".into(), card: "4242".into() };
    let run = coordinator.start(&book_trip, ada).await?;
    // From here on the run is durable: whatever happens to this process, it comes to an end.
    println!("  => {}", run.outcome().await?);

    println!("\nBob's card has expired. What was booked for him is undone:");
    let bob = TripRequest { traveller: "Bob".into(), card: "expired".into() };
    let run = coordinator.start(&book_trip, bob).await?;
    match run.outcome().await? {
        Outcome::RolledBack(end) => println!("  => rolled back, nothing is left: {}", end.cause),
        other => println!("  => unexpected: {other}"),
    }

    println!("\nThe mail server hangs up while it takes Cyd's confirmation. Did the mail go out? Nobody knows, and it");
    println!("could not be taken back. So nothing is undone: the run halts, and waits for a person.");
    *agency.mail_server_is_up.lock().expect("no panics in here") = false;
    let cyd = TripRequest { traveller: "Cyd".into(), card: "4242".into() };
    let run = coordinator.start(&book_trip, cyd).await?;
    if let Outcome::Halted(end) = run.outcome().await? {
        println!("  => halted at `{}`: {}", end.at, end.error);
        for left in &end.residue {
            println!("     {}: {}", left.place, left.why);
        }
    }

    println!("\nAn operator looks at the mail server's log, repairs it, and has the step tried again:");
    *agency.mail_server_is_up.lock().expect("no panics in here") = true;
    let run = coordinator.retry(run.id(), Actor::new("operator", "mail server repaired, no mail had gone out")).await?;
    println!("  => {}", run.outcome().await?);

    println!("\nWhat the agency has booked in the end:");
    for booked in agency.booked.lock().expect("no panics in here").values() {
        println!("    {booked}");
    }
    coordinator.shutdown(Shutdown::Drain).await?;
    Ok(())
}

// 7. Does it recover, wherever it fails or its process dies, and whatever an operator does then? The test kit tries every
//    point there is.

#[cfg(test)]
mod tests {
    use saga_core::testkit::{Kit, World};

    use super::*;

    impl World for Agency {
        type App = Agency;

        fn app(&self) -> Agency {
            self.clone()
        }
    }

    /// The steps of which something is booked.
    fn booked(agency: &Agency) -> Vec<String> {
        let booked = agency.booked.lock().expect("no panics in here");
        booked.keys().filter_map(|key| key.split('/').nth(1)).map(str::to_owned).collect()
    }

    #[test]
    fn the_trip_recovers_everywhere() {
        let ada = || TripRequest { traveller: "Ada".into(), card: "4242".into() };
        let agency = || Agency { mail_server_is_up: Arc::new(Mutex::new(true)), ..Agency::default() };
        Kit::new(&book_trip().expect("it is sound"), ada, agency)
            .check(|agency: &Agency, outcome| match outcome {
                Outcome::Completed(_) => assert_eq!(booked(agency), ["charge", "flight", "hotel", "mail"]),
                // All, if the trip was cancelled while the mail went out; otherwise nothing. (Of a mail that an operator
                // takes for not sent it is said that it may have been.)
                Outcome::RolledBack(end) => {
                    let kept: Vec<_> = end.kept.iter().map(|place| place.step.to_string()).collect();
                    assert!(booked(agency).is_empty() || booked(agency).len() == 4);
                    assert!(booked(agency).iter().all(|step| kept.contains(step)), "{kept:?}");
                }
                // Whether the mail went out nobody knows; what it was built on stands.
                Outcome::Halted(_) => assert_eq!(booked(agency)[..3], ["charge", "flight", "hotel"]),
                // What could not be cancelled, or was given up, is named, and nothing else is left.
                Outcome::Stuck(_) | Outcome::Abandoned(_) => {
                    let left: Vec<_> = outcome.residue().iter().map(|left| left.place.step.to_string()).collect();
                    assert!(booked(agency).iter().all(|step| left.contains(step)), "{left:?}");
                }
            })
            .everything()
            .assert();
    }
}
