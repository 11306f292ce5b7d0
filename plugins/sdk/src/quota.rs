//! The quota policy trait.

use alloc::{string::String, vec::Vec};

use crate::{config::Config, running::Running};

pub use crate::quota_bindings::exports::sedge::plugin::quota::{Grant, Operation, Request};

/// A quota policy: decides about each request of a client.
pub trait QuotaPolicy: Sized {
    /// Creates an instance from the broker's settings.
    ///
    /// # Errors
    /// A text for the person who configured the broker.
    fn configure(config: &Config) -> Result<Self, String>;

    /// Decides about a request. What the policy counts is lost when the broker restarts, and when
    /// a call fails.
    fn decide(&mut self, request: &Request) -> Grant;
}

impl<P: QuotaPolicy> Running<P> {
    #[doc(hidden)]
    pub fn configure_policy(&self, config: Vec<(String, String)>) -> Result<(), String> {
        self.configure_with(config, P::configure)
    }

    #[doc(hidden)]
    pub fn decide(&self, request: &Request) -> Grant {
        self.plugin().decide(request)
    }
}

/// Exports a [`QuotaPolicy`] from the component.
#[macro_export]
macro_rules! quota_policy {
    ($policy:ty) => {
        const _: () = {
            use $crate::quota_bindings::exports::sedge::plugin::{lifecycle, quota};

            static RUNNING: $crate::Running<$policy> = $crate::Running::new();
            struct Component;

            impl lifecycle::Guest for Component {
                fn configure(
                    config: $crate::Vec<($crate::String, $crate::String)>,
                ) -> Result<(), $crate::String> {
                    RUNNING.configure_policy(config)
                }
            }

            impl quota::Guest for Component {
                fn decide(request: quota::Request) -> quota::Grant {
                    RUNNING.decide(&request)
                }
            }

    $crate::quota_bindings::export!(Component with_types_in $crate::quota_bindings);
        };
    };
}
