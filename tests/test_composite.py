"""Composite alarms, suppressors and mute rules: AWS's published examples, slow twins, properties, bad input."""

from datetime import UTC, datetime, timedelta
from time import process_time

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms.composite import actions, quiet, states
from lift_insights.alarms.expression import STATE_NAMES, Rule, name_of, parse_rule, render_rule
from lift_insights.frames import STATES, InputError

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
TOPIC = ["arn:aws:sns:us-east-1:123456789012:pages"]


def at(unit: float) -> datetime:
    return START + timedelta(minutes=unit)


def frame(*rows) -> pl.DataFrame:
    """Rows of (alarm, minute, state)."""
    columns = {"alarm": [r[0] for r in rows], "timestamp": [at(r[1]) for r in rows], "state": [r[2] for r in rows]}
    return pl.DataFrame(columns | {"reason": [""] * len(rows)}, schema=STATES.columns)


def moves(found: pl.DataFrame, alarm: str) -> list[tuple[float, str]]:
    rows = found.filter(pl.col("alarm") == alarm).select("timestamp", "state").rows()
    return [((time - START) / timedelta(minutes=1), state) for time, state in rows]


def sent(found: pl.DataFrame, alarm: str = "c") -> list[tuple[float, str]]:
    return moves(found.filter("sent"), alarm)


def composite(name: str, rule: str, **more) -> dict:
    return {"AlarmName": name, "AlarmRule": rule, **more}


# The guide's expressions, page "Composite alarms"

GUIDE = [
    ("ALARM(CPU) AND ALARM(Disk)", {"CPU": "ALARM", "Disk": "ALARM"}, True),
    ("ALARM(CPU) AND ALARM(Disk)", {"CPU": "ALARM", "Disk": "OK"}, False),
    ("AT_LEAST(2, ALARM, (W1, W2, W3, W4))", {"W1": "ALARM", "W4": "ALARM"}, True),
    ("AT_LEAST(2, ALARM, (W1, W2, W3, W4))", {"W1": "ALARM", "W4": "OK"}, False),
    ("AT_LEAST(50%, OK, (D1, D2, D3, D4))", {"D1": "OK", "D2": "OK", "D3": "ALARM", "D4": "ALARM"}, True),
    ("AT_LEAST(50%, OK, (D1, D2, D3, D4))", {"D1": "OK", "D2": "ALARM", "D3": "ALARM", "D4": "ALARM"}, False),
    ("AT_LEAST(50%, OK, (D1, D2, D3))", {"D1": "OK", "D2": "ALARM", "D3": "ALARM"}, False),  # one of three is not half
    ("ALARM(CPU) AND NOT ALARM(Deploying)", {"CPU": "ALARM", "Deploying": "OK"}, True),
    ("ALARM(CPU) AND NOT ALARM(Deploying)", {"CPU": "ALARM", "Deploying": "ALARM"}, False),
    ("ALARM(CPU) AND NOT ALARM(Deploying)", {"CPU": "ALARM"}, True),  # INSUFFICIENT_DATA is not ALARM
    ("AT_LEAST(2, ALARM, (A1, A2, A3)) AND NOT ALARM(M)", {"A1": "ALARM", "A3": "ALARM", "M": "OK"}, True),
    ("(ALARM(CPU) OR ALARM(Disk)) AND OK(Net)", {"CPU": "OK", "Disk": "ALARM", "Net": "OK"}, True),
    ("(ALARM(CPU) OR ALARM(Disk)) AND OK(Net)", {"CPU": "OK", "Disk": "ALARM"}, False),
    ("ALARM(CPU) OR ALARM(Disk) AND OK(Net)", {"CPU": "ALARM", "Net": "ALARM"}, True),  # AND binds tighter
    ("NOT ALARM(CPU) AND ALARM(Disk)", {"CPU": "ALARM", "Disk": "OK"}, False),  # NOT binds tightest
    ("AT_LEAST(1, NOT OK, (A, B))", {"A": "OK", "B": "ALARM"}, True),
    ("AT_LEAST(2, NOT INSUFFICIENT_DATA, (A, B))", {"A": "OK"}, False),
    ("INSUFFICIENT_DATA(A)", {}, True),
    ("TRUE", {}, True),
    ("False", {}, False),
    ("OK(arn:aws:cloudwatch:eu-west-1:123456789012:alarm:A)", {"A": "OK"}, True),
    ('OK("a (b), \\"c\\"")', {'a (b), "c"': "OK"}, True),
]


