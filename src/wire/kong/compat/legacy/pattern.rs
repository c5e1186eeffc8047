//! Patterns: those of 3.x are in the language of the `regex` crate, those of 2.8 in PCRE's. What
//! both have says the same in both, but for signs beyond ASCII; what they read otherwise is refused.

use std::iter::Peekable;
use std::str::Chars;

/// Says the pattern of a path, without its `~`, to 2.8.
///
/// # Errors
///
/// It cannot be said; the text goes on after the name of the pattern.
pub(super) fn of_path(pattern: &str) -> Result<String, &'static str> {
    if pattern.contains("uri_postfix") {
        return Err("has a group of a name that 2.8 uses itself");
    }
    Scan::new(pattern, true).run()
}

/// Checks that the pattern of a header's value says the same to 2.8.
///
/// # Errors
///
/// It does not; the text goes on after the name of the pattern.
pub(super) fn check_value(pattern: &str) -> Result<(), &'static str> {
    Scan::new(pattern, false).run().map(drop)
}

/// The longest name of a group, in bytes.
const NAME_MAX: usize = 32;

const OTHERWISE: &str = "has what 2.8 reads otherwise";

/// One reading of a pattern, which writes it as it goes.
struct Scan<'p> {
    rest: Peekable<Chars<'p>>,
    said: String,
    is_path: bool,
    /// How many groups are open.
    depth: usize,
    /// Whether a quantifier ended just here.
    quantified: bool,
}

impl<'p> Scan<'p> {
    fn new(pattern: &'p str, is_path: bool) -> Self {
        let said = String::with_capacity(pattern.len() + 8);
        Self { rest: pattern.chars().peekable(), said, is_path, depth: 0, quantified: false }
    }

    fn run(mut self) -> Result<String, &'static str> {
        while let Some(sign) = self.rest.next() {
            let follows = std::mem::take(&mut self.quantified);
            match sign {
                '*' | '+' | '?' | '{' => self.quantifier(sign, follows)?,
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                ')' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.said.push(sign);
                }
                // 2.8 appends what is to come behind the match: it would belong to the last branch.
                '|' if self.is_path && self.depth == 0 => {
                    return Err("has branches at its top, which 2.8 reads otherwise; put them in \
                                a group");
                }
                other => self.literal(other)?,
            }
        }
        Ok(self.said)
    }

    /// 2.8 decodes `%xx` in the pattern of a path, 3.x does not.
    fn literal(&mut self, sign: char) -> Result<(), &'static str> {
        match sign {
            '%' if self.is_path => self.said.push_str("\\x25"),
            sign if sign.is_ascii() => self.said.push(sign),
            _ => return Err("has a sign beyond ASCII, which is several to 2.8"),
        }
        Ok(())
    }

    /// A quantifier behind another one is one of one here, and another sort of it in PCRE.
    fn quantifier(&mut self, sign: char, follows: bool) -> Result<(), &'static str> {
        if follows {
            return Err("has a quantifier of a quantifier, which 2.8 reads otherwise");
        }
        self.said.push(sign);
        if sign == '{' {
            let mut bounds = String::new();
            loop {
                match self.rest.next() {
                    Some('}') => break,
                    Some(inner @ ('0'..='9' | ',')) => bounds.push(inner),
                    _ => return Err(OTHERWISE),
                }
            }
            if !bounds.starts_with(|first: char| first.is_ascii_digit()) {
                return Err(OTHERWISE);
            }
            self.said.push_str(&bounds);
            self.said.push('}');
        }
        if self.rest.next_if_eq(&'?').is_some() {
            self.said.push('?');
        }
        self.quantified = true;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        let Some(sign) = self.rest.next() else { return Err(OTHERWISE) };
        match sign {
            '%' if self.is_path => self.said.push_str("\\x25"),
            'x' => {
                let mut code = String::new();
                for _ in 0..2 {
                    code.extend(self.rest.next_if(char::is_ascii_hexdigit));
                }
                // Braces, or a byte that is a sign of two bytes here.
                if code.len() != 2 || !code.starts_with(|first: char| first < '8') {
                    return Err(OTHERWISE);
                }
                self.said.push_str("\\x");
                self.said.push_str(&code);
            }
            'b' if self.rest.peek() == Some(&'{') => return Err(OTHERWISE),
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B' | 'A' | 'z' | 'a' | 'f' | 'n' | 'r'
            | 't' => self.said.extend(['\\', sign]),
            '<' | '>' => return Err(OTHERWISE),
            sign if sign.is_ascii_punctuation() || sign == ' ' => self.said.extend(['\\', sign]),
            _ => return Err(OTHERWISE),
        }
        Ok(())
    }

    /// A set, up to its end. Sets in sets and their differences are there in 3.x alone.
    fn class(&mut self) -> Result<(), &'static str> {
        self.said.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.said.push('^');
        }
        let mut is_first = true;
        loop {
            let Some(sign) = self.rest.next() else { return Err(OTHERWISE) };
            match sign {
                ']' if !is_first => {
                    self.said.push(']');
                    return Ok(());
                }
                '[' => self.named_class()?,
                '&' | '-' | '~' if self.rest.peek() == Some(&sign) => return Err(OTHERWISE),
                '\\' => self.escape()?,
                other => self.literal(other)?,
            }
            is_first = false;
        }
    }

    /// `[:alpha:]` within a set.
    fn named_class(&mut self) -> Result<(), &'static str> {
        let mut name = String::from("[");
        loop {
            match self.rest.next() {
                Some(inner @ (':' | '^' | 'a'..='z')) => name.push(inner),
                Some(']') if name.starts_with("[:") && name.ends_with(':') && name.len() > 3 => {
                    self.said.push_str(&name);
                    self.said.push(']');
                    return Ok(());
                }
                _ => return Err(OTHERWISE),
            }
        }
    }

    fn group(&mut self) -> Result<(), &'static str> {
        self.said.push('(');
        self.depth += 1;
        if self.rest.next_if_eq(&'?').is_none() {
            // What begins with `*` is an order in PCRE, and an error here.
            return Ok(());
        }
        self.said.push('?');
        if self.rest.next_if_eq(&'P').is_some() {
            self.said.push('P');
        }
        if self.rest.next_if_eq(&'<').is_some() {
            return self.name();
        }
        loop {
            match self.rest.next() {
                Some(flag @ ('i' | 's' | 'm' | 'U' | '-')) => self.said.push(flag),
                Some(':') => {
                    self.said.push(':');
                    return Ok(());
                }
                // Flags alone are no group: they end with it, and so does the one around them.
                Some(')') => {
                    self.said.push(')');
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(());
                }
                _ => return Err("has a flag that 2.8 does not know"),
            }
        }
    }

    fn name(&mut self) -> Result<(), &'static str> {
        let mut name = String::new();
        loop {
            match self.rest.next() {
                Some('>') => break,
                Some(sign) if sign.is_ascii_alphanumeric() || sign == '_' => name.push(sign),
                _ => return Err("has a group of a name that 2.8 does not take"),
            }
        }
        if name.len() > NAME_MAX || name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err("has a group of a name that 2.8 does not take");
        }
        self.said.push('<');
        self.said.push_str(&name);
        self.said.push('>');
        Ok(())
    }
}
