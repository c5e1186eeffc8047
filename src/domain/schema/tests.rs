//! What the engine refuses, in whose order and words, and what it shows.

use serde_json::{Value, json};

use super::*;
use crate::domain::entity::Kind;

/// Returns what is wrong with a value.
fn error(field: &Field, value: Value) -> Value {
    check_value(field, &value, UnknownNull::Refuse).unwrap_or_default()
}

/// A field, a value that it takes, one that it refuses, and what is said.
type RuleCase = (Field, Value, Value, &'static str);

fn value_rules() -> Vec<RuleCase> {
    let text = Field::string;
    vec![
        (text().eq("a"), json!("a"), json!("b"), "value must be a"),
        (text().ne("a"), json!("b"), json!("a"), "value must not be a"),
        (text().eq(Value::Null), json!(null), json!("a"), "value must be null"),
        (text().ne(Value::Null), json!("a"), json!(null), "value must not be null"),
        (Field::boolean().eq(true), json!(true), json!(null), "value must be true"),
        (text().not_one_of(["a", "b"]), json!("c"), json!("a"), "must not be one of: a, b"),
        (text().one_of(["a", "b"]), json!("a"), json!("c"), "expected one of: a, b"),
        (Field::integer().one_of([1, 2]), json!(1.0), json!(3), "expected one of: 1, 2"),
        (Field::number().gt(0.0), json!(0.1), json!(0), "value must be greater than 0"),
        (Field::integer().timestamp(), json!(1), json!(0), "expected a valid timestamp"),
        (
            text().uuid(),
            json!("00000000-0000-0000-0000-00000000000A"),
            json!("x"),
            "expected a valid UUID",
        ),
        (text().is_regex(), json!("a+"), json!("("), "not a valid regex: ("),
        (
            Field::number().within(0.001, 10.0),
            json!(0.001),
            json!(0),
            "value should be between 0 and 10",
        ),
        (Field::integer().between(1, 2), json!(2), json!(3), "value should be between 1 and 2"),
        (text().len_eq(2), json!("ab"), json!("a"), "length must be 2"),
        (text().len_min(2), json!("ab"), json!("a"), "length must be at least 2"),
        (text().len_min(0), json!(""), json!(1), "expected a string"),
        (text(), json!("a"), json!(""), "length must be at least 1"),
        (text().len_max(1), json!("a"), json!("ab"), "length must be at most 1"),
    ]
}

fn text_rules() -> Vec<RuleCase> {
    let text = Field::string;
    let none: [&str; 0] = [];
    vec![
        (text().starts_with("/"), json!("/a"), json!("a"), "should start with: /"),
        (text().not_match("%d"), json!("a"), json!("a1"), "invalid value: a1"),
        (text().match_none([("//", "empty")]), json!("/a"), json!("//"), "empty"),
        (text().matches("^%u+$"), json!("A"), json!("a"), "invalid value: a"),
        (text().match_all([("a", "no a"), ("b", "no b")]), json!("ab"), json!("a"), "no b"),
        (text().match_any(["a", "b"], "neither"), json!("b"), json!("c"), "neither"),
        (
            Field::set(text()).contains("a"),
            json!(["b", "a"]),
            json!(["b"]),
            "expected to contain: a",
        ),
        (text().custom(|_| Err("no".into())), json!(null), json!("a"), "no"),
        (
            Field::set(text()).exclusive_subsets(&[&["a", "b"], &["c"], &["d"]]),
            json!(["a", "b"]),
            json!(["c", "b"]),
            "these sets are mutually exclusive: ('c'), ('a', 'b')",
        ),
        (text().matches("a").err("other words"), json!("a"), json!("b"), "other words"),
        (
            text().matches("a").referenceable(),
            json!("{vault://env/x}"),
            json!("b"),
            "invalid value: b",
        ),
        (
            Field::map(text().matches("^a"), text()),
            json!({"a": "b"}),
            json!({"b": "b"}),
            "invalid value: b",
        ),
        (
            Field::map(text(), Field::integer()),
            json!({}),
            json!({"a": null}),
            "required field missing",
        ),
        (text().one_of(none).required(), json!(null), json!(null), "required field missing"),
    ]
}

#[test]
fn every_rule_has_kongs_words() {
    for (field, good, bad, said) in value_rules().into_iter().chain(text_rules()) {
        let is_good = error(&field, good.clone());
        assert!(is_good.is_null() || good == bad, "{good} is good, not {is_good}");
        assert_eq!(error(&field, bad.clone()), json!(said), "{bad}");
    }
}

#[test]
fn rules_run_in_kongs_order_however_they_were_said() {
    let field = Field::string()
        .custom(|_| Err("code".into()))
        .matches("^a")
        .len_min(3)
        .one_of(["abc", "xy"]);
    assert_eq!(error(&field, json!("q")), json!("expected one of: abc, xy"));
    assert_eq!(error(&field, json!("xy")), json!("length must be at least 3"));
    assert_eq!(error(&field, json!("abc")), json!("code"));
    let empty = Field::string().starts_with("/").one_of(["/", ""]);
    assert_eq!(error(&empty, json!("")), json!("length must be at least 1"));
}

fn record(check: Check) -> Field {
    Field::record([
        ("a", Field::string()),
        ("b", Field::string()),
        ("n", Field::integer()),
        ("list", Field::set(Field::string())),
        (
            "in",
            Field::record([("c", Field::string()), ("d", Field::string().required())]).optional(),
        ),
    ])
    .check(check)
}

/// A check, a record that passes it, one that does not, and what is said.
type CheckCase = (Check, Value, Value, Value);

fn set_checks() -> Vec<CheckCase> {
    use Check::{AtLeastOneOf, Distinct, MutuallyExclusive, MutuallyExclusiveSets};
    use Check::{MutuallyRequired, OnlyOneOf};
    let none_of_two = "at least one of these fields must be non-empty: 'a', 'b'";
    vec![
        (
            AtLeastOneOf(&["a", "b"]),
            json!({"b": "x"}),
            json!({"a": null}),
            json!({"@entity": [none_of_two]}),
        ),
        (
            OnlyOneOf(&["a", "in.c"]),
            json!({"a": "x", "in": {"d": "x"}}),
            json!({"a": "x", "in": {"c": "y", "d": "x"}}),
            json!({"@entity": ["exactly one of these fields must be non-empty: 'a', 'in.c'"]}),
        ),
        (
            OnlyOneOf(&["a", "in.c"]),
            json!({"in": {"c": "x", "d": "x"}}),
            json!({"a": "x"}),
            json!({"in": {"c": "field required for entity check"}}),
        ),
        (
            Distinct(&["a", "b"]),
            json!({"a": "x", "b": "y"}),
            json!({"a": "x", "b": "x"}),
            json!({"@entity": ["values of these fields must be distinct: 'a', 'b'"]}),
        ),
        (
            MutuallyRequired(&["a", "b"]),
            json!({}),
            json!({"a": "x"}),
            json!({"@entity": ["all or none of these fields must be set: 'a', 'b'"]}),
        ),
        (
            MutuallyExclusive(&["a", "b"]),
            json!({}),
            json!({"a": "x", "b": "y"}),
            json!({"@entity": ["only one or none of these fields must be set: 'a', 'b'"]}),
        ),
        (
            MutuallyExclusiveSets(&["a", "b"], &["n", "list"]),
            json!({"a": "x", "b": "y"}),
            json!({"b": "x", "list": ["y"]}),
            json!({"@entity": ["these sets are mutually exclusive: ('b'), ('list')"]}),
        ),
    ]
}

fn conditional_checks() -> Vec<CheckCase> {
    let of_a = |then_field, then| Check::conditional("a", Match::eq("x"), then_field, then);
    let conditional = "failed conditional validation given value of field 'a'";
    let missing = "required field missing";
    let code: Custom = |_| {
        let mut errors = FieldErrors::default();
        errors.entity("code");
        errors
    };
    vec![
        (
            of_a("b", Match::required()),
            json!({"a": "y"}),
            json!({"a": "x"}),
            json!({"@entity": [conditional], "b": missing}),
        ),
        (
            of_a("in.c", Match::required()),
            json!({"a": "x", "in": {"c": "y", "d": "x"}}),
            json!({"a": "x"}),
            json!({"@entity": [conditional], "in": {"c": missing}}),
        ),
        (
            of_a("n", Match::eq(Value::Null)).err("no %s here"),
            json!({"a": "x"}),
            json!({"a": "x", "n": 1}),
            json!({"@entity": ["no a here"], "n": "value must be null"}),
        ),
        (
            of_a("list", Match::contains("q")),
            json!({"a": "x", "list": ["q"]}),
            json!({"a": "x", "list": ["p"]}),
            json!({"@entity": [conditional], "list": "expected to contain: q"}),
        ),
        (
            Check::conditional(
                "list",
                Match::elements(Field::string().not_one_of(["q"])),
                "b",
                Match::len_eq(0),
            ),
            json!({"list": ["q"], "b": "x"}),
            json!({"list": ["p"], "b": "x"}),
            json!({"@entity": ["failed conditional validation given value of field 'list'"], "b": "length must be 0"}),
        ),
        (
            Check::conditional_at_least_one_of("a", Match::one_of(["x"]), &["b", "in.c"])
                .err("set %s"),
            json!({"a": "x", "b": "y"}),
            json!({"a": "x"}),
            json!({"@entity": ["set 'b', 'in.c'"]}),
        ),
        (
            Check::custom(&["in.c"], code),
            json!({"a": "x"}),
            json!({"in": {"d": "x"}}),
            json!({"@entity": ["code"]}),
        ),
    ]
}

#[test]
fn every_check_has_kongs_words() {
    for (check, good, bad, said) in set_checks().into_iter().chain(conditional_checks()) {
        let field = record(check);
        assert_eq!(error(&field, good.clone()), Value::Null, "{good} is good");
        assert_eq!(error(&field, bad.clone()), said, "{bad}");
    }
}

#[test]
fn checks_wait_for_fields_that_they_can_read() {
    let field = record(Check::MutuallyRequired(&["a", "n"]));
    let errors = error(&field, json!({"n": "many"}));
    assert_eq!(errors, json!({"n": "expected an integer"}), "a field in error is not counted");
    let secret = Field::record([("a", Field::string().referenceable()), ("b", Field::string())])
        .check(Check::Distinct(&["a", "b"]));
    let same = "{vault://env/x}";
    assert_eq!(error(&secret, json!({"a": same, "b": same})), Value::Null, "it may be anything");
}

fn renamed() -> Field {
    Field::record([
        ("redis", Field::record([("host", Field::string()), ("port", Field::integer())])),
        ("kept", Field::string()),
    ])
    .shorthand(Shorthand::renamed(
        "redis_host",
        Field::string(),
        &["redis", "host"],
        "use redis.host",
    ))
    .shorthand(Shorthand::to("short", Field::string(), &["kept"]))
    .shorthand(Shorthand::with("doubled", Field::integer(), |value| {
        let twice = value.as_i64().unwrap_or_default() * 2;
        Document::from_iter([("redis".to_owned(), json!({"port": twice}))])
    }))
}

#[test]
fn shorthands_become_the_fields_they_stand_for() {
    for (given, meant) in [
        (json!({"redis_host": "a"}), json!({"redis": {"host": "a"}})),
        (
            json!({"redis_host": "a", "redis": {"port": 1}}),
            json!({"redis": {"host": "a", "port": 1}}),
        ),
        (json!({"redis_host": "a", "redis": {"host": "a"}}), json!({"redis": {"host": "a"}})),
        (json!({"redis_host": null, "redis": {"host": "a"}}), json!({"redis": {"host": "a"}})),
        (json!({"short": "new", "kept": "old"}), json!({"kept": "new"})),
        (json!({"doubled": 2, "redis": {"port": 1}}), json!({"redis": {"port": 4}})),
    ] {
        let mut value = given.clone();
        expand(&renamed(), &mut value).unwrap_or_else(|errors| panic!("{given}: {errors:?}"));
        assert_eq!(value, meant, "{given}");
    }
    for (given, field, said) in [
        (json!({"redis_host": 1}), "redis_host", "expected a string"),
        (
            json!({"redis_host": "a", "redis": {"host": "b"}}),
            "redis_host",
            "both deprecated and new field are used but their values mismatch: redis_host = a vs \
             redis.host = b",
        ),
    ] {
        let errors = expand(&renamed(), &mut given.clone()).expect_err("it is refused");
        assert_eq!(errors.into_value(), Some(json!({field: said})), "{given}");
    }
}

#[test]
fn reads_show_the_old_names_too() {
    let fields: Fields = Schema::new(Kind::new("x")).field("config", renamed()).fields;
    let document = json!({"config": {"redis": {"host": "a"}}});
    let shown = present(&fields, document.as_object().unwrap().clone());
    assert_eq!(
        Value::Object(shown),
        json!({"config": {"redis": {"host": "a", "port": null}, "kept": null, "redis_host": "a"}})
    );
}

#[test]
fn descriptions_have_kongs_shape() {
    let schema = Schema::new(Kind::new("x"))
        .field("name", Field::string().required().unique().matches("^a").encrypted())
        .field("ttl", Field::integer().hidden())
        .field("port", Field::number().default(1.0).within(0.5, 2.0))
        .field("items", Field::array(Field::record([("r", Field::record([]))])))
        .field("config", renamed())
        .check(Check::conditional("a", Match::required(), "b", Match::eq(Value::Null)).err("e"));
    let deprecation = json!({
        "message": "use redis.host", "removal_in_version": "4.0",
        "replaced_with": [{"path": ["redis", "host"]}],
    });
    assert_eq!(
        describe(&schema.fields, &schema.checks),
        json!({
            "entity_checks": [{"conditional": {
                "if_field": "a", "if_match": {"required": true},
                "then_field": "b", "then_match": {"eq": null}, "then_err": "e",
            }}],
            "fields": [
                {"name": {
                    "type": "string", "required": true, "unique": true, "encrypted": true,
                    "match": "^a",
                }},
                {"port": {"type": "number", "default": 1, "between": [0.5, 2]}},
                {"items": {"type": "array", "elements": {
                    "type": "record", "fields": [{"r": {"type": "record", "fields": []}}],
                }}},
                {"config": {
                    "type": "record", "required": true,
                    "fields": [
                        {"redis": {"type": "record", "required": true, "fields": [
                            {"host": {"type": "string"}}, {"port": {"type": "integer"}},
                        ]}},
                        {"kept": {"type": "string"}},
                    ],
                    "shorthand_fields": [
                        {"redis_host": {"type": "string", "deprecation": deprecation}},
                        {"short": {"type": "string"}},
                        {"doubled": {"type": "integer"}},
                    ],
                }},
            ],
        })
    );
}

#[test]
fn the_defaults_of_a_records_fields_are_its_own() {
    let inner = Field::record([("b", Field::integer().default(2)), ("c", Field::string())]);
    let field = Field::record([("a", Field::integer().default(1)), ("in", inner)]);
    assert_eq!(field.default_of_fields().default, Some(json!({"a": 1, "in": {"b": 2}})));
}
