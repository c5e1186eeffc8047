//! A mirror in a bucket of an S3-compatible object store.
//!
//! Requests, signatures, credentials and retries are `object_store`'s; its connections are ours, so
//! that there is one TLS stack and one way to say whom it trusts. Where the bucket is and who asks
//! is in the usual `AWS_*` variables.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpResponse, HttpService,
};
use object_store::path::Path;
use object_store::{
    Attribute, BackoffConfig, ClientOptions, Error, GetOptions, ObjectStore as _, PutOptions,
    RetryConfig,
};

use super::client::{Client, Origin};
use super::{MirrorError, cache_control};

/// How often a request is tried again, and until when.
const RETRIES_MAX: usize = 4;
const RETRY_WITHIN: Duration = Duration::from_secs(60);

/// What a bucket's URL begins with.
const SCHEME: &str = "s3://";

/// A bucket and the prefix of its keys.
pub(super) struct Bucket {
    store: AmazonS3,
    name: String,
    prefix: Path,
    /// Whether nobody said whose credentials are to be used.
    credentials_of_machine: bool,
}

impl Bucket {
    /// Tells whether a URL is of a bucket.
    pub(super) fn is_at(url: &str) -> bool {
        url.starts_with(SCHEME)
    }

    pub(super) fn open<E: From<MirrorError>>(
        url: &str,
        tls: impl FnOnce() -> Result<Arc<rustls::ClientConfig>, E>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, E> {
        let wrong = || MirrorError::Url(url.to_owned());
        let rest = url.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let of_name = |it: u8| it.is_ascii_alphanumeric() || b".-_".contains(&it);
        if name.is_empty() || !name.bytes().all(of_name) {
            return Err(wrong().into());
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|_| wrong())?;
        let options = options(environment)?;
        let insecure = options.iter().any(|(key, value)| is_endpoint(*key) && is_plain(value));
        let tls = (!insecure).then(tls).transpose()?;
        let has = |key| options.iter().any(|(known, _)| *known == key);
        let credentials_of_machine = !has(AmazonS3ConfigKey::AccessKeyId)
            && !has(AmazonS3ConfigKey::SecretAccessKey)
            && !has(AmazonS3ConfigKey::SkipSignature)
            && !has(AmazonS3ConfigKey::WebIdentityTokenFile);
        let mut builder = AmazonS3Builder::new()
            .with_http_connector(Connector(Arc::new(Client::new(tls))))
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: RETRIES_MAX,
                retry_timeout: RETRY_WITHIN,
            });
        for (key, value) in options {
            builder = builder.with_config(key, value);
        }
        let store = builder.with_bucket_name(name).build();
        let store = store.map_err(|error| MirrorError::Bucket {
            bucket: name.to_owned(),
            what: innermost(&error),
        })?;
        Ok(Self { store, name: name.to_owned(), prefix, credentials_of_machine })
    }

    /// Returns an object; none if it is not there, or if the bucket does not say whether it is.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Bytes>, MirrorError> {
        let got = match self.store.get_opts(&self.key(path), GetOptions::default()).await {
            Ok(answer) => answer.bytes().await,
            Err(error) => Err(error),
        };
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. } | Error::PermissionDenied { .. }) => Ok(None),
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// Tells whether an object is there. Who may not list a bucket is told that nothing is
    /// permitted where nothing is.
    pub(super) async fn has(&self, path: &str) -> Result<bool, MirrorError> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(&self.key(path), options).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. } | Error::PermissionDenied { .. }) => Ok(false),
            Err(error) => Err(self.explain(&error)),
        }
    }

    pub(super) async fn put(
        &self,
        path: &str,
        bytes: Bytes,
        immutable: bool,
    ) -> Result<(), MirrorError> {
        let mut options = PutOptions::default();
        options.attributes.insert(Attribute::CacheControl, cache_control(immutable).into());
        options.attributes.insert(Attribute::ContentType, "application/octet-stream".into());
        let put = self.store.put_opts(&self.key(path), bytes.into(), options).await;
        put.map(drop).map_err(|error| self.explain(&error))
    }

    fn key(&self, path: &str) -> Path {
        self.prefix.parts().chain(Path::from(path).parts()).collect()
    }

    fn explain(&self, error: &Error) -> MirrorError {
        let mut what = innermost(error);
        if self.credentials_of_machine {
            what.push_str(
                " (AWS_ACCESS_KEY_ID is not set: credentials are asked of the machine's \
                 metadata service)",
            );
        }
        MirrorError::Bucket { bucket: self.name.clone(), what }
    }
}

/// Returns the options that the environment sets, as far as they mean something here.
fn options(
    environment: &BTreeMap<String, String>,
) -> Result<Vec<(AmazonS3ConfigKey, String)>, MirrorError> {
    let mut options = Vec::new();
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with("AWS_")) {
        let Ok(key) = name.to_ascii_lowercase().parse() else { continue };
        let meant = match key {
            // The bucket is the URL's.
            AmazonS3ConfigKey::Bucket => false,
            AmazonS3ConfigKey::Client(key) => key == ClientConfigKey::AllowHttp,
            _ => true,
        };
        let value = value.trim();
        if !meant || value.is_empty() {
            continue;
        }
        // It goes into a header or a URL.
        let is_text = value.bytes().all(|it| (b' '..=b'~').contains(&it));
        let is_url = || value.parse().ok().is_some_and(|uri: Uri| Origin::of(&uri).is_some());
        let is_name = || value.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        let right = match key {
            _ if !is_text => false,
            AmazonS3ConfigKey::Region | AmazonS3ConfigKey::DefaultRegion => is_name(),
            key if is_endpoint(key) => is_url(),
            _ => true,
        };
        if !right {
            return Err(MirrorError::Variable(name.clone()));
        }
        options.push((key, value.to_owned()));
    }
    Ok(options)
}

