//! The engines and plugins that this program has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::args::{Options, STORE_VARIABLE};
use super::paths::DataDir;
use super::trouble::{Trouble, chain};
#[cfg(feature = "openstack")]
use crate::engine::openstack::{NovaEngine, Session};
use crate::engine::{Engine, ProcessEngine};
use crate::plugin::{BlocksPlugin, CommandsPlugin, Plugin};
#[cfg(feature = "redis")]
use crate::plugin::{RedisPlugin, RedisProgram};
use crate::service::ServiceBuilder;

/// All that specs can ask for, by kind.
pub(super) struct Kit {
    engines: BTreeMap<&'static str, Arc<dyn Engine>>,
    plugins: BTreeMap<&'static str, Arc<dyn Plugin>>,
}

impl Kit {
    /// What there is on this computer, as the options and the environment say.
    pub(super) fn new(data: &DataDir, options: &Options) -> Result<Self, Trouble> {
        let kit = Self { engines: BTreeMap::new(), plugins: BTreeMap::new() };
        let kit = kit
            .engine(ProcessEngine::KIND, process_engine(data, options.node_program.clone())?)
            .plugin(BlocksPlugin::KIND, BlocksPlugin::new())
            .plugin(CommandsPlugin::KIND, CommandsPlugin::new(data.commands()).hide_variable(STORE_VARIABLE));
        #[cfg(feature = "redis")]
        let kit = kit.plugin(RedisPlugin::KIND, RedisPlugin::new());
        #[cfg(feature = "openstack")]
        // Which cloud that is, and whether there is one, is looked at when somebody asks for a server.
        let kit = kit.engine(NovaEngine::KIND, NovaEngine::new(Session::of_environment()));
        Ok(kit)
    }

    /// Adds an engine, or takes it instead of another one of that kind.
    pub(super) fn engine(mut self, kind: &'static str, engine: impl Engine) -> Self {
        self.engines.insert(kind, Arc::new(engine));
        self
    }

    /// Adds a plugin, or takes it instead of another one of that kind.
    pub(super) fn plugin(mut self, kind: &'static str, plugin: impl Plugin) -> Self {
        self.plugins.insert(kind, Arc::new(plugin));
        self
    }

    /// Makes all of it known to a service.
    pub(super) fn equip(&self, builder: ServiceBuilder) -> ServiceBuilder {
        let with_engines = self
            .engines
            .iter()
            .fold(builder, |builder, (kind, engine)| builder.engine_shared(kind, Arc::clone(engine)));
        self.plugins
            .iter()
            .fold(with_engines, |builder, (kind, plugin)| builder.plugin_shared(kind, Arc::clone(plugin)))
    }
}

/// The engine whose machines are processes of this computer.
pub(super) fn process_engine(data: &DataDir, program: Option<PathBuf>) -> Result<ProcessEngine, Trouble> {
    let program = match program {
        Some(program) => program,
        None => std::env::current_exe()
            .map_err(|error| Trouble::new(format!("this program cannot find its own file: {error}")).untouched())?,
    };
    let engine = ProcessEngine::new(data.machines(), program);
    let engine = engine.map_err(|error| Trouble::new(chain(&error)).untouched())?.hide_variable(STORE_VARIABLE);
    #[cfg(feature = "redis")]
    let engine = engine.program(RedisPlugin::KIND, RedisProgram::new());
    Ok(engine)
}