@pytest.mark.parametrize(("rule", "known", "holds"), GUIDE)
def test_what_a_rule_says(rule, known, holds):
    rows = frame(*((name, 0, state) for name, state in known.items()))
    found = states([composite("c", rule)], rows, start=START)
    assert moves(found, "c") == [(0, "ALARM" if holds else "OK")]
    assert "first evaluation" in found["reason"][0]


# A slow twin: one time after the other, one part of the rule after the other

NAMES = [f"m{n}" for n in range(4)]
WATCHED = [*NAMES, "c0", "c1"]


def leaf(names):
    return st.builds(Rule, st.sampled_from(STATE_NAMES), st.sampled_from(names))


def at_least(names):
    def make(state, chosen, negated, share, seed):
        args = tuple(Rule("NOT", None, (Rule(state, one),)) if negated else Rule(state, one) for one in chosen)
        return Rule("AT_LEAST", f"{1 + seed % 100}%" if share else 1 + seed % len(args), args)

    some = st.lists(st.sampled_from(names), min_size=1, max_size=4)
    return st.builds(make, st.sampled_from(STATE_NAMES), some, st.booleans(), st.booleans(), st.integers(0, 99))


def rules(names=tuple(NAMES)):
    base = leaf(names) | at_least(names) | st.sampled_from([Rule("TRUE"), Rule("FALSE")])

    def more(inner):
        several = st.lists(inner, min_size=2, max_size=3).map(tuple)
        rows = st.builds(Rule, st.sampled_from(["AND", "OR"]), st.none(), several)
        return rows | st.builds(Rule, st.just("NOT"), st.none(), inner.map(lambda one: (one,)))

    return st.recursive(base, more, max_leaves=8)


def holds(rule: Rule, now: dict[str, str]) -> bool:
    if rule.kind in STATE_NAMES:
        return now[name_of(rule.value)] == rule.kind
    if rule.kind in ("TRUE", "FALSE"):
        return rule.kind == "TRUE"
    if rule.kind == "NOT":
        return not holds(rule.args[0], now)
    if rule.kind == "AT_LEAST":
        true = sum(holds(arg, now) for arg in rule.args)
        return (
            true * 100 >= int(rule.value[:-1]) * len(rule.args) if isinstance(rule.value, str) else true >= rule.value
        )
    return (all if rule.kind == "AND" else any)(holds(arg, now) for arg in rule.args)


def twin(composites, rows, initial, start, end):
    """Every minute by itself; c0 before c1, c1 before c2."""
    now = dict.fromkeys([*NAMES, *(one["AlarmName"] for one in composites)], initial)
    out = []
    for minute in range(end + 1):
        for name, when, state in rows:
            if when == minute:
                now[name] = state
        for one in composites if minute >= start else ():
            name, state = one["AlarmName"], "ALARM" if holds(parse_rule(one["AlarmRule"]), now) else "OK"
            if state != now[name]:
                out.append((name, minute, state))
                now[name] = state
    return out


HISTORY = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 20), st.sampled_from(STATE_NAMES)), min_size=1, max_size=25
)


@settings(max_examples=150)
@given(
    rows=HISTORY,
    trees=st.tuples(rules(), rules([*NAMES, "c0"]), rules([*NAMES, "c0", "c1"])),
    initial=st.sampled_from(STATE_NAMES),
    start=st.integers(0, 10),
    backwards=st.booleans(),
)
def test_states_against_a_slow_twin(rows, trees, initial, start, backwards):
    composites = [composite(f"c{n}", render_rule(tree)) for n, tree in enumerate(trees)]
    expected = twin(composites, rows, initial, start, 18)
    given_in = composites[::-1] if backwards else composites
    found = states(given_in, frame(*rows), initial_state=initial, start=at(start), end=at(18))
    for one in composites:
        name = one["AlarmName"]
        assert moves(found, name) == [(minute, state) for who, minute, state in expected if who == name]
    assert found["alarm"].unique(maintain_order=True).to_list() == [
        one["AlarmName"] for one in given_in if any(who == one["AlarmName"] for who, *_ in expected)
    ]


