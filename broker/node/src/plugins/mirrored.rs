//! Filters of what a mirror link sends.
//!
//! A link's task runs one read at a time, so one instance of each filter serves all of its topics.
//! What filters leave is as they leave it for a consumer ([`super::fetched`]); the link closes the
//! offsets up, as it does for batches that were compacted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use sedge_core::config::{OnPluginError, TopicConfig};
use sedge_core::log::AppendError;
use sedge_core::metadata::Topic;
use sedge_plugin::FilterStage;
use sedge_protocol::Bytes;

use super::Plugins;
use super::bindings::Binding;
use super::fetched::{Reading, Sifted, sift_through};
use super::filter::{Filter, Stage};
use super::origin::Origin;
use crate::limits::{FETCH_SIFT_TIME_MAX, FILTER_BATCH_BYTES_MAX, OPEN_COPIES};
use crate::net::memory::Pool;

/// The stage at which a link sends batches to its upstream.
#[derive(Debug)]
enum MirrorOut {}

impl Stage for MirrorOut {
    const NAME: &'static str = "mirror filter";
    const STAGE: FilterStage = FilterStage::MirrorOut;

    /// None: these filters are a link's.
    fn filters(_: &TopicConfig) -> &[String] {
        &[]
    }
}

/// The filters of a link.
#[derive(Debug)]
pub struct LinkFilters {
    link: Arc<str>,
    on_error: OnPluginError,
    bindings: Vec<Bound>,
    /// The memory of the batch that is open: always enough for one.
    pool: Arc<Pool>,
}

/// One filter, with its binding to the newest deployment.
#[derive(Debug)]
struct Bound {
    plugin: String,
    settings: Vec<(String, String)>,
    binding: Option<Arc<Binding<Filter<MirrorOut>>>>,
}

impl LinkFilters {
    /// Creates the filters named `plugins`; `settings` are by `PLUGIN.KEY`.
    pub fn new(
        link: &str,
        plugins: &[String],
        settings: &BTreeMap<String, String>,
        on_error: OnPluginError,
    ) -> Self {
        let bound = |plugin: &String| {
            let own = settings.iter().filter_map(|(name, value)| {
                let key = name.strip_prefix(plugin)?.strip_prefix('.')?;
                Some((key.to_owned(), value.clone()))
            });
            Bound {
                plugin: plugin.clone(),
                settings: own.collect(),
                binding: None,
            }
        };
        Self {
            link: link.into(),
            on_error,
            bindings: plugins.iter().map(bound).collect(),
            pool: Pool::new(2 * OPEN_COPIES * FILTER_BATCH_BYTES_MAX),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }
}

impl Plugins {
    /// Runs batches through a link's filters, first to last. Returns what they leave, and how many
    /// records they left out.
    ///
    /// # Errors
    /// A filter fails before the end of the first batch.
    pub async fn sift_for_link(
        &self,
        filters: &mut LinkFilters,
        topic: &Arc<Topic>,
        index: i32,
        batches: Vec<Bytes>,
    ) -> Result<(Vec<Bytes>, usize), AppendError> {
        let reading = Reading {
            topic: Arc::clone(topic),
            index,
            origin: Origin::Link(Arc::clone(&filters.link)),
            on_error: filters.on_error,
            until: Instant::now() + FETCH_SIFT_TIME_MAX,
        };
        let (mut sifted, mut memory) = (Sifted::new(batches), filters.pool.begin());
        let mut left_out = 0;
        for bound in &mut filters.bindings {
            if !sifted.has_batches() {
                break;
            }
            let binding = match &bound.binding {
                Some(binding) if binding.is_deployed(&self.registry) => Arc::clone(binding),
                _ => {
                    let (link, settings) = (&*filters.link, bound.settings.clone());
                    let (registry, metrics) = (&self.registry, &self.metrics);
                    let binding = Binding::of(registry, metrics, link, &bound.plugin, settings);
                    Arc::clone(bound.binding.insert(Arc::new(binding)))
                }
            };
            let turn = self.turn(&binding).await;
            let pool = (&filters.pool, memory);
            (sifted, memory) = sift_through(&binding, turn, &reading, sifted, pool).await;
            left_out += sifted.left_out();
        }
        drop(memory);
        Ok((sifted.into_batches()?, left_out))
    }
}
