//! Background task for the listeners' certificates: reloads changed files, and warns before a
//! certificate expires.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_channel::Receiver;
use async_io::Timer;
use futures_lite::future;
use log::{info, warn};

use crate::limits::{TLS_EXPIRY_WARN_EVERY, TLS_EXPIRY_WARN_SECONDS, TLS_FILES_CHECK_EVERY};
use crate::metrics::Metrics;
use crate::tls::ServerTls;
use crate::tls::server::Reload;

/// The name of a TLS listener, and its TLS settings.
pub type Secure = (String, Arc<ServerTls>);

/// Checks the files of `listeners` periodically. Each message in `asked` reloads them at once.
/// Never returns.
pub async fn watch(listeners: Vec<Secure>, metrics: Arc<Metrics>, asked: Receiver<()>) {
    let mut warned = Timer::interval(TLS_EXPIRY_WARN_EVERY);
    for (name, tls) in &listeners {
        tell(name, tls, &metrics);
    }
    loop {
        let by_time = async {
            Timer::after(TLS_FILES_CHECK_EVERY).await;
            false
        };
        let by_signal = async {
            match asked.recv().await {
                Ok(()) => true,
                Err(_) => future::pending().await,
            }
        };
        let anyway = future::or(by_signal, by_time).await;
        let is_due = future::poll_once(futures_lite::StreamExt::next(&mut warned)).await;
        for (name, tls) in &listeners {
            let again = Arc::clone(tls);
            let reload = blocking::unblock(move || again.reload(anyway)).await;
            match &reload {
                Reload::Unchanged => {}
                Reload::Loaded => {
                    let certificate = tls.certificate();
                    info!(
                        target: "sedge::tls",
                        "listener {name}: certificate of {:?} loaded; open connections stay open",
                        certificate.subject
                    );
                }
                Reload::Failed(error) => {
                    metrics.tls.reloads_failed.increment();
                    warn!(
                        target: "sedge::tls",
                        "listener {name}: changed certificate files not loaded: {error}; the \
                         previous certificate remains in use; correct the files, and they are \
                         reloaded"
                    );
                }
            }
            if is_due.is_some() || matches!(reload, Reload::Loaded) {
                tell(name, tls, &metrics);
            }
        }
    }
}

/// Sets the metric of the expiry time, and warns if the certificate has expired or expires soon.
fn tell(name: &str, tls: &ServerTls, metrics: &Metrics) {
    let certificate = tls.certificate();
    metrics.tls.expires(name, certificate.not_after_s);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now_s.map_or(0, |since| since.as_secs() as i64);
    let left_s = certificate.not_after_s - now_s;
    let subject = &certificate.subject;
    if left_s <= 0 {
        warn!(
            target: "sedge::tls",
            "listener {name}: the certificate of {subject:?} has expired, so clients refuse to \
             connect; renew it and replace the files; they are reloaded"
        );
    } else if left_s < TLS_EXPIRY_WARN_SECONDS {
        warn!(
            target: "sedge::tls",
            "listener {name}: the certificate of {subject:?} expires in {} days; renew it and \
             replace the files; they are reloaded",
            left_s / 86_400
        );
    }
}
