//! The certificates of listeners as time goes by: files that change are loaded again, and the log
//! warns before one expires.

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

/// A listener's name, and its TLS.
pub type Secure = (String, Arc<ServerTls>);

/// Looks at the files of `listeners` for ever, and loads them whenever `asked` says so.
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
                        "listener {name}: certificate of {:?} loaded; open connections stay",
                        certificate.subject
                    );
                }
                Reload::Failed(error) => {
                    metrics.tls.reloads_failed.increment();
                    warn!(
                        target: "sedge::tls",
                        "listener {name}: changed certificate files are not used: {error}; what was \
                         loaded before stays; mend them and send SIGHUP, or write them again"
                    );
                }
            }
            if is_due.is_some() || matches!(reload, Reload::Loaded) {
                tell(name, tls, &metrics);
            }
        }
    }
}

/// Sets the metric, and warns of what expires soon.
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
            "listener {name}: the certificate of {subject:?} has expired, and clients do not connect \
             any more; renew it: the files are loaded when they change"
        );
    } else if left_s < TLS_EXPIRY_WARN_SECONDS {
        warn!(
            target: "sedge::tls",
            "listener {name}: the certificate of {subject:?} expires in {} days; renew it: the files \
             are loaded when they change",
            left_s / 86_400
        );
    }
}
