"""Fraudsters: campaigns that last hours or weeks, each drawn whole from the day it began."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthetic import marketplace as market
from synthetic.chance import between, generator, pick
from synthetic.marketplace import COHORT, DAY, MEMBERS, PATTERNS, PAYMENTS, Marketplace, Rows

LONGEST = 21
"""Days that a campaign can last."""

RING, STOLEN, TAKEOVER, WAVE = (PATTERNS.index(name) for name in PATTERNS[2:])
_BEGIN = {RING: 0.85, STOLEN: 3.9, TAKEOVER: 9.0, WAVE: 0.0}
"""Campaigns that begin on a day with 1,500 orders."""
_WAVE = 320.0
_SIZES = {RING: (9, 40), STOLEN: (2, 11), TAKEOVER: (1, 4), WAVE: (1, 4)}
_CHARGED = {RING: 0.80, STOLEN: 0.78, TAKEOVER: 0.85, WAVE: 0.88}
"""Share of their orders that are charged back; of the rest nobody ever finds out."""
_NIGHT = np.array([9, 10, 10, 9, 7, 5, 3, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 6, 7, 8], dtype=float)
_DEEP = np.array([10, 14, 16, 14, 9, 3, 0.5] + [0.3] * 15 + [1, 3], dtype=float)
_WORKING = np.array([3, 3, 2, 2, 1, 1, 2, 3, 5, 7, 8, 8, 7, 7, 8, 8, 8, 7, 6, 6, 7, 7, 6, 4], dtype=float)
_RESOLD = np.array([0.08, 0.26, 0.10, 0.05, 0.05, 0.05, 0.19, 0.22])
_RESOLD_TIER = np.array([0.26, 0.32, 0.30, 0.12])


def orders(place: Marketplace, first: int, last: int, *, wave: bool = False) -> Rows:
    """Orders of campaigns on the days first..last-1 (since 1970), in no order.

    wave: a leaked list of passwords makes the rounds; takeovers through wallets on top of all the rest.
    """
    campaigns, who, u = _drawn(place, first, last, wave=wave)
    rows = _common(place, campaigns, who, u)
    kinds = {RING: _ring, STOLEN: _stolen, TAKEOVER: _takeover, WAVE: _wave}
    parts = []
    for kind, shape in kinds.items():
        mine = campaigns["kind"][who] == kind
        part = {name: values[mine] for name, values in rows.items()}
        part |= shape(place, {name: values[who][mine] for name, values in campaigns.items()}, part, u[:, mine])
        parts.append(part)
    made = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    # Across midnight or weeks, a campaign also orders on days that nobody asked for.
    inside = (made["second"] >= first * DAY) & (made["second"] < last * DAY)
    return {name: values[inside] for name, values in made.items()}


def _drawn(place: Marketplace, first: int, last: int, *, wave: bool) -> tuple[Rows, NDArray[np.int64], Any]:
    """Campaigns (one row each), the campaign of each order, and (24, n) even numbers for the orders."""
    begin = {**_BEGIN, WAVE: _WAVE if wave else 0.0}
    kinds, starts, chances, orders = [], [], [], []
    for day in range(first - LONGEST - 1, last):
        for kind, rate in begin.items():
            random = generator(place.seed, "campaigns", kind, day)
            count = random.poisson(rate * place.per_day / 1500)
            chance = random.random((8, count))
            sizes = _size(kind, chance)
            kinds.append(np.full(count, kind))
            starts.append(np.full(count, day))
            chances.append(chance)
            orders.append((sizes, random.random((24, int(sizes.sum())))))
    sizes = np.concatenate([each for each, _ in orders])
    chance = np.concatenate(chances, axis=1)
    campaigns = {"kind": np.concatenate(kinds), "start": np.concatenate(starts), "place": np.arange(len(sizes))}
    campaigns["own"] = (chance[7] * 2**60).astype(np.int64)
    campaigns |= {f"u{i}": chance[i] for i in range(7)}
    return campaigns, np.repeat(np.arange(len(sizes)), sizes), np.concatenate([each for _, each in orders], axis=1)


def _size(kind: int, chance: NDArray[np.float64]) -> NDArray[np.int64]:
    low, high = _SIZES[kind]
    return between(chance[0], float(low), float(high)).astype(np.int64)


def _common(place: Marketplace, campaigns: Rows, who: NDArray[np.int64], u: Any) -> Rows:
    """Common fields of every fraudster's order: an item that sells again, from a seller like any other."""
    start = campaigns["start"][who]
    like_others = u[0] < 0.40
    usual = market.demand(start) / market.demand(start).sum(axis=1, keepdims=True)
    category = pick(u[1], np.where(like_others[:, None], usual, _RESOLD))
    tier = pick(u[2], np.where(like_others[:, None], np.array([0.55, 0.09, 0.21, 0.15]), _RESOLD_TIER))
    seller_age = np.minimum(market.OLDEST, (-560 * np.log1p(-u[3])).astype(np.int64))
    item_age = np.minimum(seller_age, (-20 * np.log1p(-u[4])).astype(np.int64))
    haggled = u[5] < 0.22
    discount = np.where(haggled, np.round(0.06 + 0.36 * u[6], 2), 0.0)
    spread = np.exp(1.1 * (u[7] + u[8] - 1))
    kind = campaigns["kind"][who]
    caught = u[9] < np.array([_CHARGED.get(each, 0.0) for each in range(len(PATTERNS))])[kind]
    return {
        "category": category,
        "brand_tier": tier,
        "seller": market.members(start - seller_age, u[10], count=market.SELLERS),
        "seller_age_days": seller_age,
        "item_age_days": item_age,
        "discount": discount,
        "amount": market.cents(market.price(category, tier) * (1 - discount) * spread * 1.1),
        "delay": np.where(caught, 1 + 28.9 * u[11] ** 1.3, np.nan),
        "pattern": kind,
    }


