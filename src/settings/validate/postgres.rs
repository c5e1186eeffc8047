//! The rules of the Postgres settings (reference hybrid.md, section 1.2).

use super::Rules;

impl Rules<'_> {
    pub(super) fn postgres(&mut self) {
        for side in ["pg", "pg_ro"] {
            for what in [
                "max_concurrent_queries",
                "semaphore_timeout",
                "keepalive_timeout",
                "pool_size",
                "backlog",
            ] {
                self.not_negative(&format!("{side}_{what}"));
            }
        }
        let port = self.values.number("pg_port");
        let good = |port: f64| port.fract() == 0.0 && (1.0..=65535.0).contains(&port);
        self.require(port.is_none_or(good), "pg_port must be an integer from 1 to 65535");
    }

    fn not_negative(&mut self, name: &str) {
        match self.values.number(name) {
            Some(number) if number < 0.0 => self.error(format!("{name} must be greater than 0")),
            Some(number) if number.fract() != 0.0 => {
                self.error(format!("{name} must be an integer greater than 0"));
            }
            _ => {}
        }
    }
}