@given(rows=HISTORY, left=rules(), right=rules())
def test_de_morgan(rows, left, right):
    one = Rule("NOT", None, (Rule("AND", None, (left, right)),))
    two = Rule("OR", None, (Rule("NOT", None, (left,)), Rule("NOT", None, (right,))))
    pair = [composite("a", render_rule(one)), composite("b", render_rule(two))]
    found = states(pair, frame(*rows))
    assert moves(found, "a") == moves(found, "b")


@given(rows=HISTORY, state=st.sampled_from(STATE_NAMES), need=st.integers(1, 4))
def test_at_least_counts(rows, state, need):
    from itertools import combinations

    some = " OR ".join(f"({' AND '.join(f'{state}({n})' for n in group)})" for group in combinations(NAMES, need))
    pair = [composite("a", f"AT_LEAST({need}, {state}, ({', '.join(NAMES)}))"), composite("b", some)]
    found = states(pair, frame(*rows))
    assert moves(found, "a") == moves(found, "b")


def test_before_anything_is_known():
    rows = frame(("a", 5, "OK"), ("a", 9, "ALARM"))
    pair = [composite("c", "INSUFFICIENT_DATA(a)"), composite("d", "ALARM(a) OR ALARM(nobody)")]
    found = states(pair, rows, start=START)
    assert moves(found, "c") == [(0, "ALARM"), (5, "OK")]
    assert moves(found, "d") == [(0, "OK"), (9, "ALARM")]
    later = states(pair, rows)  # the first evaluation is at the first row
    assert moves(later, "c") == [(5, "OK")]
    calm = states(pair, rows, start=START, initial_state="OK")
    assert moves(calm, "c") == []
    assert moves(calm, "d") == [(9, "ALARM")]
    assert states(pair, STATES.empty()).is_empty()
    assert moves(states([composite("t", "TRUE")], STATES.empty(), start=START), "t") == [(0, "ALARM")]
    known = states(pair, rows, start=at(10))
    assert moves(known, "d") == [(10, "ALARM")]  # what was before the start is known


def test_rows_of_the_composites_themselves_do_not_count():
    rows = frame(("a", 0, "OK"), ("c", 1, "ALARM"), ("a", 2, "ALARM"))
    assert moves(states([composite("c", "ALARM(a)")], rows), "c") == [(0, "OK"), (2, "ALARM")]
    before = pl.concat([frame(("c", -5, "ALARM")), rows])
    assert moves(states([composite("c", "ALARM(a)")], before), "c") == [(0, "OK"), (2, "ALARM")]


def test_reasons_name_what_changed():
    rows = frame(*((name, 0, "OK") for name in NAMES), *((name, 3, "ALARM") for name in NAMES), ("m1", 4, "OK"))
    found = states([composite("c", " AND ".join(f"ALARM({name})" for name in NAMES))], rows)
    assert found["reason"].to_list() == [
        "first evaluation: the rule does not hold",
        "m0 is now ALARM, m1 is now ALARM, m2 is now ALARM and 1 more: the rule holds",
        "m1 is now OK: the rule does not hold",
    ]


