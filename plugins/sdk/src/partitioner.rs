//! The partitioner trait.

use alloc::{string::String, vec::Vec};

use crate::{
    config::Config,
    filter::Needs,
    partitioner_bindings::exports::sedge::plugin::partitioner::Needs as WireNeeds,
    records::{Fields, records},
    running::Running,
};

/// A key partitioner: chooses the partition of each record.
pub trait Partitioner: Sized {
    /// The fields that the partitioner reads; the others are not copied and are `None`.
    const NEEDS: Needs = Needs::KEY;

    /// Creates an instance from the topic's settings.
    ///
    /// # Errors
    /// A text for the person who configured the topic.
    fn configure(config: &Config) -> Result<Self, String>;

    /// Returns the partition of a record, below `partitions`. Always the same for the same fields:
    /// a partitioner has no state, and the broker may ask any instance.
    fn partition(&self, record: &Fields<'_>, partitions: u32) -> u32;
}

impl<P: Partitioner> Running<P> {
    #[doc(hidden)]
    pub fn configure_partitioner(&self, config: Vec<(String, String)>) -> Result<(), String> {
        self.configure_with(config, P::configure)
    }

    #[doc(hidden)]
    pub fn partition_batch(&self, partitions: u32, blob: &[u8], spans: &[u8]) -> Vec<u32> {
        let partitioner = self.plugin();
        records(blob, spans)
            .map(|fields| partitioner.partition(&fields, partitions))
            .collect()
    }
}

#[doc(hidden)]
pub fn needs_of<P: Partitioner>() -> WireNeeds {
    WireNeeds::from_bits_truncate(P::NEEDS.bits())
}

/// Exports a [`Partitioner`] from the component.
#[macro_export]
macro_rules! partitioner {
    ($partitioner:ty) => {
        const _: () = {
            use $crate::partitioner_bindings::exports::sedge::plugin::{lifecycle, partitioner};

            static RUNNING: $crate::Running<$partitioner> = $crate::Running::new();
            struct Component;

            impl lifecycle::Guest for Component {
                fn configure(
                    config: $crate::Vec<($crate::String, $crate::String)>,
                ) -> Result<(), $crate::String> {
                    RUNNING.configure_partitioner(config)
                }
            }

            impl partitioner::Guest for Component {
                fn describe() -> partitioner::Needs {
                    $crate::needs_of::<$partitioner>()
                }

                fn partition_batch(
                    _topic: $crate::String,
                    partitions: u32,
                    blob: $crate::Vec<u8>,
                    spans: $crate::Vec<u8>,
                ) -> $crate::Vec<u32> {
                    RUNNING.partition_batch(partitions, &blob, &spans)
                }
            }

            $crate::partitioner_bindings::export!(
                Component with_types_in $crate::partitioner_bindings
            );
        };
    };
}
