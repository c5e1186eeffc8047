//! A Postgres server that is full, read-only, broken or forbids: writes are refused with the reason,
//! everything else goes on, and writes do when the server lets them.

use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};
use throwaway_postgres::{DATABASE, Server, USER};

use crate::harness::{Cluster, poll};
use crate::http::Upstream;
use crate::postgres::{self, Schema};

async fn connect(server: &Server) -> PgConnection {
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(server.port());
    options.username(USER).database(DATABASE).connect().await.unwrap()
}

/// Checks that nothing works less than it must while writes are refused for a reason.
async fn is_refused(cluster: &Cluster, reason: &str) {
    for _ in 0..2 {
        let write = json!({"name": "late", "host": "late"});
        let refused = cluster.call("POST", "/services", &write).await;
        assert_eq!(refused.status, 503, "{reason}: {}", refused.body);
        assert!(refused.body.contains(reason), "{reason}: {}", refused.body);
    }
    assert_eq!(cluster.call("GET", "/routes/a", &Value::Null).await.status, 200);
    assert_eq!(cluster.call("GET", "/services/late", &Value::Null).await.status, 404);
    let status = cluster.call("GET", "/status", &Value::Null).await.json();
    assert_eq!(status["database"]["reachable"], json!(true));
    cluster.until("/a", |answer| answer.status == 200).await;
}

/// Checks that writes are taken again.
async fn recovers(cluster: &Cluster) {
    let written = poll(async || {
        let write = json!({"name": "late", "host": "late"});
        let answer = cluster.call("POST", "/services", &write).await;
        (answer.status == 201).then_some(())
    });
    assert!(written.await.is_some(), "writes are not taken again");
    assert_eq!(cluster.call("DELETE", "/services/late", &Value::Null).await.status, 204);
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_refuses_by_is_told_and_passes() {
    let server = postgres::start(&[], &[]);
    let schema = Schema::on(&server);
    schema.migrate().await;
    let upstream = Upstream::start("blue").await;
    let mut env = schema.env();
    // Rights are nothing to a superuser.
    env.push(("KONG_PG_USER".to_owned(), "app".to_owned()));
    let mut admin = connect(&server).await;
    let name = schema.quoted();
    admin.execute(format!("SET search_path = {name}").as_str()).await.unwrap();
    admin.execute("CREATE ROLE app LOGIN").await.unwrap();
    for on in [format!("SCHEMA {name}"), format!("ALL TABLES IN SCHEMA {name}")] {
        admin.execute(format!("GRANT ALL ON {on} TO app").as_str()).await.unwrap();
    }
    let cluster = Cluster::start_with(env).await;
    cluster.route("a", "/a", &upstream).await;

    // The server's own words, as it would say them of its disk.
    let codes = [
        ("53100", "no space left on device"),
        ("53200", "out of memory, files or connections"),
        ("58030", "input/output error of its disk"),
        ("XX001", "the database is damaged"),
        ("57P01", "the database cannot be reached"),
    ];
    for (code, reason) in codes {
        let fails = format!(
            "CREATE OR REPLACE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'told to' USING ERRCODE = '{code}'; END $$; \
             CREATE TRIGGER fails BEFORE INSERT ON events EXECUTE FUNCTION fails()"
        );
        sqlx::raw_sql(&fails).execute(&mut admin).await.unwrap();
        is_refused(&cluster, reason).await;
        admin.execute("DROP TRIGGER fails ON events").await.unwrap();
        recovers(&cluster).await;
    }

    // It has rights to all but the log.
    admin.execute("REVOKE INSERT ON events FROM app").await.unwrap();
    is_refused(&cluster, "the database denies access").await;
    admin.execute("GRANT INSERT ON events TO app").await.unwrap();
    recovers(&cluster).await;

    // As a standby, or a managed server whose disk is nearly full, does.
    admin.execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
    admin.execute("SELECT pg_reload_conf()").await.unwrap();
    let seen = poll(async || {
        let shown: String = sqlx::query_scalar("SHOW default_transaction_read_only")
            .fetch_one(&mut connect(&server).await)
            .await
            .unwrap();
        (shown == "on").then_some(())
    });
    assert!(seen.await.is_some());
    is_refused(&cluster, "the database is read-only").await;
    admin.execute("ALTER SYSTEM RESET default_transaction_read_only").await.unwrap();
    admin.execute("SELECT pg_reload_conf()").await.unwrap();
    recovers(&cluster).await;
}