def test_bad_composites():
    rows = frame(("a", 0, "OK"))
    with pytest.raises(InputError, match="the name c is used twice"):
        states([composite("c", "OK(a)"), composite("c", "ALARM(a)")], rows)
    ring = [composite("c", "OK(d)"), composite("d", "OK(e)"), composite("e", "NOT ALARM(c)")]
    with pytest.raises(InputError, match=r"in a circle.*: (\w watches \w watches \w) watches"):
        states(ring, rows)
    with pytest.raises(InputError, match="in a circle"):
        states([composite("c", "OK(c)")], rows)
    with pytest.raises(InputError, match=r"the alarm c has a rule that cannot be read: .* position 5"):
        states([composite("c", "OK(a,b)")], rows)
    with pytest.raises(InputError, match="a has 'Alarm'"):
        states([composite("c", "OK(a)")], frame(("a", 0, "Alarm")))
    with pytest.raises(InputError, match="initial_state needs"):
        states([composite("c", "OK(a)")], rows, initial_state="FINE")
    with pytest.raises(InputError, match="missing: state"):
        states([composite("c", "OK(a)")], rows.drop("state"))
    with pytest.raises(InputError, match="no time zone"):
        states([composite("c", "OK(a)")], rows, start=datetime(2026, 3, 2))  # noqa: DTZ001


def test_pandas_and_no_mutation():
    rows = frame(("a", 0, "OK"), ("a", 3, "ALARM"))
    one = composite("c", "ALARM(a)", AlarmActions=TOPIC)
    before, copy = dict(one), rows.clone()
    found = states([one], rows.to_pandas())
    assert isinstance(found, pd.DataFrame)
    assert found["state"].tolist() == ["OK", "ALARM"]
    acted = actions(one, found)
    assert isinstance(acted, pd.DataFrame)
    assert acted["sent"].tolist() == [False, True]
    assert one == before
    assert rows.equals(copy)


def test_a_thousand_composites_are_quick():
    rows = [(f"m{n}", minute, "ALARM" if minute % 2 else "OK") for n in range(200) for minute in range(n, n + 200)]
    many = [
        composite(f"c{n}", f"AT_LEAST(3, ALARM, ({', '.join(f'm{(n + k) % 200}' for k in range(10))}))")
        for n in range(1000)
    ]
    begin = process_time()
    states(many, frame(*rows))
    assert process_time() - begin < 10


# Suppressors. The guide, "Suppressing composite alarm actions": a WaitPeriod of 2 units and an ExtensionPeriod of 3.


def suppressed(wait=2, extension=3, **more):
    periods = {"ActionsSuppressorWaitPeriod": wait * 60, "ActionsSuppressorExtensionPeriod": extension * 60}
    return composite("c", "ALARM(a)", AlarmActions=TOPIC, OKActions=TOPIC, ActionsSuppressor="s", **periods, **more)


def run(alarm, changes, beside=(), **more):
    rows = frame(("c", 0, "OK"), *(("c", *one) for one in changes), *(("s", *one) for one in beside))
    found = actions(alarm, rows, **more)
    return [one for one in sent(found) if one[0] > 2 or one[1] == "ALARM"]  # without that of OK at 0


