//! The model of the account that the ledger is compared with: a list of orders, summed up again for each question.

use super::*;

/// A generator of numbers that a seed determines (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}

/// An order as the model knows it.
#[derive(Debug, Clone)]
pub(super) struct ModelOrder {
    pub(super) id: DecisionId,
    pub(super) agent: usize,
    pub(super) instrument: usize,
    pub(super) closes: bool,
    pub(super) side: Side,
    pub(super) size: u64,
    pub(super) filled: u64,
    pub(super) state: &'static str,
    pub(super) deadline: Option<u64>,
    pub(super) lapsed: bool,
    pub(super) open: u64,
    /// Pieces that were opened: size divided by price; `None` once a price is missing.
    pub(super) pieces: Option<f64>,
    pub(super) opened: u64,
    pub(super) results: Vec<f64>,
}

impl ModelOrder {
    pub(super) fn works(&self) -> bool {
        matches!(self.state, "new" | "partially_filled")
    }

    pub(super) fn rest(&self) -> u64 {
        if self.works() {
            self.size.saturating_sub(self.filled)
        } else {
            0
        }
    }
}

/// What the model says of a report.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Refused,
    Booked { added: u64, excess: bool },
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) orders: Vec<ModelOrder>,
    pub(super) days: HashMap<u64, f64>,
    pub(super) trades: HashMap<(usize, usize, bool), u64>,
    pub(super) promotions: HashMap<usize, u64>,
    /// What was filled late, beyond an approval or beyond what was open, by instrument.
    pub(super) excess: [u64; 2],
}

impl Model {
    pub(super) fn expire(&mut self, now: u64) {
        for order in &mut self.orders {
            if order.works() && order.deadline.is_some_and(|deadline| deadline <= now) {
                order.state = "expired";
                order.lapsed = true;
            }
        }
    }

    pub(super) fn exposure(&self, instrument: usize) -> u64 {
        self.orders
            .iter()
            .filter(|order| order.instrument == instrument)
            .map(|order| order.open + if order.closes { 0 } else { order.rest() })
            .sum()
    }

    pub(super) fn open(&self, agent: usize, instrument: usize) -> u64 {
        let mine = |order: &&ModelOrder| order.agent == agent && order.instrument == instrument;
        self.orders
            .iter()
            .filter(mine)
            .map(|order| order.open)
            .sum()
    }

    pub(super) fn closable(&self, agent: usize, instrument: usize) -> u64 {
        let mine = |order: &&ModelOrder| order.agent == agent && order.instrument == instrument;
        let closing: u64 = self
            .orders
            .iter()
            .filter(mine)
            .filter(|order| order.closes)
            .map(ModelOrder::rest)
            .sum();
        self.open(agent, instrument).saturating_sub(closing)
    }

    pub(super) fn loss(&self, now: u64) -> f64 {
        (-self.days.get(&(now / DAY)).copied().unwrap_or(0.0)).max(0.0)
    }

    pub(super) fn trade(&mut self, agent: usize, instrument: usize, side: Side, now: u64) {
        let at = self
            .trades
            .entry((agent, instrument, side == Side::Buy))
            .or_insert(now);
        *at = now.max(*at);
    }

    /// Takes `amount` from the agent's oldest open orders. Returns each part with its side, stake and price of entry, and what is missing.
    pub(super) fn take_open(
        &mut self,
        index: usize,
        amount: u64,
        dry: bool,
    ) -> (Vec<(u64, Side, Option<f64>)>, u64) {
        let (agent, instrument) = (self.orders[index].agent, self.orders[index].instrument);
        let mut left = amount;
        let mut parts = Vec::new();
        for (other, order) in self.orders.iter_mut().enumerate() {
            if other == index || order.agent != agent || order.instrument != instrument {
                continue;
            }
            let part = order.open.min(left);
            if part == 0 {
                continue;
            }
            left -= part;
            let entry = order.pieces.map(|pieces| order.opened as f64 / pieces);
            parts.push((part, order.side, entry));
            if !dry {
                order.open -= part;
            }
        }
        (parts, left)
    }

