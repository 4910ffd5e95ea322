"""Virtual time in two levels: shares by user and weight, no credit, no way around a debt."""

from __future__ import annotations

import pytest
from millrace.streaming.scheduling.fairness import LIMIT, SCALE, Fairness


def crowd(users: dict[str, tuple[int, float]]) -> Fairness:
    fairness = Fairness()
    for user, (count, weight) in users.items():
        for number in range(count):
            fairness.join(0.0, user, f"{user}{number}", weight)
    return fairness


def serve(fairness: Fairness, users: dict[str, int], rounds: int) -> dict[str, float]:
    """Always serve the session that is worth most, all of them asking; seconds by user."""
    served = dict.fromkeys(users, 0.0)
    sessions = [(user, f"{user}{n}") for user, count in users.items() for n in range(count)]
    for number in range(rounds):
        now = 0.01 * number
        for user, session in sessions:
            fairness.heard(now, user, session)
        user, session = max(sessions, key=lambda one: fairness.worth(*one))
        fairness.book(now, user, session, 0.01)
        served[user] += 0.01
    return served


def test_weights_share_in_proportion() -> None:
    served = serve(crowd({"a": (1, 1.0), "b": (1, 2.0)}), {"a": 1, "b": 1}, 900)
    assert served["b"] / served["a"] == pytest.approx(2.0, rel=0.02)


def test_eight_tabs_get_the_share_of_one() -> None:
    served = serve(crowd({"a": (8, 1.0), "b": (1, 1.0)}), {"a": 8, "b": 1}, 1000)
    assert served["a"] / served["b"] == pytest.approx(1.0, rel=0.02)


def test_a_users_sessions_share_among_themselves() -> None:
    fairness = crowd({"a": (4, 1.0)})
    counts = dict.fromkeys(range(4), 0)
    for number in range(400):
        best = max(range(4), key=lambda n: fairness.worth("a", f"a{n}"))
        fairness.heard(0.01 * number, "a", f"a{best}")
        fairness.book(0.01 * number, "a", f"a{best}", 0.01)
        counts[best] += 1
    assert max(counts.values()) - min(counts.values()) <= 2


def test_silence_earns_no_credit() -> None:
    fairness = crowd({"a": (1, 1.0), "b": (1, 1.0)})
    for number in range(300):
        fairness.heard(0.01 * number, "a", "a0")
        fairness.book(0.01 * number, "a", "a0", 0.01)
    fairness.heard(3.0, "b", "b0")
    assert fairness.lag("b") >= 0.0


def test_coming_again_is_no_way_around_a_debt() -> None:
    fairness = crowd({"a": (1, 1.0), "b": (1, 1.0)})
    fairness.book(0.0, "a", "a0", 0.5)
    debt = fairness.lag("a")
    fairness.leave("a", "a0")
    fairness.join(0.1, "a", "again", 1.0)
    assert fairness.lag("a") == pytest.approx(debt) and debt > 0


def test_neither_debt_nor_credit_grows_for_ever() -> None:
    fairness = crowd({"a": (1, 1.0), "b": (1, 1.0)})
    for _ in range(100):
        fairness.book(0.0, "a", "a0", 1.0)
    assert fairness.lag("a") == pytest.approx(LIMIT * SCALE)
    assert fairness.lag("b") == pytest.approx(-LIMIT * SCALE)


def test_what_holds_a_user_down_for_long_is_no_debt_any_more() -> None:
    """A user whose chunks are worth twice those of others has to be held down for ever; the lead
    that it takes for that is paid back, and the worth stays where it must be."""
    fairness = crowd({"a": (1, 1.0), "b": (1, 1.0)})
    leads = []
    for number in range(6000):
        now = 0.02 * number
        worths = {}
        for user, factor in (("a", 2.0), ("b", 1.0)):
            fairness.heard(now, user, user + "0")
            worths[user] = factor * fairness.worth(user, user + "0")
        user = max(worths, key=lambda one: worths[one])
        fairness.book(now, user, user + "0", 0.01)
        leads.append(fairness.lag("a"))
    assert max(leads) > 0.1 and abs(leads[-1]) < 0.02
    assert fairness.worth("a", "a0") / fairness.worth("b", "b0") == pytest.approx(0.5, rel=0.1)


def test_plenty_makes_it_matter_less() -> None:
    fairness = crowd({"a": (1, 1.0), "b": (1, 1.0)})
    fairness.book(0.0, "a", "a0", 0.2)
    before = fairness.lag("a")
    fairness.forgive(0.5)
    assert fairness.lag("a") == pytest.approx(before / 2)


def test_a_weight_must_be_positive() -> None:
    with pytest.raises(ValueError, match="'a' has 0"):
        Fairness().join(0.0, "a", "s", 0.0)
