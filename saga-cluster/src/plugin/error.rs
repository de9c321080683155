//! How a plugin fails.

use crate::failure::failure;

failure! {
    /// A plugin could not do what it was asked. Its [`kind`](Self::kind) says whether something may have changed and
    /// whether to ask again; the message names the node.
    PluginError
}
