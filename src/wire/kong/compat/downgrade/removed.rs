//! The fields of plugins' configs that older data planes do not know, and their older names
//! (reference hybrid.md, section 6.4).

/// The names of plugins, with fields of their configs at dotted paths.
type Fields = &'static [(&'static str, &'static [&'static str])];

/// Fields by the version that brought them: data planes below it do not get them. The names of
/// plugins have `_` for `-` here, as they do in the log lines.
pub(super) const REMOVED: &[(u64, Fields)] = &[
    (
        3_001_000_000,
        &[
            (
                "acme",
                &[
                    "enable_ipv4_common_name",
                    "storage_config.redis.ssl",
                    "storage_config.redis.ssl_verify",
                    "storage_config.redis.ssl_server_name",
                ],
            ),
            ("rate_limiting", &["error_code", "error_message"]),
            ("response_ratelimiting", &["redis_ssl", "redis_ssl_verify", "redis_server_name"]),
            ("datadog", &["retry_count", "queue_size", "flush_timeout"]),
            ("statsd", &["retry_count", "queue_size", "flush_timeout"]),
            ("session", &["cookie_persistent"]),
            ("zipkin", &["http_response_header_for_traceid"]),
        ],
    ),
    (
        3_002_000_000,
        &[
            ("statsd", &["tag_style"]),
            (
                "session",
                &[
                    "audience",
                    "absolute_timeout",
                    "remember_cookie_name",
                    "remember_rolling_timeout",
                    "remember_absolute_timeout",
                    "response_headers",
                    "request_headers",
                ],
            ),
            ("aws_lambda", &["aws_imds_protocol_version"]),
            ("zipkin", &["phase_duration_flavor"]),
        ],
    ),
    (
        3_003_000_000,
        &[
            ("acme", &["account_key", "storage_config.redis.namespace"]),
            ("aws_lambda", &["disable_https"]),
            ("proxy_cache", &["ignore_uri_case"]),
            ("opentelemetry", &["http_response_header_for_traceid", "queue", "header_type"]),
            ("http_log", &["queue"]),
            ("statsd", &["queue"]),
            ("datadog", &["queue"]),
            ("zipkin", &["queue"]),
        ],
    ),
    (3_004_000_000, &[("rate_limiting", &["sync_rate"]), ("proxy_cache", &["response_headers"])]),
    (
        3_005_000_000,
        &[
            ("acme", &["storage_config.redis.scan_count"]),
            ("cors", &["private_network"]),
            ("session", &["read_body_for_logout"]),
        ],
    ),
    (3_006_000_000, &[("opentelemetry", &["sampling_rate"]), ("basic_auth", &["realm"])]),
    (
        3_007_000_000,
        &[
            ("opentelemetry", &["propagation"]),
            ("zipkin", &["propagation"]),
            ("ai_proxy", &["response_streaming", "model.options.upstream_path"]),
            ("ai_request_transformer", &["llm.model.options.upstream_path"]),
            ("ai_response_transformer", &["llm.model.options.upstream_path"]),
            ("key_auth", &["realm"]),
        ],
    ),
    (
        3_008_000_000,
        &[
            ("response_transformer", &["rename.json"]),
            ("aws_lambda", &["empty_arrays_mode"]),
            ("ldap_auth", &["realm"]),
            ("hmac_auth", &["realm"]),
            ("jwt", &["realm"]),
            ("oauth2", &["realm"]),
            ("opentelemetry", &["traces_endpoint", "logs_endpoint", "queue.concurrency_limit"]),
            (
                "ai_proxy",
                &[
                    "max_request_body_size",
                    "model.options.gemini",
                    "auth.gcp_use_service_account",
                    "auth.gcp_service_account_json",
                    "model.options.bedrock",
                    "auth.aws_access_key_id",
                    "auth.aws_secret_access_key",
                    "auth.allow_override",
                    "model_name_header",
                ],
            ),
            ("ai_prompt_decorator", &["max_request_body_size"]),
            ("ai_prompt_guard", &["match_all_roles", "max_request_body_size"]),
            ("ai_prompt_template", &["max_request_body_size"]),
            ("ai_request_transformer", AI_TRANSFORMER),
            ("ai_response_transformer", AI_TRANSFORMER),
            ("prometheus", &["ai_metrics"]),
            ("acl", &["always_use_authenticated_groups"]),
            ("http_log", &["queue.concurrency_limit"]),
            ("statsd", &["queue.concurrency_limit"]),
            ("datadog", &["queue.concurrency_limit"]),
            ("zipkin", &["queue.concurrency_limit"]),
        ],
    ),
    (
        3_009_001_000,
        &[
            ("ai_proxy", &["llm_format"]),
            ("ai_prompt_guard", &["llm_format"]),
            ("ai_prompt_decorator", &["llm_format"]),
        ],
    ),
];

const AI_TRANSFORMER: &[&str] = &[
    "max_request_body_size",
    "llm.model.options.gemini",
    "llm.auth.gcp_use_service_account",
    "llm.auth.gcp_service_account_json",
    "llm.model.options.bedrock",
    "llm.auth.aws_access_key_id",
    "llm.auth.aws_secret_access_key",
    "llm.auth.allow_override",
];

/// Fields that had another name before a version: plugin, name, older name.
pub(super) const RENAMED: &[(u64, &str, &str, &str)] = &[
    (3_002_000_000, "session", "idling_timeout", "cookie_idletime"),
    (3_002_000_000, "session", "rolling_timeout", "cookie_lifetime"),
    (3_002_000_000, "session", "stale_ttl", "cookie_discard"),
    (3_002_000_000, "session", "cookie_same_site", "cookie_samesite"),
    (3_002_000_000, "session", "cookie_http_only", "cookie_httponly"),
    (3_002_000_000, "session", "remember", "cookie_persistent"),
    (3_008_000_000, "opentelemetry", "traces_endpoint", "endpoint"),
];

/// Values that had another text before a version: plugin, older name of the field, value, older
/// value.
pub(super) const REVALUED: &[(u64, &str, &str, &str, &str)] =
    &[(3_002_000_000, "session", "cookie_samesite", "Default", "Lax")];
