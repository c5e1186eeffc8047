//! Error pages of the operator's own (`error_template_html` and its sisters).

/// A text with the places of a message and of a request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// What stands between the places.
    parts: Vec<String>,
}

/// The templates there are.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    /// Of JSON.
    pub json: Option<Template>,
    /// Of plain text.
    pub plain: Option<Template>,
    /// Of HTML.
    pub html: Option<Template>,
    /// Of XML.
    pub xml: Option<Template>,
}

/// A template asks for more than there is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected %s twice at the most, for the message and the request id; %% is a percent sign")]
pub struct TooManyPlaces;

impl Template {
    /// Reads a template: the first `%s` stands for the message, the second for the request id.
    ///
    /// # Errors
    ///
    /// When there are more.
    pub fn parse(text: &str) -> Result<Self, TooManyPlaces> {
        let mut parts = vec![String::new()];
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            let Some(part) = parts.last_mut() else { break };
            part.push_str(before);
            if let Some(after) = after.strip_prefix('s') {
                parts.push(String::new());
                rest = after;
            } else {
                part.push('%');
                rest = after.strip_prefix('%').unwrap_or(after);
            }
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(rest);
        }
        if parts.len() > 3 { Err(TooManyPlaces) } else { Ok(Self { parts }) }
    }

    /// Returns the text for a message, written as its form needs it, and a request id.
    pub(super) fn fill(&self, message: &str, id: &str) -> String {
        let mut text = String::new();
        for (part, value) in self.parts.iter().zip([message, id, ""]) {
            text.push_str(part);
            if !std::ptr::eq(part, self.parts.last().unwrap_or(part)) {
                text.push_str(value);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_in_their_order() {
        for (text, filled) in [
            ("<p>%s</p><i>%s</i>", "<p>M</p><i>R</i>"),
            ("%s", "M"),
            ("only this", "only this"),
            ("width: 50%%; %s", "width: 50%; M"),
            ("50% off: %s %s%", "50% off: M R%"),
            ("", ""),
        ] {
            assert_eq!(Template::parse(text).map(|it| it.fill("M", "R")), Ok(filled.to_owned()));
        }
        assert_eq!(Template::parse("%s %s %s"), Err(TooManyPlaces));
    }
}
