//! The sockets: an accept loop of our own, because a handler must be able to reset its connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The connection that a request came over; in the request's extensions.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Notify>);

impl Line {
    /// Resets the connection: TCP RST, nothing more is sent.
    pub(crate) fn reset(&self) {
        self.0.notify_one();
    }
}

/// Serves connections until it is told to stop; then all of them are closed.
pub(crate) async fn accept(listener: TcpListener, router: Router, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, router.clone(), stop.clone()));
            }
            // Out of file descriptors, most likely: others may close theirs.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Only speed hangs on it.
    let _ = stream.set_nodelay(true);
    let line = Line::default();
    let app = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(line.clone());
        let answer = app.call(request.map(Body::new));
        // Boxed, because the connection must be movable to be taken apart.
        Box::pin(answer) as Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = line.0.notified() => {
            let stream = connection.into_parts().io.into_inner();
            // Closing a socket that does not linger sends RST instead of FIN.
            let _ = stream.set_zero_linger();
        }
        // A broken connection is the caller's affair, or the script's.
        _ = &mut connection => {}
    }
}