def _ring(place: Marketplace, campaign: Rows, rows: Rows, u: Any) -> Rows:
    """Accounts made for it, on a few phones and addresses, ordering for weeks from sellers who are in it or not."""
    accounts = between(campaign["u1"], 4.0, 16.0).astype(np.int64)
    account = (u[12] * accounts).astype(np.int64)
    lasts = between(campaign["u2"], 4.0, float(LONGEST))
    day = campaign["start"] + (u[13] * lasts).astype(np.int64)
    old = between(campaign["u3"], 1.0, 220.0)
    joined = campaign["start"] - (old * (0.4 + 0.6 * (account + 1) / accounts)).astype(np.int64)
    phones = 1 + (3 * campaign["u4"] ** 1.4).astype(np.int64)
    insider = u[14] < 0.35
    seller_age = np.where(insider, (8 + 60 * campaign["u5"]).astype(np.int64), rows["seller_age_days"])
    hour = pick(u[15], _WORKING)
    buyer = _crook(joined, campaign["own"] + account)
    payment = pick(u[16], np.array([0.04, 0.47, 0.27, 0.22]))
    return {
        **_when(place, day, hour, u[17], buyer),
        **_joined(day, joined, buyer),
        "seller": np.where(insider, _crook(campaign["start"] - seller_age, campaign["own"]), rows["seller"]),
        "seller_age_days": seller_age,
        "item_age_days": np.minimum(rows["item_age_days"], seller_age),
        **_pays(payment, campaign["own"] + account + 100 * (1 + (u[18] * 2).astype(np.int64))),
        "device": campaign["own"] + 1000 + account % phones,
        "address": campaign["own"] + 2000 + (u[19] * 3).astype(np.int64),
        "password_age_hours": _hours(day, joined, u[20]),
        "shipping_distance_km": np.round(between(u[21], 0.3, 60.0), 1),
        "address_changed": u[22] < 0.16,
        "express": u[23] < 0.3,
    }


