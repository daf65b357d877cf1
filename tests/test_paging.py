"""Pages and their judgement: by hand, of nothing, and a slow twin."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.alarms.paging import judge, pages, tally
from lift_insights.frames import STATES

START = datetime(2026, 3, 2, tzinfo=UTC)


def minute(m):
    return START + timedelta(minutes=m)


def incident_frame(*spans):
    return pl.DataFrame(
        {
            "start": [minute(a) for a, _ in spans],
            "end": [minute(b) for _, b in spans],
            "label": [f"i{k}" for k in range(len(spans))],
            "service": [None] * len(spans),
        },
        schema_overrides={"service": pl.String},
    )


def state_frame(*rows):
    return pl.DataFrame([(a, minute(m), s, "") for a, m, s in rows], schema=STATES.columns, orient="row")


def test_pages_are_the_stretches_of_alarm():
    states = state_frame(
        ("b", 1, "ALARM"),
        ("a", 2, "ALARM"),
        ("a", 4, "OK"),
        ("a", 7, "ALARM"),
        ("a", 8, "INSUFFICIENT_DATA"),
        ("b", 9, "ALARM"),
    )
    got = pages(states)
    assert got["alarm"].to_list() == ["b", "a", "a"]
    assert got["start"].to_list() == [minute(1), minute(2), minute(7)]
    assert got["end"].to_list() == [None, minute(4), minute(8)]  # b is told a second time, and does not go back
    assert pages(STATES.empty()).is_empty()


def test_judge_by_hand():
    states = state_frame(
        *(
            (("a", m, s))
            for a, b in [(5, 6), (12, 13), (14, 15), (40, 41), (58, 59), (90, None)]
            for m, s in ((a, "ALARM"), (b, "OK"))
            if m
        )
    )
    told, met = judge(pages(states), incident_frame((10, 20), (38, 50), (70, 80)), grace_s=600)
    assert told["label"].to_list() == [None, "i0", "i0", "i1", "i1", None]  # grace: 58 still belongs to the second
    assert met["caught"].to_list() == [True, True, False]
    assert met["delay_s"].to_list() == [120.0, 120.0, None]
    counts = tally((told, met), START, START + timedelta(days=7))
    assert counts == {
        "pages": 6, "pages_per_week": 6.0, "false_pages": 2, "incidents": 3, "caught": 2, "missed": 1,
        "precision": round(4 / 6, 4), "recall": round(2 / 3, 4), "median_delay_s": 120.0,
    }  # fmt: skip


def test_a_page_in_two_incidents_belongs_to_the_one_that_began_last():
    states = state_frame(("a", 15, "ALARM"), ("a", 16, "OK"))
    told, met = judge(pages(states), incident_frame((10, 30), (14, 20), (5, 40)))
    assert told["label"].to_list() == ["i1"]
    assert met["caught"].to_list() == [True, True, True]


def test_judge_of_nothing():
    told, met = judge(pages(STATES.empty()), incident_frame())
    assert tally((told, met), START, START + timedelta(days=1))["precision"] is None
    told, met = judge(pages(STATES.empty()).to_pandas(), incident_frame((1, 2)).to_pandas())
    assert isinstance(met, pd.DataFrame)
    assert tally((told, met), START, START + timedelta(days=1))["recall"] == 0.0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 200), max_size=8, unique=True),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)), max_size=4),
    st.integers(0, 20),
)
def test_judge_slow_twin(starts, spans, grace):
    states = state_frame(*(("a", m, s) for t in sorted(starts) for m, s in ((t, "ALARM"), (t + 0.5, "OK"))))
    spans = sorted((a, a + d) for a, d in spans)
    told, met = judge(pages(states), incident_frame(*spans), grace_s=60.0 * grace)
    inside = [[t for t in sorted(starts) if a <= t < b + grace] for a, b in spans]
    assert met["caught"].to_list() == [bool(hit) for hit in inside]
    assert met["delay_s"].to_list() == [
        60.0 * (hit[0] - a) if hit else None for (a, _), hit in zip(spans, inside, strict=True)
    ]
    assert told["label"].is_null().to_list() == [not any(t in hit for hit in inside) for t in sorted(starts)]


def test_a_state_that_is_told_again_does_not_end_a_page():
    told = [("a", 0, "ALARM"), ("a", 5, "ALARM"), ("a", 9, "OK"), ("a", 12, "ALARM")]
    rows = [(alarm, START + timedelta(minutes=m), state, "") for alarm, m, state in told]
    found = pages(pl.DataFrame(rows, schema=STATES.columns, orient="row"))
    assert [(r["start"], r["end"]) for r in found.iter_rows(named=True)] == [
        (START, START + timedelta(minutes=9)),
        (START + timedelta(minutes=12), None),
    ]
