//! The lives of clusters, as the seed has it.

use super::faults::Fault;

/// What is to happen to one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) name: String,
    pub(crate) groups: Vec<(&'static str, u32)>,
    pub(crate) create: Act,
    pub(crate) scales: Vec<(Direction, Act)>,
    /// Whether its user deletes it, and how. Those that are not deleted are there to the end.
    pub(crate) delete: Option<Act>,
}

/// Whether groups grow or shrink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
    /// The first group grows, the last one shrinks.
    Both,
}

/// How something is asked for, and what comes in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) meanwhile: Meanwhile,
    pub(crate) trouble: Option<Break>,
}

/// What somebody does while a command is at work, so many milliseconds after it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    Nothing,
    /// Another user deletes the cluster.
    Delete(u64),
    /// Another user scales it too.
    Scale(u64),
    /// The user kills the command.
    KillCommand(u64),
    /// Somebody deletes the record.
    Vanish(u64),
}

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// The first machine that is to come has a fault.
    New(Fault),
    /// The machines that there are cannot write down what they are told.
    Old,
    /// The disks of the machines that there are go away after so many milliseconds, for a second.
    Disk(u64),
}

/// The lives of so many clusters.
pub(crate) fn lives(seed: u64, count: usize) -> Vec<Life> {
    (0..count).map(|number| life(&mut fastrand::Rng::with_seed(seed.rotate_left(20) ^ number as u64), number)).collect()
}

fn life(dice: &mut fastrand::Rng, number: usize) -> Life {
    let groups = match dice.u32(..3) {
        0 => vec![("east", dice.u32(2..=4))],
        _ => vec![("east", dice.u32(1..=3)), ("west", dice.u32(1..=2))],
    };
    let create = Act { meanwhile: meanwhile(dice, false), trouble: new_fault(dice) };
    let scales = (0..dice.usize(1..=3)).map(|_| (direction(dice), scale(dice))).collect();
    let delete = dice.bool().then(|| Act {
        meanwhile: match dice.u32(..4) {
            0 => Meanwhile::KillCommand(dice.u64(..400)),
            1 => Meanwhile::Delete(dice.u64(..300)),
            _ => Meanwhile::Nothing,
        },
        trouble: None,
    });
    Life { name: format!("c{number}"), groups, create, scales, delete }
}

fn direction(dice: &mut fastrand::Rng) -> Direction {
    [Direction::Up, Direction::Down, Direction::Both][dice.usize(..3)]
}

fn scale(dice: &mut fastrand::Rng) -> Act {
    let trouble = match dice.u32(..8) {
        0 => Some(Break::Old),
        1 => Some(Break::Disk(dice.u64(..400))),
        _ => new_fault(dice),
    };
    Act { meanwhile: meanwhile(dice, true), trouble }
}

fn new_fault(dice: &mut fastrand::Rng) -> Option<Break> {
    match dice.u32(..10) {
        0 => Some(Break::New(Fault::Stubborn)),
        1 => Some(Break::New(Fault::Dies(9))),
        2 => Some(Break::New(Fault::Dies(dice.u32(1..=2)))),
        3..=5 => Some(Break::New(Fault::Slow(dice.u64(100..900)))),
        _ => None,
    }
}

fn meanwhile(dice: &mut fastrand::Rng, may_scale: bool) -> Meanwhile {
    let after = dice.u64(..900);
    match dice.u32(..20) {
        0..=2 => Meanwhile::Delete(after),
        3..=5 => Meanwhile::KillCommand(after / 2),
        6 => Meanwhile::Vanish(after),
        7 | 8 if may_scale => Meanwhile::Scale(after),
        _ => Meanwhile::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_and_everything_occurs() {
        let told = |seed| format!("{:?}", lives(seed, 200));
        assert_eq!(told(1), told(1));
        assert_ne!(told(1), told(2));
        let all = told(1);
        for word in
            ["Delete(", "Scale(", "KillCommand(", "Vanish(", "Old", "Disk(", "Stubborn", "Dies(", "Slow(", "Both"]
        {
            assert!(all.contains(word), "{word}");
        }
    }
}