fn is_endpoint(key: AmazonS3ConfigKey) -> bool {
    use AmazonS3ConfigKey::{Endpoint, MetadataEndpoint, S3Endpoint, StsEndpoint};
    matches!(key, Endpoint | S3Endpoint | StsEndpoint | MetadataEndpoint)
}

fn is_plain(url: &str) -> bool {
    url.starts_with("http://")
}

/// Returns what went wrong in the end, without what was tried on the way there.
fn innermost(error: &Error) -> String {
    let mut innermost: &(dyn StdError + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
        if innermost.is::<MirrorError>() {
            break;
        }
    }
    let text = innermost.to_string();
    let text = text.strip_prefix("Server returned non-2xx status code: ").unwrap_or(&text);
    let hint = if text.starts_with("Received redirect") || text.starts_with("301") {
        " (is it another region?)"
    } else {
        ""
    };
    format!("{}{hint}", text.trim_end_matches([':', ' ']))
}

/// Our connections, for `object_store`.
#[derive(Debug)]
struct Connector(Arc<Client>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        let plain = allowed.is_some_and(|allowed| allowed == "true");
        Ok(HttpClient::new(Connections { client: self.0.clone(), plain }))
    }
}

#[derive(Debug)]
struct Connections {
    client: Arc<Client>,
    /// Whether `http` may be used.
    plain: bool,
}

#[async_trait]
impl HttpService for Connections {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut head, body) = request.into_parts();
        let wrong = || HttpError::new(HttpErrorKind::Unknown, MirrorError::Origin);
        let origin = Origin::of(&head.uri).ok_or_else(wrong)?;
        if !origin.is_secure() && !self.plain {
            return Err(HttpError::new(HttpErrorKind::Unknown, MirrorError::Plain));
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = path.parse().map_err(|_| wrong())?;
        let body = body.collect().await?.to_bytes();
        let sent = self.client.send(&origin, Request::from_parts(head, Full::new(body))).await;
        let (head, mut body) = sent.map_err(http_error)?.into_parts();
        if !head.status.is_success() {
            body = reason(&body);
        }
        Ok(Response::from_parts(head, body.into()))
    }
}

fn http_error(error: MirrorError) -> HttpError {
    let kind = match error {
        MirrorError::Connect(_) => HttpErrorKind::Connect,
        MirrorError::TimedOut => HttpErrorKind::Timeout,
        MirrorError::Exchange(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Decode,
    };
    HttpError::new(kind, error)
}

/// Returns code and message of a failure. The rest may repeat what was sent, a session's token
/// included.
fn reason(body: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(body);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (content, _) = rest.split_once(&format!("</{name}>"))?;
        Some(content.chars().filter(|it| !it.is_control()).take(200).collect::<String>())
    };
    let parts: Vec<_> = ["Code", "Message"].into_iter().filter_map(element).collect();
    parts.join(": ").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mirror::Mirror;

    fn open(url: &str, environment: &[(&str, &str)]) -> Result<Mirror, MirrorError> {
        let environment = environment.iter().map(|(name, value)| {
            let (name, value) = (*name, *value);
            (name.to_owned(), value.to_owned())
        });
        let no_tls = || Err(MirrorError::TimedOut);
        Mirror::open(url, no_tls, || environment.collect())
    }

    #[test]
    fn what_the_environment_says_is_looked_at_first_and_never_repeated() {
        let plain = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000");
        assert!(open("s3://bucket", &[plain]).is_ok());
        assert!(open("s3://bucket/a/b/", &[plain]).is_ok());
        for url in ["s3://", "s3:///a", "s3://user@bucket/a", "s3://bucket/a//b", "s3://b?x/a"] {
            assert!(matches!(open(url, &[plain]), Err(MirrorError::Url(_))), "{url}");
        }
        for (name, value) in [
            ("AWS_ENDPOINT_URL_S3", "http://user:secret@host"),
            ("AWS_ENDPOINT", "secret"),
            ("AWS_SESSION_TOKEN", "secret\nnext"),
            ("AWS_REGION", "secret/.."),
        ] {
            let said = open("s3://bucket", &[plain, (name, value)]).err().unwrap().to_string();
            assert!(said.contains(name) && !said.contains("secret"), "{said}");
        }
        let half = open("s3://bucket", &[plain, ("AWS_ACCESS_KEY_ID", "id")]).err().unwrap();
        assert!(half.to_string().contains("SecretAccessKey"), "{half}");
        // Only a bucket that is spoken to in the clear does without TLS.
        assert!(matches!(open("s3://bucket", &[]), Err(MirrorError::TimedOut)));
    }

    #[test]
    fn of_a_failure_only_code_and_message_are_kept() {
        let body = b"<?xml?><Error><Code>SignatureDoesNotMatch</Code><Message>No.</Message>\
            <CanonicalRequest>x-amz-security-token:secret</CanonicalRequest></Error>";
        assert_eq!(reason(body), "SignatureDoesNotMatch: No.");
        assert_eq!(reason(b"<html>secret</html>"), "");
    }
}
