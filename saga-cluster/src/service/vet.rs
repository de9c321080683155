//! Whether what is asked for makes sense, asked of the engine and the plugin before anything is touched.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::ServiceError;
use super::inner::Inner;
use crate::engine::{Engine, EngineCheck, EngineError};
use crate::model::{Cluster, ClusterSpec, KindName, NodeGroup, ScalePlan, Settings, SpecError, SpecProblem};
use crate::plugin::{Plugin, PluginError};

impl Inner {
    /// Whether a cluster like that may be created.
    pub(super) fn vet(&self, spec: &ClusterSpec) -> Result<(), ServiceError> {
        let (engine, plugin) = (self.engine(&spec.engine)?, self.plugin(&spec.plugin)?);
        let known = known(&*engine, &*plugin);
        let mut problems = unknown("", &spec.settings, &known);
        problems.extend(unknown_in(0, &spec.groups, &known));
        all_known(problems)?;
        asked(|| engine.validate(spec))?;
        asked(|| plugin.validate(spec))
    }

    /// Whether a cluster may be scaled like that. What settings its groups have is not asked again: they may be those of
    /// an older release, and nothing is to become of that.
    pub(super) fn vet_scale(&self, cluster: &Cluster, plan: &ScalePlan) -> Result<(), ServiceError> {
        let spec = &cluster.spec;
        let (engine, plugin) = (self.engine(&spec.engine)?, self.plugin(&spec.plugin)?);
        all_known(unknown_in(spec.groups.len(), plan.new_groups(), &known(&*engine, &*plugin)))?;
        asked(|| engine.validate(&cluster.spec_after(plan)))?;
        asked(|| plugin.validate_scale(cluster, plan))
    }

    /// Asks the engine whether it could make a cluster like that now.
    pub(super) async fn check(&self, spec: &ClusterSpec) -> Result<EngineCheck, ServiceError> {
        spec.check()?;
        self.vet(spec)?;
        let engine = self.engine(&spec.engine)?;
        Ok(engine.check(spec).await?)
    }

    /// The engine of that kind, which is configured.
    pub(super) fn engine(&self, kind: &KindName) -> Result<Arc<dyn Engine>, ServiceError> {
        let engines = &self.app().engines;
        let engine = engines.get(kind.as_str()).cloned().ok_or_else(|| ServiceError::UnknownEngine {
            kind: kind.clone(),
            known: engines.keys().cloned().collect(),
        })?;
        match configured(&*engine) {
            Ok(()) => Ok(engine),
            Err(source) => Err(ServiceError::EngineNotConfigured { kind: kind.clone(), source }),
        }
    }

    /// The engines that are configured, by kind.
    pub(super) fn engines(&self) -> impl Iterator<Item = (&str, &dyn Engine)> {
        let engines = self.app().engines.iter().map(|(kind, engine)| (kind.as_str(), &**engine));
        engines.filter(|(_, engine)| configured(*engine).is_ok())
    }

    /// The plugin of that kind.
    pub(super) fn plugin(&self, kind: &KindName) -> Result<Arc<dyn Plugin>, ServiceError> {
        let plugins = &self.app().plugins;
        let plugin = plugins.get(kind.as_str()).cloned();
        plugin
            .ok_or_else(|| ServiceError::UnknownPlugin { kind: kind.clone(), known: plugins.keys().cloned().collect() })
    }
}

fn known<'a>(engine: &'a dyn Engine, plugin: &'a dyn Plugin) -> BTreeSet<&'a str> {
    engine.settings().iter().chain(plugin.settings()).copied().collect()
}

/// The settings of these groups, the first of which has that index in its spec, that nobody knows.
fn unknown_in(first: usize, groups: &[NodeGroup], known: &BTreeSet<&str>) -> Vec<SpecProblem> {
    let of_group = |(i, group): (usize, &NodeGroup)| unknown(&format!("groups[{i}]."), &group.settings, known);
    (first..).zip(groups).flat_map(of_group).collect()
}

fn unknown(path: &str, settings: &Settings, known: &BTreeSet<&str>) -> Vec<SpecProblem> {
    let problem = |name: &String| SpecProblem::Setting {
        field: format!("{path}settings.{name}"),
        known: known.iter().map(ToString::to_string).collect(),
    };
    settings.keys().filter(|name| !known.contains(name.as_str())).map(problem).collect()
}

fn configured(engine: &dyn Engine) -> Result<(), EngineError> {
    opinion(|| engine.configured())
}

fn all_known(problems: Vec<SpecProblem>) -> Result<(), ServiceError> {
    if problems.is_empty() { Ok(()) } else { Err(SpecError { problems }.into()) }
}

/// An opinion. Who panics has none, which is no yes.
fn opinion<E: Opinion>(ask: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| Err(E::panicked()))
}

fn asked<E: Opinion>(validate: impl FnOnce() -> Result<(), E>) -> Result<(), ServiceError> {
    opinion(validate).map_err(E::refused)
}

/// The error of whoever is asked for an opinion.
trait Opinion {
    fn panicked() -> Self;
    fn refused(self) -> ServiceError;
}

impl Opinion for EngineError {
    fn panicked() -> Self {
        Self::fatal("the engine panicked")
    }

    fn refused(self) -> ServiceError {
        ServiceError::RefusedByEngine(self)
    }
}

impl Opinion for PluginError {
    fn panicked() -> Self {
        Self::fatal("the plugin panicked")
    }

    fn refused(self) -> ServiceError {
        ServiceError::Refused(self)
    }
}
