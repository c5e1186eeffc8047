//! DER, read and written element by element: for structures that no library here knows.
//!
//! Nothing in here panics or recurses, whatever the bytes; tags of one byte are all there is.

/// The tags that are used here.
pub(super) mod tag {
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const NULL: u8 = 0x05;
    pub const OBJECT_ID: u8 = 0x06;
    pub const ENUMERATED: u8 = 0x0a;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;

    /// Returns the tag `[number]` around a whole element (EXPLICIT).
    pub const fn explicit(number: u8) -> u8 {
        0xa0 | number
    }
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    /// Tag, length and content.
    pub raw: &'a [u8],
}

/// Reads elements that follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(der: &'a [u8]) -> Self {
        Self(der)
    }

    /// Reads the content of the one SEQUENCE that `der` is.
    pub fn sequence(der: &'a [u8]) -> Option<Self> {
        let mut outer = Self(der);
        let content = outer.expect(tag::SEQUENCE)?;
        outer.is_at_end().then_some(Self(content))
    }

    /// Returns the next element; nothing at the end, or where there is no whole one.
    pub fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, [first, rest @ ..]) = self.0.split_first()? else { return None };
        let (length, rest) = match *first {
            short @ 0..0x80 => (usize::from(short), rest),
            long => {
                let count = usize::from(long & 0x7f);
                let bytes = rest.get(..count).filter(|it| (1..=4).contains(&it.len()))?;
                let length = bytes.iter().fold(0_usize, |sum, it| sum << 8 | usize::from(*it));
                (length, rest.get(count..)?)
            }
        };
        let (content, after) = rest.split_at_checked(length)?;
        let raw = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some(Element { tag, content, raw })
    }

    /// Returns the content of the next element, which must have this tag.
    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|it| it.tag == tag).map(|it| it.content)
    }

    /// Returns the content of the next element if it has this tag, else leaves it.
    pub fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let content = ahead.expect(tag)?;
        *self = ahead;
        Some(content)
    }

    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

/// Returns an element with this content.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|it| *it != 0).map_or(&[][..], |at| &length[at..]);
    match significant {
        [] => out.push(0),
        [short @ 0..0x80] => out.push(*short),
        // A length has at most eight bytes.
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(tag in 1_u8..0x7f, content in proptest::collection::vec(any::<u8>(), 0..700)) {
            let raw = element(tag, &content);
            let mut reader = Reader::new(&raw);
            prop_assert_eq!(reader.next(), Some(Element { tag, content: &content, raw: &raw }));
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader::new(&bytes);
            while reader.next().is_some() {}
        }
    }

    #[test]
    fn a_cut_off_element_is_none() {
        for bytes in
            [&[][..], &[0x30], &[0x30, 2, 0], &[0x30, 0x80, 0], &[0x30, 0x85, 0, 0, 0, 0, 0]]
        {
            assert_eq!(Reader::new(bytes).next(), None, "{bytes:?}");
        }
    }
}
