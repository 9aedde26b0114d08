//! Effects: build, link, power, ship, measure, lease.
