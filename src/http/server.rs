//! The server's life. Not responsible for routes.

use axum::Router;
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests under way may take after the end was asked for.
const FINISH_TIME_MAX: Duration = Duration::from_secs(5);

/// Serves until `ending`, then takes no more connections and finishes the requests under way, within a deadline.
pub(crate) async fn serve(listener: TcpListener, router: Router, ending: CancellationToken) -> io::Result<()> {
    let server = axum::serve(listener, router).with_graceful_shutdown(ending.clone().cancelled_owned());
    let late = async {
        ending.cancelled().await;
        tokio::time::sleep(FINISH_TIME_MAX).await;
    };
    tokio::select! {
        served = server => served,
        () = late => Ok(()),
    }
}
