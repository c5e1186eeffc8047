//! The examples of RFC 7541, appendix C, and one direction against the other.

use http::StatusCode;
use proptest::prelude::*;

use super::*;

/// Keeps what it is given.
#[derive(Default)]
struct List(Vec<(String, String)>, bool);

impl Sink for List {
    fn is_full(&self) -> bool {
        self.1
    }

    fn take(&mut self, field: Field, size: usize) {
        let (name, value) = match field {
            Field::Pseudo(name, value) => {
                (format!(":{name:?}").to_lowercase(), String::from_utf8(value.to_vec()).unwrap())
            }
            Field::Regular(name, value) => (name.to_string(), value.to_str().unwrap().to_owned()),
            Field::Malformed => ("malformed".to_owned(), String::new()),
        };
        if name != "malformed" {
            assert_eq!(size, name.len() + value.len() + ENTRY_OVERHEAD, "{name}");
        }
        self.0.push((name, value));
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, CodingError> {
    let mut list = List::default();
    decoder.decode(block, &mut list)?;
    Ok(list.0)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Requests without (C.3) and with (C.4) folded texts.
#[test]
fn the_requests_of_the_rfc_are_decoded() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let folded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, folded] {
        let mut decoder = Decoder::new();
        let base = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
        let host = (":authority", "www.example.com");
        let [first, second, third] = blocks.map(bytes);
        let expected = fields(&[&base[..], &[host]].concat());
        assert_eq!(decode(&mut decoder, &first).unwrap(), expected);
        let expected = fields(&[&base[..], &[host, ("cache-control", "no-cache")]].concat());
        assert_eq!(decode(&mut decoder, &second).unwrap(), expected);
        let expected = fields(&[
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            host,
            ("custom-key", "custom-value"),
        ]);
        assert_eq!(decode(&mut decoder, &third).unwrap(), expected);
    }
}

/// C.6: a table of 256 bytes, from which entries are evicted.
#[test]
fn the_answers_of_the_rfc_are_decoded() {
    let mut decoder = Decoder::new();
    let first = "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 \
                 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
    let (date, location) = ("Mon, 21 Oct 2013 20:13:21 GMT", "https://www.example.com");
    let mut expected = fields(&[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", date),
        ("location", location),
    ]);
    assert_eq!(decode(&mut decoder, &bytes(first)).unwrap(), expected);
    expected[0].1 = "307".to_owned();
    assert_eq!(decode(&mut decoder, &bytes("4883 640e ffc1 c0bf")).unwrap(), expected);
    let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab \
                 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f \
                 9587 3160 65c0 03ed 4ee5 b106 3d50 07";
    let got = decode(&mut decoder, &bytes(third)).unwrap();
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let expected = fields(&[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", location),
        ("content-encoding", "gzip"),
        ("set-cookie", cookie),
    ]);
    assert_eq!(got, expected);
}

#[test]
fn what_is_no_coding_is_refused() {
    for (block, why) in [
        ("80", "index 0"),
        ("be", "an index of an empty table"),
        ("ff80808001", "an index that nobody has"),
        ("7f80", "an integer without end"),
        ("4003", "a text that is cut off"),
        ("0001 61", "a value is missing"),
        ("3fe21f", "a table larger than allowed"),
        ("8220", "a size behind a field"),
        ("0001 6181 00", "padding of zeros"),
        ("0001 6184 ffff ffff", "the end symbol"),
        ("0001 6182 1fff", "padding of an octet"),
    ] {
        assert_eq!(decode(&mut Decoder::new(), &bytes(block)), Err(CodingError), "{why}");
    }
}

#[test]
fn fields_that_no_message_may_have_are_told_and_remembered() {
    let malformed = fields(&[("malformed", "")]);
    for block in [
        "4001 4101 61",
        "4000 0161",
        "4001 6101 0a",
        "4001 6102 2061",
        "4002 3a61 0162",
        "4001 6102 6109",
    ] {
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &bytes(block)).unwrap(), malformed, "{block}");
        assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), malformed, "{block}");
    }
}

#[test]
fn a_full_sink_gets_nothing_more_and_the_table_goes_on() {
    let mut decoder = Decoder::new();
    decoder.decode(&bytes("4001 6101 62"), &mut List(Vec::new(), true)).unwrap();
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), fields(&[("a", "b")]));
}

#[test]
fn what_repeats_becomes_an_octet_and_what_is_sensitive_does_not() {
    let mut encoder = Encoder::new();
    let write = |encoder: &mut Encoder, value: &[u8]| {
        let mut block = Vec::new();
        encoder.field(&mut block, "server", value);
        block.len()
    };
    assert_eq!((0..4).map(|_| write(&mut encoder, b"kong")).collect::<Vec<_>>(), [7, 6, 1, 1]);
    assert_eq!(write(&mut encoder, b"else"), 7);
    for _ in 0..3 {
        let mut block = Vec::new();
        Encoder::unremembered(&mut block, "x", b"y", true);
        assert_eq!(block, b"\x10\x01x\x01y");
    }
}

/// Names and values that often repeat.
fn messages() -> impl Strategy<Value = Vec<Vec<(String, String)>>> {
    let name = prop_oneof!["[a-c]{1,3}", Just("date".to_owned()), Just("via".to_owned())];
    let value = prop_oneof!["[x-y]{0,2}", "[!-~]{1,300}"];
    let message = proptest::collection::vec((name, value), 0..12);
    proptest::collection::vec(message, 0..12)
}

proptest! {
    #[test]
    fn what_is_folded_is_unfolded(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut unfolded = Vec::new();
        huffman::decode(&huffman::encode(&text), &mut unfolded).unwrap();
        prop_assert_eq!(unfolded, text);
    }

    #[test]
    fn what_is_encoded_is_decoded(
        messages in messages(),
        sizes in proptest::collection::vec(proptest::option::of(0_u32..6000), 12),
    ) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        for (message, size) in messages.iter().zip(sizes) {
            // One size after the other, of which the smaller one must be told too.
            if let Some(size) = size {
                encoder.resize(size / 2);
                encoder.resize(size);
            }
            let mut block = Vec::new();
            encoder.begin(&mut block);
            Encoder::status(&mut block, StatusCode::IM_A_TEAPOT);
            for (name, value) in message {
                encoder.field(&mut block, name, value.as_bytes());
            }
            let got = decode(&mut decoder, &block).unwrap();
            prop_assert_eq!(&got[0], &(":status".to_owned(), "418".to_owned()));
            prop_assert_eq!(&got[1..], &message[..]);
        }
    }

    #[test]
    fn no_block_makes_the_decoder_panic(blocks in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..100), 0..4,
    )) {
        let mut decoder = Decoder::new();
        for block in blocks {
            let mut list = List::default();
            let _ = decoder.decode(&block, &mut Lossy(&mut list));
        }
    }
}

/// Takes values that are no text.
struct Lossy<'l>(&'l mut List);

impl Sink for Lossy<'_> {
    fn is_full(&self) -> bool {
        false
    }

    fn take(&mut self, _: Field, size: usize) {
        self.0.0.push((String::new(), size.to_string()));
    }
}