    /// Books a report. `claim_is_close`: the claimed result is too near a bound to be told apart from it.
    pub(super) fn report(
        &mut self,
        index: usize,
        status: &'static str,
        stated: Option<u64>,
        price: Option<f64>,
        claim: Option<f64>,
        now: u64,
    ) -> Option<Said> {
        let order = self.orders[index].clone();
        let fills = status == "filled" || status == "partially_filled";
        let total = match stated {
            Some(0) | None if status == "partially_filled" => return Some(Said::Refused),
            Some(0) if status == "filled" => return Some(Said::Refused),
            Some(size) if size > 0 && status == "rejected" => return Some(Said::Refused),
            Some(size) => size,
            None if status == "filled" => order.size.max(order.filled),
            None => order.filled,
        };
        if total < order.filled {
            return Some(Said::Refused);
        }
        let added = total - order.filled;
        let next = if order.works() {
            if status == "rejected" && order.filled > 0 {
                return Some(Said::Refused);
            }
            status
        } else if added > 0 || fills || status == order.state {
            order.state
        } else if order.lapsed {
            status
        } else {
            return Some(Said::Refused);
        };
        let late = !order.works() && added > 0;
        // The result first: it may refuse the whole report.
        let mut counted = None;
        if let Some(claim) = claim.filter(|claim| *claim != 0.0 || (order.closes && added > 0)) {
            if !order.closes {
                return Some(Said::Refused);
            }
            if added == 0 {
                let total: f64 = order.results.iter().sum();
                let known = |booked: f64| (booked - claim).abs() < 1e-12;
                if !(known(total) || order.results.last().copied().is_some_and(known)) {
                    return Some(Said::Refused);
                }
            } else {
                let (parts, _) = self.take_open(index, added, true);
                let (mut least, mut most) = (0.0, 0.0);
                for (part, side, entry) in parts {
                    let stake = part as f64 / 1e9;
                    match (entry, price) {
                        (Some(entry), Some(price)) => {
                            let sign = if side == Side::Buy { 1.0 } else { -1.0 };
                            let result = sign * stake * (price / entry - 1.0);
                            most += result + stake / 1000.0;
                            least += result.min(0.0) - stake / 10.0;
                        }
                        _ => {
                            most += stake;
                            least -= stake * if side == Side::Buy { 1.1 } else { 100.0 };
                        }
                    }
                }
                if (claim - most).abs() < 1e-6 || (claim - least).abs() < 1e-6 {
                    return None;
                }
                if claim > most || claim < least {
                    return Some(Said::Refused);
                }
                counted = Some(claim);
            }
        }
        let over = total.saturating_sub(order.size.max(order.filled));
        let mut excess = over.max(if late { added } else { 0 });
        let opened = if order.closes {
            self.take_open(index, added, false).1
        } else {
            added
        };
        if order.closes {
            // What a close filled late of what is still open frees exposure: only what it opens is more.
            excess = opened;
        }
        self.excess[order.instrument] += excess;
        let order = &mut self.orders[index];
        if next != order.state || added > 0 {
            order.lapsed = late && order.lapsed;
        }
        if opened > 0 {
            order.pieces = match (price, order.opened, order.pieces) {
                (Some(price), 0, _) => Some(opened as f64 / price),
                (Some(price), _, Some(pieces)) => Some(pieces + opened as f64 / price),
                _ => None,
            };
        }
        order.deadline = None;
        order.state = next;
        order.filled = total;
        order.opened += opened;
        order.open += opened;
        if let Some(result) = counted {
            order.results.push(result);
            *self.days.entry(now / DAY).or_default() += result;
        }
        Some(Said::Booked {
            added,
            excess: late || over > 0 || (order.closes && opened > 0),
        })
    }
}
