//! Hints that the log has grown, by `LISTEN`: early or late or never, so the table is polled too.

use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use sqlx::Executor as _;
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::{BLIND_POLL_INTERVAL, POLL_INTERVAL, Server};
use crate::domain::event::Seq;

/// How long after a failure the server is asked again for hints.
const RETRY_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);

/// What the server has announced.
#[derive(Clone, Copy, Debug, Default)]
struct Hint {
    /// Whether more can be heard.
    listening: bool,
    /// The newest position that was heard of.
    seq: u64,
}

/// The connection that listens, with its task, which ends with this value.
#[derive(Debug)]
pub(super) struct Hints {
    heard: Mutex<watch::Receiver<Hint>>,
    _task: JoinSet<()>,
}

impl Hints {
    /// Begins to listen.
    pub(super) fn start(server: Server) -> Self {
        let (announce, heard) = watch::channel(Hint::default());
        let mut task = JoinSet::new();
        task.spawn(follow(server, announce));
        Self { heard: Mutex::new(heard), _task: task }
    }

    /// Waits for the next hint, or until it is time to look without one. Returns whether it was a
    /// hint that there is more than `after`.
    pub(super) async fn next(&self, after: Seq) -> bool {
        let mut heard = self.heard.lock().await;
        let interval = match heard.borrow().listening {
            true => POLL_INTERVAL,
            false => BLIND_POLL_INTERVAL,
        };
        let news = async {
            loop {
                if heard.changed().await.is_err() {
                    // The task is gone; polling goes on.
                    std::future::pending::<()>().await;
                }
                let hint = *heard.borrow();
                if hint.seq > after.0 || !hint.listening {
                    return hint.listening;
                }
            }
        };
        timeout(interval, news).await.unwrap_or(false)
    }
}

async fn follow(server: Server, announce: watch::Sender<Hint>) {
    loop {
        if let Err(error) = listen(&server, &announce).await {
            tracing::debug!(error = ?error, "cannot listen to the database: polling instead");
        }
        announce.send_replace(Hint::default());
        sleep(RETRY_INTERVAL).await;
    }
}

/// Listens until the connection is lost.
async fn listen(server: &Server, announce: &watch::Sender<Hint>) -> Result<(), sqlx::Error> {
    let session = super::options::session(&server.settings);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(server.settings.timeout)
        .after_connect(move |connection, _| {
            let session = session.clone();
            Box::pin(async move {
                connection.execute(session.as_str()).await?;
                Ok(())
            })
        })
        .connect_lazy_with(server.options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    let channel: String =
        sqlx::query_scalar("SELECT hybridctl_channel()").fetch_one(&mut listener).await?;
    listener.listen(&channel).await?;
    // Whatever was announced before is to be looked for now.
    announce.send_replace(Hint { listening: true, seq: u64::MAX });
    while let Some(notification) = listener.try_recv().await? {
        let seq = notification.payload().parse().unwrap_or(u64::MAX);
        announce.send_replace(Hint { listening: true, seq });
    }
    Ok(())
}
