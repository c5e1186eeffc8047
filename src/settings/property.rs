//! What a property is: its name, type, default, and how far this product honours it.

/// One known property of kong.conf.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its name in the file; `KONG_` plus the upper-cased name in the environment.
    pub name: &'static str,
    /// How its text is read.
    pub kind: Kind,
    /// The text it has when nobody sets it; `None` leaves it unset.
    pub default: Option<&'static str>,
    /// How far this product honours it.
    pub support: Support,
    /// Whether its value must never be shown.
    pub sensitive: bool,
}

/// How the text of a property is read (reference hybrid.md, section 1.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `on` or `true`; everything else is off.
    Flag,
    /// As [`Kind::Flag`], but kept as the text `on` or `off`.
    NginxFlag,
    /// A decimal number.
    Number,
    /// A comma-separated list.
    List,
    /// One of these words.
    Enum(&'static [&'static str]),
}

/// How far this product honours a property.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Support {
    /// It does what Kong's manual says.
    Honoured,
    /// It tunes a part that does not exist here: any value is right.
    Moot,
    /// Not yet: a value other than the default gives a warning.
    Missing,
}

impl Property {
    /// Returns a property that is honoured.
    pub(super) const fn new(name: &'static str, kind: Kind, default: Option<&'static str>) -> Self {
        Self { name, kind, default, support: Support::Honoured, sensitive: false }
    }

    /// Returns the property as one that tunes nothing here.
    pub(super) const fn moot(mut self) -> Self {
        self.support = Support::Moot;
        self
    }

    /// Returns the property as one that is not supported yet.
    pub(super) const fn missing(mut self) -> Self {
        self.support = Support::Missing;
        self
    }

    /// Returns the property as one whose value is never shown.
    pub(super) const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }
}
