//! What the groups of patterns matched.

use super::*;

#[test]
fn groups_of_the_winning_pattern_are_told_by_name_and_number() {
    let path = "/a/12/x/34";
    let pattern = json!({"paths": ["~/b", r"~/a/(?<id>\d+)(/y)?/x/(\d+)"]});
    let expression = json!({
        "protocols": ["http"],
        "expression": r##"http.method == "GET" && http.path ~ r#"^/a/(?P<id>\d+)(/y)?/x/(\d+)"#"##,
    });
    for (flavour, attributes) in
        [(Flavour::Traditional, pattern.clone()), (Flavour::Expressions, expression)]
    {
        let router = router(flavour, &[attributes]);
        get("h", path).see(|view| {
            let found = router.matched(view).unwrap();
            let captures = found.captures(path).unwrap();
            assert_eq!(found.prefix_len, path.len());
            assert_eq!(captures.get("id"), Some("12"));
            assert_eq!((captures.get("3"), captures.get("2")), (Some("34"), None));
            assert_eq!(captures.get("other"), None);
            let numbered: Vec<_> = captures.numbered().collect();
            assert_eq!(numbered, [Some("12"), None, Some("34")]);
            assert_eq!(captures.named().collect::<Vec<_>>(), [("id", "12")]);
        });
    }
    let router = router(Flavour::Traditional, &[json!({"paths": ["/a"]})]);
    get("h", path).see(|view| assert!(router.matched(view).unwrap().captures(path).is_none()));
}
