//! A short name for the structure of a saga.

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::plan::{PlanParts, Recovery, Shape, StepPlan};

/// The structure of a saga in 128 bits: step names, recovery classes, wiring, order, and which questions can be asked
/// (probes, guard, finalizer), as these shape its journals; not policies, not code.
///
/// A run is resumed only by a definition with the fingerprint that it started under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(uuid::Uuid);

impl Fingerprint {
    #[cfg(feature = "sled")]
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    #[cfg(feature = "sled")]
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// Hashes a canonical text of the structure (UUID version 5, so SHA-1): the same on every machine and release.
    pub(super) fn of(parts: &PlanParts, steps: &[StepPlan]) -> Self {
        let PlanParts { saga, version, output, guarded, finalized, .. } = parts;
        let mut text = String::new();
        // Names are written with their length, so that no two structures have one text.
        let _ = write!(text, "{}:{saga} v{version};", saga.as_str().len());
        for step in steps {
            let class = match step.recovery {
                Recovery::Compensable { .. } => "compensable",
                Recovery::ReadOnly => "read-only",
                Recovery::NonCompensable => "non-compensable",
                Recovery::Forward { .. } => "forward",
            };
            let shape = match step.shape {
                Shape::Single => "one",
                Shape::Each { .. } => "each",
            };
            let probed = if step.probed { " probed" } else { "" };
            let _ = write!(text, "{}:{} {class} {shape}{probed} {}", step.name.as_str().len(), step.name, step.input);
            for dep in &step.deps {
                let _ = write!(text, " #{dep}");
            }
            text.push(';');
        }
        let _ = write!(text, "out {output} guarded {guarded} finalized {finalized}");
        Self(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}