def _stolen(place: Marketplace, campaign: Rows, rows: Rows, u: Any) -> Rows:
    """A burst from one account: card after card within hours, small sums first."""
    new = campaign["u1"] < 0.6
    old = np.where(new, 12 * campaign["u2"] ** 2, between(campaign["u2"], 12.0, 900.0)).astype(np.int64)
    joined = campaign["start"] - old
    buyer = _crook(joined, campaign["own"])
    hour = pick(campaign["u3"], _NIGHT)
    began = place.moments(campaign["start"], hour, campaign["u4"], buyer)
    length = between(campaign["u5"], 900.0, 30_000.0)
    later = u[12] * length
    testing = (u[12] < 0.35) & (u[13] < 0.5)
    amount = np.where(testing, market.cents(between(u[14], 2.0, 25.0)), rows["amount"])
    card = campaign["own"] + 100 + (u[15] * between(campaign["u6"], 1.0, 7.0)).astype(np.int64)
    second = began + later.astype(np.int64)
    payment = pick(u[16], np.array([0.0, 0.92, 0.0, 0.08]))
    return {
        "second": second,
        "hour": (hour + (later // 3600).astype(np.int64)) % 24,
        **_joined(second // DAY, joined, buyer),
        "amount": amount,
        **_pays(payment, card),
        "device": campaign["own"] + 1000,
        "address": np.where(u[17] < 0.7, campaign["own"] + 2000, campaign["own"] + 2001 + (u[18] * 9).astype(np.int64)),
        "password_age_hours": _hours(second // DAY, joined, u[19]),
        "shipping_distance_km": np.round(np.where(u[20] < 0.6, between(u[21], 0.2, 25.0), between(u[21], 20, 3000)), 1),
        "address_changed": u[22] < 0.28,
        "express": u[23] < 0.38,
    }


def _takeover(place: Marketplace, campaign: Rows, rows: Rows, u: Any) -> Rows:
    """An old member's account on a stranger's phone: a new password, a new address, something dear, sent fast."""
    victim = _victim(campaign)
    hour = pick(u[12], np.where((u[13] < 0.5)[:, None], _NIGHT, _WORKING))
    fresh = np.where(campaign["u3"] < 0.72, between(campaign["u4"], 0.1, 40.0), between(campaign["u4"], 40.0, 9000.0))
    local = campaign["u5"] < 0.3
    distance = np.where(local, between(u[14], 2.0, 60.0), between(u[14], 60.0, 5500.0))
    payment = pick(u[15], np.array([0.04, 0.56, 0.12, 0.28]))
    return {
        **_when(place, campaign["start"], hour, u[16], victim["buyer"]),
        **victim,
        **_pays(payment, market.bits(victim["buyer"], "card", seed=place.seed)),
        "device": campaign["own"] + 1000,
        "address": campaign["own"] + 2000,
        "password_age_hours": np.minimum(np.round(fresh, 2), victim["buyer_age_days"] * 24.0),
        "shipping_distance_km": np.round(distance, 1),
        "address_changed": u[17] < 0.7,
        "express": u[18] < 0.45,
    }


def _wave(place: Marketplace, campaign: Rows, rows: Rows, u: Any) -> Rows:
    """Takeovers by a script: deep at night, from the victim's wallet, far away."""
    victim = _victim(campaign)
    hour = pick(u[12], _DEEP)
    return {
        **_when(place, campaign["start"], hour, u[13], victim["buyer"]),
        **victim,
        **_pays(np.full(len(hour), PAYMENTS.index("wallet")), victim["buyer"]),
        "device": campaign["own"] + 1000,
        "address": campaign["own"] + 2000 + (u[14] * 2).astype(np.int64),
        "password_age_hours": np.round(between(u[15], 0.02, 6.0), 2),
        "shipping_distance_km": np.round(between(u[16], 900.0, 12_000.0), 1),
        "address_changed": u[17] < 0.9,
        "express": u[18] < 0.6,
    }


def _victim(campaign: Rows) -> Rows:
    """An honest member of at least two months, by age as members are who order."""
    age = 60 + market.ages(np.ones(len(campaign["start"])), np.minimum(campaign["u1"], 0.998))
    joined = campaign["start"] - age
    return {"buyer": market.members(joined, campaign["u2"], count=MEMBERS), "buyer_age_days": age}


def _crook(joined: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """A member's number among those of their day that no honest member has."""
    return joined * COHORT + MEMBERS + own % (COHORT - MEMBERS)


def _when(place: Marketplace, day: Any, hour: Any, u: Any, buyer: Any) -> Rows:
    return {"second": place.moments(day, hour, u, buyer), "hour": hour}


def _joined(day: Any, joined: Any, buyer: Any) -> Rows:
    return {"buyer": buyer, "buyer_age_days": np.maximum(day - joined, 0)}


def _pays(payment: NDArray[np.int64], card: NDArray[np.int64]) -> Rows:
    return {"payment": payment, "card": np.where(payment == PAYMENTS.index("card"), card, 0)}


def _hours(day: Any, joined: Any, u: Any) -> NDArray[np.float64]:
    """Hours since a fraudster chose a password: when the account was made."""
    hours: NDArray[np.float64] = np.round(np.maximum(day - joined, 0) * 24.0 + 0.1 + 12 * u, 2)
    return hours
