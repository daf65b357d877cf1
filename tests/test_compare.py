"""Changes of known cause are found and named; contributions add up; intervals are those of a bootstrap, and hold."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.frames import SPANS, InputError
from lift_insights.journeys.compare import _alone, compare
from lift_insights.journeys.critical import critical_path, walk
from lift_insights.journeys.tree import forest
from tests.test_journeys import frame, span, traces


def request(rng, trace, items=1, parallel=True, db=5.0, retry=0, extra=False, op="GET /orders"):
    """A handler that asks stock and prices (at once or not), reads its table once for each item, and answers."""
    noise = lambda ms: ms * rng.lognormal(0, 0.1)  # noqa: E731
    at, out = 2.0, []

    def child(name, ms, start, service="shop", kind="client", fault=False):
        out.append(span(f"{name}{len(out)}", "r", start, ms, service, kind, name, trace, fault=fault))
        return start + ms

    ends = []
    for name, ms in (("stock", 20), ("prices", 18)):
        for _again in range(retry if name == "stock" else 0):
            at = child(name, noise(4), at, fault=True) + 0.5
        ends.append(child(name, noise(ms), at))
        at = at if parallel else ends[-1] + 0.1
    at = max(ends) + 1
    for _ in range(items):
        at = child("Query", noise(db), at) + 0.2
    if extra:
        at = child("audit", noise(12), at + 0.1) + 0.1
    return [span("r", None, 0, at + 1, "shop", "server", op, trace), *out]


def many(seed, n=80, **how):
    rng = np.random.default_rng(seed)
    return frame(*[one for i in range(n) for one in request(rng, f"{seed}-{i}", **how)])


def mean(spans):
    roots = spans.filter(pl.col("parent_id").is_null() & (pl.col("duration_ms").fill_null(0) > 0))
    return roots["duration_ms"].mean()


# ---- causes that are known ------------------------------------------------------------------------------------------

CAUSES = {
    "slower": ({"db": 25.0}, "Query", "slower", 20),
    "more calls": ({"items": 8}, "Query", "more calls", 36.4 - 1.4),
    "new call": ({"extra": True}, "audit", "new call", 12),
    "retries": ({"retry": 2}, "stock", "retries", None),
    "lost parallelism": ({"parallel": False}, "prices", "lost parallelism", None),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_comes_first(cause):
    how, operation, change, ms = CAUSES[cause]
    found = compare(many(1), many(2, **how))
    top = found.row(0, named=True)
    assert (top["change"], top["operation"], top["sure"]) == (change, operation, True)
    if ms is not None:
        assert top["contribution_ms"] == pytest.approx(ms, rel=0.1)
        assert top["share"] > 0.85
    turned = compare(many(2, **how), many(1)).row(0, named=True)
    assert turned["operation"] == operation
    assert turned["contribution_ms"] == pytest.approx(-top["contribution_ms"])
    opposite = {
        "slower": "faster",
        "more calls": "fewer calls",
        "new call": "gone",
        "retries": "fewer retries",
        "lost parallelism": "more parallelism",
    }
    assert turned["change"] == opposite[change]


def test_retries_are_apart_from_first_tries():
    found = compare(many(1), many(2, retry=2)).filter(pl.col("sure") & (pl.col("operation") == "stock"))
    row = found.filter(pl.col("change") == "retries").row(0, named=True)
    assert (row["calls_before"], row["calls_after"]) == (0, 2)


def test_what_becomes_critical_is_no_lost_parallelism():
    """Prices grow beyond stock, beside which they run as before."""

    def shop(seed, ms):
        rng, out = np.random.default_rng(seed), []
        for i in range(60):
            a, b = 20 * rng.lognormal(0, 0.05), ms * rng.lognormal(0, 0.05)
            out += [span("r", None, 0, 2 + max(a, b), "shop", "server", trace=f"{i}")]
            out += [span("a", "r", 1, a, "stock", trace=f"{i}"), span("b", "r", 1, b, "prices", trace=f"{i}")]
        return frame(*out)

    found = compare(shop(1, 10), shop(2, 50))
    assert set(found["change"]) >= {"slower", "waited for more", "waited for less"}
    assert "lost parallelism" not in found["change"]
    gains = found.group_by("service").agg(pl.col("contribution_ms").sum())
    assert dict(gains.iter_rows())["prices"] == pytest.approx(50, rel=0.05)
    assert dict(gains.iter_rows())["stock"] == pytest.approx(-20, rel=0.05)


def test_a_change_of_the_mix():
    rng = np.random.default_rng(3)

    def quick(n, tag):
        return [span("r", None, 0, 10 * rng.lognormal(0, 0.05), "a", "server", "GET /x", f"{tag}{i}") for i in range(n)]

    def slow(n, tag):
        return [
            span("r", None, 0, 100 * rng.lognormal(0, 0.05), "a", "server", "GET /y", f"{tag}{i}") for i in range(n)
        ]

    found = compare(frame(*quick(150, "q"), *slow(50, "s")), frame(*quick(50, "q"), *slow(150, "s")))
    top = found.row(0, named=True)
    assert (top["change"], top["sure"], top["service"]) == ("mix", True, None)
    assert top["contribution_ms"] == pytest.approx(45, rel=0.05)
    only = compare(frame(*quick(20, "q")), frame(*slow(20, "s")))  # nothing in common
    assert only["change"].to_list() == ["mix"]
    assert only["contribution_ms"][0] == pytest.approx(90, rel=0.05)


# ---- sums -----------------------------------------------------------------------------------------------------------


@given(
    st.lists(traces(("internal", "client", "consumer")), min_size=1, max_size=4),
    st.lists(traces(("internal", "client", "consumer")), min_size=1, max_size=4),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_contributions_add_up(one, two, data):
    def told(many):
        return frame(
            *[
                s
                | {
                    "trace_id": str(i),
                    "operation": data.draw(st.sampled_from(["x", "y"])) if s["parent_id"] else "root",
                    "service": data.draw(st.sampled_from("ab")),
                }
                for i, trace in enumerate(many)
                for s in trace
            ]
        )

    before, after = told(one), told(two)
    if critical_path(before).is_empty() or critical_path(after).is_empty():
        with pytest.raises(InputError, match="no trace whose root is finished"):
            compare(before, after)
        return
    found = compare(before, after)
    assert found["contribution_ms"].sum() == pytest.approx(mean(after) - mean(before), abs=1e-6)
    assert (found["lo_ms"] <= found["contribution_ms"]).all()


@given(traces(("internal", "client", "consumer")))
@settings(max_examples=60, deadline=None)
def test_alone_is_what_counting_gives(spans):
    trees = forest(frame(*spans))
    path = walk(trees)
    lo, hi = path.lo // 10**6, path.hi // 10**6
    kinds, found = trees.spans["kind"].to_list(), _alone(trees, path)
    own = lambda i: trees.parent[i] >= 0 and hi[i] > lo[i] and kinds[i] != "consumer"  # noqa: E731
    for i, up in enumerate(trees.parent):
        expected = 1.0
        if own(i):
            others = [j for j in range(len(lo)) if j != i and trees.parent[j] == up and own(j)]
            free = sum(not any(lo[j] <= ms < hi[j] for j in others) for ms in range(lo[i], hi[i]))
            expected = (hi[i] - lo[i] - free) * 20 <= hi[i] - lo[i]
        assert found[i] == pytest.approx(expected * (found[up] if up >= 0 else 1))


# ---- uncertainty ----------------------------------------------------------------------------------------------------


def test_errors_are_those_of_a_bootstrap():
    before, after = many(1, n=60), many(2, n=60, db=9.0, items=3)
    wide = compare(before, after).filter(pl.col("contribution_ms").abs() > 1)
    from scipy.stats import t

    rows = len(compare(before, after))
    error = (wide["hi_ms"] - wide["lo_ms"]) / 2 / t.ppf(1 - 0.05 / 2 / rows, 59)
    rng, drawn = np.random.default_rng(7), []
    for _ in range(200):
        sides = []
        for side in (before, after):
            names = side["trace_id"].unique().sort()
            pick = pl.DataFrame(
                {"trace_id": names.gather(rng.integers(0, len(names), len(names))), "copy": range(len(names))}
            )
            again = pick.join(side, on="trace_id").with_columns(trace_id=pl.format("{}-{}", "trace_id", "copy"))
            sides.append(again.select(list(SPANS.columns)))
        drawn.append(compare(*sides))
    spread = (
        pl.concat(drawn)
        .group_by("change", "service", "operation")
        .agg(pl.col("contribution_ms").std().alias("by_chance"))
    )
    both = wide.with_columns(error=error).join(spread, on=["change", "service", "operation"])
    assert len(both) == len(wide) >= 2
    assert (both["error"] / both["by_chance"]).is_between(0.75, 1.35).all()


def test_chance_is_rarely_called_sure():
    wrong = sum(compare(many(100 + 2 * i, n=30), many(101 + 2 * i, n=30))["sure"].any() for i in range(40))
    assert wrong <= 6  # 5 % of 40 are 2; more than 6 in 40 has a chance of 0.3 %


# ---- the door -------------------------------------------------------------------------------------------------------


def test_bad_input():
    spans = many(1, n=3)
    with pytest.raises(InputError, match="after has no trace"):
        compare(spans, SPANS.empty())
    with pytest.raises(InputError, match="before has no trace"):
        compare(frame(span("r", ms=None)), spans)
    with pytest.raises(InputError, match="between 0 and 1"):
        compare(spans, spans, level=95)
    with pytest.raises(InputError, match="missing: trace_id"):
        compare(spans, spans.drop("trace_id"))
    assert compare(spans, spans).is_empty()  # nothing changed
    one = compare(many(1, n=1), many(2, n=1, db=50.0))
    assert not one["sure"].any()  # one request is no ground to be sure
    assert type(compare(spans.to_pandas(), many(2, n=3))).__module__.startswith("pandas")