EXAMPLES = {  # changes of the composite alarm, those of the suppressor, what is done and when
    "wait, first figure": (8 - 2, 3, [(2, "ALARM")], [(0, "OK"), (4, "ALARM")], []),
    "extension, second figure": (2, 6, [(1, "ALARM"), (5, "OK")], [(0, "ALARM"), (2, "OK")], [(7, "OK")]),
    "1: not suppressed after the wait": (2, 3, [(2, "ALARM")], [(0, "OK")], [(4, "ALARM")]),
    "2: suppressed before the wait is over": (2, 3, [(2, "ALARM")], [(0, "OK"), (3, "ALARM")], []),
    "3: a change during the wait": (2, 3, [(2, "ALARM"), (3, "OK")], [(0, "OK")], [(5, "OK")]),
    "4: a change while suppressed": (2, 3, [(2, "ALARM")], [(0, "ALARM")], []),
    "5: not suppressed after the extension": (2, 3, [(2, "ALARM")], [(0, "OK"), (3, "ALARM"), (6, "OK")], [(9, "ALARM")]),
    "6: a change during the extension": (
        2, 3, [(2, "ALARM"), (7, "OK")], [(0, "OK"), (3, "ALARM"), (6, "OK")], [(9, "OK")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_guides_examples_of_suppression(name):
    wait, extension, changes, beside, expected = EXAMPLES[name]
    assert run(suppressed(wait, extension), changes, beside) == expected


def test_why_an_action_was_held_back():
    rows = frame(
        ("c", 2, "ALARM"), ("s", 3, "ALARM"), ("s", 6, "OK"), ("c", 20, "OK"), ("s", 21, "ALARM"), ("c", 22, "ALARM")
    )
    found = actions(suppressed(), rows)
    assert found.select("state", "sent", "why").rows() == [
        ("ALARM", False, "WaitPeriod: gives s 120 s to go to ALARM"),
        ("ALARM", True, "ExtensionPeriod over"),
        ("OK", False, "WaitPeriod: gives s 120 s to go to ALARM"),
        ("ALARM", False, "suppressed by s"),
    ]


def test_no_wait_and_no_extension():
    at_once = suppressed(0, 0)
    assert run(at_once, [(2, "ALARM")], [(0, "OK")]) == [(2, "ALARM")]
    assert run(at_once, [(2, "ALARM")], [(1, "ALARM"), (6, "INSUFFICIENT_DATA")]) == [(6, "ALARM")]
    assert run(at_once, [(2, "ALARM"), (4, "OK")], [(1, "ALARM"), (6, "OK")]) == [(6, "OK")]
    by_arn = at_once | {"ActionsSuppressor": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:s"}
    assert run(by_arn, [(3, "ALARM")], [(1, "ALARM")]) == []


def test_what_the_alarm_itself_has_against_it():
    rows = frame(("c", 0, "OK"), ("c", 2, "ALARM"), ("c", 4, "INSUFFICIENT_DATA"))
    one = composite("c", "ALARM(a)", AlarmActions=TOPIC)
    found = actions(one, rows)
    assert found["why"].to_list() == ["has no OKActions", "state change", "has no InsufficientDataActions"]
    assert sent(found) == [(2, "ALARM")]
    assert set(actions(one | {"ActionsEnabled": False}, rows)["why"]) == {"ActionsEnabled is False"}
    again = frame(("c", 0, "ALARM"), ("c", 1, "ALARM"), ("c", 2, "OK"), ("c", 2, "ALARM"))
    assert len(actions(one, again)) == 1  # no change at all
    assert actions(one, frame(("other", 0, "OK"))).is_empty()
    assert actions([], rows).is_empty()
    assert actions(one, STATES.empty()).is_empty()


# Mute rules. The guide, "How alarm mute rules work".


def mute(name: str, first: float, last: float, *alarms: str, **more) -> dict:
    schedule = {"Expression": f"at({at(first):%Y-%m-%dT%H:%M})", "Duration": f"PT{int(last - first)}M"}
    return {"Name": name, "Rule": {"Schedule": schedule}, "MuteTargets": {"AlarmNames": list(alarms or ("c",))}, **more}


PLAIN = composite("c", "ALARM(a)", AlarmActions=TOPIC)
SCENARIOS = {
    "muted, back to OK": ([mute("m", 1, 5)], [(2, "ALARM"), (4, "OK")], []),
    "acts again after it": ([mute("m", 1, 5)], [(2, "ALARM")], [(5, "ALARM")]),
    "two that overlap": ([mute("m", 1, 5), mute("n", 3, 8)], [(2, "ALARM")], [(8, "ALARM")]),
    "ended early": ([mute("m", 1, 8, ExpireDate=at(6))], [(2, "ALARM")], [(6, "ALARM")]),
    "two that touch": ([mute("m", 1, 5), mute("n", 5, 8)], [(2, "ALARM")], [(8, "ALARM")]),
    "before it": ([mute("m", 3, 5)], [(2, "ALARM")], [(2, "ALARM")]),
    "at its end": ([mute("m", 1, 5)], [(5, "ALARM")], [(5, "ALARM")]),
    "another alarm's": ([mute("m", 1, 5, "d")], [(2, "ALARM")], [(2, "ALARM")]),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_guides_scenarios_of_muting(name):
    mutes, changes, expected = SCENARIOS[name]
    assert run(PLAIN, changes, mutes=mutes) == expected


def test_all_states_are_muted():
    alarm = PLAIN | {"OKActions": TOPIC, "InsufficientDataActions": TOPIC}
    rows = frame(("c", 2, "ALARM"), ("c", 3, "OK"), ("c", 4, "INSUFFICIENT_DATA"))
    found = actions(alarm, rows, mutes=mute("m", 1, 6))
    assert found["why"].to_list() == ["muted by m"] * 3 + ["mute over"]
    assert sent(found) == [(6, "INSUFFICIENT_DATA")]
    assert len(actions(alarm, rows, mutes=mute("m", 1, 6), end=at(5))) == 3
    assert sent(actions(alarm, rows, mutes=mute("m", 1, 6), end=at(6))) == [(6, "INSUFFICIENT_DATA")]


def test_a_mute_that_never_ends():
    always = mute("m", 0, 1) | {"Rule": {"Schedule": {"Expression": "cron(0 0 * * *)", "Duration": "P1D"}}}
    rows = frame(("c", 2, "ALARM"))
    assert actions(PLAIN, rows, mutes=always)["sent"].to_list() == [False]


def test_bad_input_of_actions():
    rows = frame(("c", 2, "ALARM"))
    with pytest.raises(InputError, match="the name m is used twice"):
        actions(PLAIN, rows, mutes=[mute("m", 1, 2), mute("m", 3, 4)])
    with pytest.raises(InputError, match="the name c is used twice"):
        actions([PLAIN, PLAIN], rows)
    with pytest.raises(InputError, match="the mute rule m"):
        actions(PLAIN, rows, mutes=[mute("m", 1, 1)])
    with pytest.raises(InputError, match="the alarm c needs ActionsSuppressorWaitPeriod"):
        actions(PLAIN | {"ActionsSuppressor": "s"}, rows)
    assert quiet([mute("m", 1, 2)], at(0), at(9)).height == 1


# A slow twin of suppression and muting together: when is each change free to act?


def acted(changes, beside, wait, extension, muted):
    """Times in minutes. Every minute after a change is asked whether something holds the change back."""
    up, down = set(), set()
    before = False
    for minute, alarm in beside:
        if alarm != before:
            (up if alarm else down).add(minute)
        before = alarm

    def on(u):
        return next((alarm for minute, alarm in reversed(beside) if minute <= u), False)

    def none(events, low, high):  # in (low, high)
        return not any(low < e < high for e in events)

    out = []
    for (t, state), after in zip(changes, [*(one[0] for one in changes[1:]), None]):
        for u in range(t, (after if after is not None else 200) + 1):
            ends = [t + wait] if wait and not on(t) and none(up, t, t + wait) else []
            ends += [b + extension for b in down if extension and b > t and none(up, b, b + extension)]
            if u not in ends:
                if u == after:
                    break
                waits = wait and not on(t) and t <= u < t + wait and none(up, t, u + 1)
                extends = any(t < b <= u < b + extension and none(up, b, u + 1) for b in down)
                if on(u) or waits or extends:
                    continue
            if not muted(u):
                out.append((u, state))
                break
    return out


def alternating(values):
    times = st.lists(st.integers(0, 30), min_size=1, max_size=7, unique=True).map(sorted)
    return times.map(lambda all_: [(minute, values[n % len(values)]) for n, minute in enumerate(all_)])


@settings(max_examples=400)
@given(
    changes=alternating(["ALARM", "OK", "ALARM", "INSUFFICIENT_DATA"]),
    beside=alternating([True, False]),
    wait=st.integers(0, 5),
    extension=st.integers(0, 5),
    windows=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=3),
)
def test_actions_against_a_slow_twin(changes, beside, wait, extension, windows):
    def muted(u):
        return any(first <= u < first + length for first, length in windows)

    rules_ = [mute(f"m{n}", first, first + length) for n, (first, length) in enumerate(windows)]
    rows = frame(*(("c", *one) for one in changes), *(("s", minute, "ALARM" if on else "OK") for minute, on in beside))
    alarm = suppressed(wait, extension) | {"InsufficientDataActions": TOPIC}
    found = actions(alarm, rows, mutes=rules_)
    assert sent(found) == acted(changes, beside, wait, extension, muted)
    assert found.filter(~pl.col("sent")).height >= len(changes) - found.filter("sent").height
    assert found["timestamp"].is_sorted()
