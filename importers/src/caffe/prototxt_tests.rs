use super::*;

fn word(name: &str, value: &str) -> (String, Value) {
    (name.into(), Value::Word(value.into()))
}

/// Names and values, without places.
fn parsed(text: &str) -> Vec<(String, Value)> {
    parse("net.prototxt", text).unwrap().into_iter().map(|f| (f.name, f.value)).collect()
}

fn refused(text: &str) -> String {
    parse("net.prototxt", text).unwrap_err().to_string()
}

fn text_of(text: &str) -> String {
    match &parsed(text)[..] {
        [(_, Value::Text(text))] => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_values_of_every_kind() {
    assert_eq!(parsed(""), []);
    assert_eq!(parsed("  # nothing but a comment"), []);
    assert_eq!(
        parsed("a: 1, b: -1.5e-3; c: MAX d:true\n#x: 1\ne : - 2 f:.5 g: 1e+4 h: 0x1f"),
        [
            word("a", "1"),
            word("b", "-1.5e-3"),
            word("c", "MAX"),
            word("d", "true"),
            word("e", "-2"),
            word("f", ".5"),
            word("g", "1e+4"),
            word("h", "0x1f"),
        ]
    );
    assert_eq!(parsed("a: [1, 2,3] b: []"), [word("a", "1"), word("a", "2"), word("a", "3")]);
}

#[test]
fn reads_messages_in_both_kinds_of_brackets() {
    let fields = parse("x", "layer { a < b: 1 > } c: { } d [ { e: 1 }, { e: 2 } ]").unwrap();
    let Value::Message(layer) = &fields[0].value else { panic!("{fields:?}") };
    let Value::Message(a) = &layer[0].value else { panic!("{layer:?}") };
    assert_eq!((&*a[0].name, &a[0].value), ("b", &Value::Word("1".into())));
    assert_eq!(a[0].place, TextPosition { line: 1, column: 13 });
    assert_eq!(fields[1].value, Value::Message(Vec::new()));
    assert_eq!(fields.iter().filter(|field| field.name == "d").count(), 2);
}

#[test]
fn reads_texts_with_escapes_and_in_pieces() {
    assert_eq!(
        text_of(
            r#"a: "it's" ' "so"' # and more
        "\n\x41\101\t\\\"\u00e9""#
        ),
        "it's \"so\"\nAA\t\\\"é"
    );
    assert_eq!(text_of("a: '\\303\\274'"), "ü");
    assert_eq!(text_of("a: 'ü'"), "ü");
}

#[test]
fn a_mark_at_the_beginning_is_no_name() {
    assert_eq!(parsed("\u{feff}a: 1"), [word("a", "1")]);
}

#[test]
fn says_line_and_column_of_what_is_wrong() {
    let cases = [
        ("a: 1\n  b 2", "line 2, column 5: expected `:` or `{`", "got \"2\""),
        ("a {\n  b: 1", "line 2, column 7: expected the name of a field, or `}`", "the end"),
        ("a < b: 1 }", "column 10: expected the name of a field, or `>`", "got \"}\""),
        ("}", "line 1, column 1: expected the name of a field", "}"),
        ("a:", "column 3: expected a value", "the end"),
        ("a: [1 2]", "column 7: expected `,` or `]`", "2]"),
        ("a: [1,", "column 7: expected a value", "the end"),
        ("a: 'x\n'", "column 6: expected ' after a text", ""),
        ("a: '\\q'", "column 5: expected a known escape", "\\\\q"),
        ("a: '\\xg'", "expected a known escape", ""),
        ("a: '\\ud800'", "expected a known escape", ""),
        ("a: '\\777'", "expected a known escape", ""),
        ("a: '\\377'", "expected a text in UTF-8", ""),
        ("[a.b] { }", "column 1: expected the name of a field", ""),
        ("1: 2", "expected the name of a field", ""),
        ("a: -", "expected a value", ""),
    ];
    for (text, place, got) in cases {
        let message = refused(text);
        assert!(message.starts_with("net.prototxt: line "), "{message}");
        assert!(message.contains(place) && message.contains(got), "{text}\n  {message}");
    }
}

#[test]
fn depth_has_a_limit() {
    let nested = |depth: usize| "a{".repeat(depth) + &"}".repeat(depth);
    assert!(parse("x", &nested(MAX_DEPTH)).is_ok());
    let message = refused(&nested(MAX_DEPTH + 1));
    assert!(message.contains("at most 32 messages within each other"), "{message}");
    refused(&"a{".repeat(1_000_000));
}

#[test]
fn a_file_has_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.prototxt");
    std::fs::write(&path, " ".repeat(MAX_SPEC_BYTES)).unwrap();
    assert!(read_text(&path).is_ok());
    std::fs::write(&path, " ".repeat(MAX_SPEC_BYTES + 1)).unwrap();
    let message = read_text(&path).unwrap_err().to_string();
    assert!(message.contains("large.prototxt") && message.contains("at most"), "{message}");
    std::fs::write(&path, b"a: '\xff'").unwrap();
    assert!(read_text(&path).unwrap_err().to_string().contains("UTF-8"));
}
