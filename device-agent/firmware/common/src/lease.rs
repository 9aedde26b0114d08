//! Who may write, and until when.

use crate::Text;
use boardproof_core::{Lease, Refusal};
use boardproof_protocol::{Acquire, RefusalCode};

/// The holder and its time.
#[derive(Debug)]
struct Held {
    epoch: u64,
    holder: Text<64>,
    /// Tick at which it is over.
    until: u64,
}

/// The lease of a unit. A board forgets epochs when it is reset; hosts keep theirs and only count up.
#[derive(Debug, Default)]
pub struct Leases {
    held: Option<Held>,
    /// Highest epoch that was seen.
    epoch: u64,
}

impl Leases {
    /// Takes or renews it at this tick of a clock of `hz`.
    ///
    /// # Errors
    /// An epoch lower than one seen before.
    pub fn acquire(&mut self, wish: &Acquire<'_>, now: u64, hz: u64) -> Result<Lease<'_>, Refusal<'static>> {
        if wish.epoch < self.epoch {
            let detail = "a later epoch was here: the number is it";
            return Err(Refusal { code: RefusalCode::NotHolder, detail, number: self.epoch });
        }
        let another = |held: &Held| now < held.until && held.epoch != wish.epoch && held.holder.as_str() != wish.holder;
        if self.held.as_ref().is_none_or(|held| !another(held)) {
            let holder = Text::of(format_args!("{}", wish.holder));
            let until = now.saturating_add(u64::from(wish.ttl_ms).saturating_mul(hz) / 1000);
            self.epoch = wish.epoch;
            self.held = Some(Held { epoch: wish.epoch, holder, until });
            return Ok(Lease::Leased { epoch: wish.epoch, ttl_ms: wish.ttl_ms });
        }
        let Some(held) = &self.held else { return Ok(Lease::Leased { epoch: wish.epoch, ttl_ms: 0 }) };
        let left = (held.until - now).saturating_mul(1000) / hz.max(1);
        let remaining_ms = u32::try_from(left).unwrap_or(u32::MAX);
        Ok(Lease::Held { holder: held.holder.as_str(), epoch: held.epoch, remaining_ms })
    }

    /// Gives it back, if this epoch holds it.
    pub fn release(&mut self, epoch: u64) {
        self.held.take_if(|held| held.epoch == epoch);
    }

    /// Gives it back, whoever holds it.
    pub fn end(&mut self) {
        self.held = None;
    }

    /// Does this epoch hold it at this tick?
    pub fn holds(&self, epoch: u64, now: u64) -> bool {
        self.held.as_ref().is_some_and(|held| held.epoch == epoch && now < held.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(epoch: u64, holder: &str) -> Acquire<'_> {
        Acquire { epoch, holder, ttl_ms: 1000 }
    }

    #[test]
    fn one_holder_at_a_time_and_no_way_back_to_an_older_epoch() {
        let mut leases = Leases::default();
        assert_eq!(leases.acquire(&wish(5, "a"), 0, 100), Ok(Lease::Leased { epoch: 5, ttl_ms: 1000 }));
        let held = Ok(Lease::Held { holder: "a", epoch: 5, remaining_ms: 600 });
        assert_eq!(leases.acquire(&wish(6, "b"), 40, 100), held);
        assert!(leases.holds(5, 99) && !leases.holds(6, 99) && !leases.holds(5, 100));
        assert!(matches!(leases.acquire(&wish(6, "b"), 100, 100), Ok(Lease::Leased { .. })));
        let older = leases.acquire(&wish(5, "a"), 500, 100).unwrap_err();
        assert_eq!((older.code, older.number), (RefusalCode::NotHolder, 6));
        leases.release(5);
        assert!(leases.holds(6, 150));
        leases.release(6);
        assert!(!leases.holds(6, 150));
    }
}
