"""Which service made requests slow or end early: systems made up with known faults, slow twins, properties, bad input."""

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks import causes_spans as benchmark
from lift_insights.frames import SPANS, InputError
from lift_insights.journeys import causes_spans, span_changes
from lift_insights.journeys.causes_spans import from_spans
from lift_insights.journeys.span_changes import changes
from lift_insights.journeys.tree import tree

T = datetime(2026, 3, 2, 9, tzinfo=UTC)
FAULTS = ("slow", "network", "exception", "failing", "lost", "more calls")


# ---- systems made up ------------------------------------------------------------------------------------------------


class System:
    """A made-up system: services with operations that call those of services behind them, and a table each."""

    def __init__(self, seed: int, services: int = 8):
        rng = np.random.default_rng(seed)
        self.names = [f"s{i}" for i in range(services)]
        self.calls: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.own: dict[tuple[int, int], float] = {}
        for i in reversed(range(services)):
            for j in range(rng.integers(1, 4)):
                behind = [op for op in self.calls if op[0] > i]
                few = min(len(behind), int(rng.integers(1, 4)))
                chosen = [behind[k] for k in rng.choice(len(behind), few, replace=False)] if behind else []
                self.calls[i, j] = chosen
                self.own[i, j] = float(rng.uniform(1, 20))
        self.table = {i for i in range(services) if rng.random() < 0.5}
        self.entries = [op for op in self.calls if op[0] == 0]

    def used(self) -> list[int]:
        """Services that requests reach."""
        seen, todo = set(), list(self.entries)
        while todo:
            op = todo.pop()
            if op not in seen:
                seen.add(op)
                todo += self.calls[op]
        return sorted({op[0] for op in seen})

    def spans(self, seed: int, traces: int = 150, fault: str = "", at: int = -1, kinds: bool = True) -> pl.DataFrame:
        """Traces of the system, with a fault at a service."""
        rng = np.random.default_rng([seed, 99])
        drift = {op: np.exp(0.15 * rng.normal()) for op in self.calls}
        out = []

        def add(trace, parent, service, name, kind, failed=False):
            row = [trace, f"{len(out)}", parent, service, name, kind if kinds else None, None, None, None]
            row += [False, failed, False, None]
            out.append(row)
            return row

        def finish(row, begun, ended):
            row[6], row[7] = T + timedelta(milliseconds=begun), ended - begun

        def serve(trace, parent, op, now):
            """Runs an operation from `now` on; gives the time it ends, and whether it failed."""
            i, j = op
            row, begun, failed = add(trace, parent, self.names[i], f"op{j}", "server"), now, False
            ours = i == at
            times = 8.0 if ours and fault == "slow" else 1.0
            now += self.own[op] * drift[op] * times * float(np.exp(0.4 * rng.normal()))
            if i in self.table:
                leaf = add(trace, row[1], self.names[i], "SELECT", "client")
                took = 3 * float(np.exp(0.5 * rng.normal())) * times
                finish(leaf, now, now + took)
                now += took
            breaks = ours and fault in ("exception", "failing") and rng.random() < 0.5
            row[10] = failed = breaks and fault == "failing"
            again = 12 if ours and fault == "more calls" else 1
            for to in [] if breaks else list(itertools.chain.from_iterable([c] * again for c in self.calls[op])):
                now, broken = call(trace, row[1], op, to, now)
                if broken:
                    row[10] = failed = True
                    break
            finish(row, begun, now)
            return now, failed or breaks

        def call(trace, parent, op, to, now):
            """A call over the network: the span of the caller around that of the callee."""
            row, begun = add(trace, parent, self.names[op[0]], f"call {to[0]}.{to[1]}", "client"), now
            touched = at in (op[0], to[0])
            slow = touched and fault in ("network", "slow")
            way = float(np.exp(0.4 * rng.normal())) + (100 * rng.random() if slow else 0)
            if to[0] == at and fault == "lost":
                finish(row, begun, now + 500)
                return now + 500, False
            ended, failed = serve(trace, row[1], to, now + way)
            row[10] = failed and fault == "failing"
            finish(row, begun, ended + way)
            return ended + way, failed

        for t in range(traces):
            trace = f"{seed}-{t}"
            entry = self.entries[rng.integers(len(self.entries))]
            serve(trace, None, entry, t * 400.0)
        return pl.DataFrame(out, schema=SPANS.columns, orient="row")


def at_fault(system: System, fault: str, seed: int) -> int:
    """A service that can have the fault: it is reached, and calls others or is called where that is needed."""
    used = system.used()
    if fault in ("exception", "more calls"):
        used = [i for i in used if any(behind for op, behind in system.calls.items() if op[0] == i)]
    if fault == "lost":
        used = [i for i in used if i]
    return used[seed % len(used)]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(4))
def test_the_service_with_the_fault_comes_first(fault, seed):
    system, kinds = System(seed), seed % 2 == 0
    at = at_fault(system, fault, seed)
    found = from_spans(system.spans(1, kinds=kinds), system.spans(2, fault=fault, at=at, kinds=kinds))
    assert found["service"][0] == f"s{at}"
    kind = {"lost": ("slow", "cut short"), "exception": ("cut short",), "network": ("slow",)}.get(fault, (fault,))
    assert found["kind"][0] in kind


@pytest.mark.parametrize("seed", range(8))
def test_silence_where_nothing_is_wrong(seed):
    system = System(seed)
    assert from_spans(system.spans(1), system.spans(2)).is_empty()


def test_names_order_and_where_ids_begin_do_not_matter():
    system = System(3)
    normal, abnormal = system.spans(1), system.spans(2, fault="slow", at=2)
    told = from_spans(normal, abnormal)
    names = {f"s{i}": f"{(7 * i + 3) % 8}-service" for i in range(8)}
    renamed = [
        one.with_columns(pl.col("service").replace(names), span_id="x" + pl.col("span_id"), parent_id="x" + pl.col("parent_id"))
        for one in (normal, abnormal)
    ]  # fmt: skip
    again = from_spans(*(one.sample(fraction=1, shuffle=True, seed=5) for one in renamed))
    assert again["service"].to_list() == [names[one] for one in told["service"]]
    assert again["score"].to_list() == pytest.approx(told["score"].to_list())


def test_the_answer_adds_up_and_says_where_to_look():
    system = System(1)
    abnormal = system.spans(2, fault="slow", at=4)
    found = from_spans(system.spans(1), abnormal)
    assert 0.95 < found["score"].sum() <= 1 + 1e-9
    assert found["score"].is_sorted(descending=True)
    assert found["trace_id"].is_in(abnormal["trace_id"].implode()).all()
    assert found["share"].is_between(0, 1).all()
    assert (found["abnormal_ms"] > found["normal_ms"]).all()
    assert found["calls"].dtype == pl.Int64


# ---- hand-made ------------------------------------------------------------------------------------------------------


def span(trace, id, parent, service, operation, start, ms, kind=None, **more):
    flags = [more.get(f, False) for f in ("error", "fault", "throttle")]
    begin = T + timedelta(milliseconds=start)
    return [trace, id, parent, service, operation, kind, begin, ms, None, *flags, more.get("attributes")]


def frame(rows):
    return pl.DataFrame(rows, schema=SPANS.columns, orient="row")


def pairs(n=20, gap=2.0, way="AB", tag="", kind=None):
    """Traces of `a` calling `b` once; `gap` ms pass on the way."""
    a, b = way
    out = []
    for i in range(n):
        t, wobble = f"{tag}{i}", 1 + 0.01 * (i % 7)
        out += [
            span(t, "r", None, a, "do", 1000 * i, 20 * wobble + gap, kind),
            span(t, "c", "r", a, "ask", 1000 * i + 5, 10 + gap, kind),
            span(t, "s", "c", b, "answer", 1000 * i + 5 + gap / 2, 10.0, kind),
        ]
    return frame(out)


def test_of_two_ends_that_nothing_tells_apart_the_called_one_is_named_first():
    for way in ("AB", "BA"):
        found = from_spans(pairs(way=way), pairs(gap=100.0, way=way))
        assert found["service"].to_list() == [way[1], way[0]]
        assert found["where"][0] == f"{way[0]} ask → {way[1]}"


def metric(service, values, name="CPUUtilization", at=0):
    """One value a minute, the last of them within the abnormal window, which begins `at` seconds after T."""
    times = [T + timedelta(seconds=at + 5) - timedelta(minutes=len(values) - 1 - i) for i in range(len(values))]
    return pl.DataFrame({"service": service, "metric": name, "stat": "Average", "timestamp": times, "value": values})


CALM, BUSY = [20.0, 21, 19, 20, 22, 20, 21], [20.0, 21, 19, 20, 22, 20, 95]


def test_metrics_decide_between_two_ends_and_accuse_nobody():
    normal, abnormal = pairs(), pairs(gap=100.0)
    both = pl.concat([metric("A", BUSY), metric("B", CALM)])
    found = from_spans(normal, abnormal, both)
    assert found["service"][0] == "A"
    assert found["metrics"][0].to_list() == ["CPUUtilization Average"]
    assert from_spans(normal, abnormal, metric("A", BUSY, "Duration"))["service"][0] == "B"  # a symptom
    assert from_spans(normal, abnormal, metric("A", BUSY[-4:]))["service"][0] == "B"  # too few
    assert from_spans(normal, abnormal, metric("A", [95.0, *BUSY[:-1]]))["service"][0] == "B"  # earlier
    assert from_spans(normal, pairs(tag="x"), both).is_empty()
    points = pl.concat([
        metric("A", BUSY).select("timestamp", "value", series=pl.lit("pods|cpu|pod=A-5c9-x2|Average")),
        metric("B", CALM).select("timestamp", "value", series=pl.lit("pods|cpu|pod=B-77-k|Average")),
    ]).select("series", "timestamp", "value")  # fmt: skip
    assert from_spans(normal, abnormal, points)["service"][0] == "A"


def test_a_callee_that_is_slow_for_everybody_and_a_caller_that_is_slow_in_everything():
    def hub(gaps):  # A calls B, C and D; E calls B
        out = []
        for i in range(25):
            out += [span(f"{i}", "r", None, "A", "do", 0, 400.0), span(f"e{i}", "r", None, "E", "do", 0, 400.0)]
            for k, (caller, to) in enumerate(["AB", "AC", "AD", "EB"]):
                t = f"{i}" if caller == "A" else f"e{i}"
                out.append(span(t, f"c{k}", "r", caller, f"ask {to}", 100 * k, 10 + gaps.get(caller + to, 2.0)))
                out.append(span(t, f"s{k}", f"c{k}", to, "answer", 100 * k + 1, 10.0))
        return frame(out)

    slow = dict.fromkeys(("AB", "AC", "AD"), 60.0)
    assert from_spans(hub({}), hub(slow))["service"].to_list() == ["A"]
    assert from_spans(hub({}), hub({"AB": 60.0, "EB": 60.0}))["service"].to_list() == ["B"]
    assert from_spans(hub({}), hub({"AC": 60.0}))["service"].to_list() == ["C"]


def test_calls_that_are_repeated_or_never_answered_belong_to_the_one_that_was_called():
    lost = pairs(gap=300.0, tag="x").filter(pl.col("span_id") != "s")
    found = from_spans(pairs(), lost)
    assert found["service"][0] == "B"
    twice = pairs(gap=14.0, tag="x")
    again = twice.filter(pl.col("span_id") == "s").with_columns(
        span_id=pl.lit("s2"), start=pl.col("start") + timedelta(milliseconds=12)
    )
    reduced = span_changes._reduced(pl.concat([twice, again]))
    assert set(reduced.filter(pl.col("operation") == "ask").select("server", "ms").rows()) == {("B", 4.0)}


def test_a_failure_counts_where_it_began_and_explains_who_gave_up():
    def traces(bad):
        out = []
        for i in range(30):
            f = bad and i % 2 == 0
            out += [
                span(f"{i}", "r", None, "A", "do", 100 * i, 50.0, fault=f),
                span(f"{i}", "c", "r", "A", "ask", 100 * i + 1, 12.0, fault=f),
                span(f"{i}", "s", "c", "B", "answer", 100 * i + 2, 10.0, fault=f),
            ]
            if not f:
                out += [span(f"{i}", "n", "r", "A", "note", 100 * i + 20, 5.0)]
        return frame(out)

    found = from_spans(traces(False), traces(True))
    assert found.select("service", "kind", "where").rows() == [("B", "failing", "B answer")]
    assert found["share"][0] == pytest.approx(0.5, abs=0.05)
    silent = traces(True).with_columns(fault=pl.lit(False))  # without flags only the caller shows anything
    assert from_spans(traces(False), silent)["service"].to_list() == ["A"]


def test_a_dependency_without_spans_is_named_as_its_peer():
    def asks(ms):
        peer = '{"peer.service": "orders", "peer.type": "database"}'
        return frame([
            one
            for i in range(20)
            for one in (
                span(f"{i}", "r", None, f"s{i % 2}", "do", 0, 20 + ms),
                span(f"{i}", "q", "r", f"s{i % 2}", "Query", 5, ms, "client", attributes=peer),
            )
        ])  # fmt: skip

    assert from_spans(asks(5.0), asks(90.0))["service"][0] == "orders"


def test_requests_cut_by_the_end_of_the_window_do_not_count():
    normal = pairs(60)
    late = pairs(60).with_columns(duration_ms=pl.when(pl.col("span_id") == "r").then(1e6).otherwise("duration_ms"))
    late = late.filter((pl.col("span_id") == "r") | (pl.col("trace_id").cast(pl.Int64) < 30))
    assert not changes(normal, late).found["kind"].is_in(["cut short"]).any()


# ---- slow twins -----------------------------------------------------------------------------------------------------

TIMES = st.lists(st.floats(0, 1e4).map(lambda x: round(x, 3)), min_size=1, max_size=30)


@given(TIMES, TIMES, st.floats(0, 100))
def test_distance_is_what_counting_gives(normal, abnormal, least):
    best = 0.0
    for x in normal:
        bar = max(3.0 * x, x + least)
        usual = sum(y <= x for y in normal) / len(normal)
        best = max(best, usual - sum(y <= bar for y in abnormal) / len(abnormal))
    share, bar = span_changes._distance(np.array(normal), np.array(abnormal), least)
    assert share == pytest.approx(best)
    assert bar >= least + min(normal) - 1e-6


@given(TIMES, st.integers(2, 9))
def test_nothing_is_slower_than_three_times_itself(normal, some):
    assert span_changes._distance(np.array(normal), np.array(normal) * 3, 0.0)[0] == 0
    assert (
        span_changes._beyond(np.array(normal), np.array(normal), 0.0)[0] == 0
        or max(normal) > 3 * sorted(normal)[-some:][0]
    )


@pytest.mark.parametrize(("n", "m"), [(5, 5), (6, 5), (5, 7)])
def test_precedence_is_what_all_arrangements_give(n, m, monkeypatch):
    monkeypatch.setattr(span_changes, "_TIMES", 1.0)
    arrangements = list(itertools.combinations(range(n + m), m))
    counts = []
    for abnormal in arrangements:
        a = np.array(abnormal, float)
        counts.append(span_changes._beyond(np.setdiff1d(np.arange(n + m), a).astype(float), a, 0.0)[0])
    for k in range(1, m + 1):
        exact = np.mean(np.array(counts) >= k)
        assert stats.hypergeom.sf(k - 1, n + m, k, m) == pytest.approx(exact)


@pytest.mark.parametrize("tail", ["lognormal", "pareto", "exponential"])
def test_p_values_promise_no_more_than_they_keep(tail):
    rng = np.random.default_rng(3)
    draw = {
        "lognormal": lambda n: rng.lognormal(2, 1.5, n),
        "pareto": lambda n: 1 / (1 - rng.random(n)),  # as heavy as 1/x: its mean is infinite
        "exponential": lambda n: rng.exponential(10, n),
    }[tail]
    rows = []
    for _ in range(4000):
        n, m = rng.integers(5, 40, 2)
        a, b = draw(n), draw(m)
        rows.append((n, m, span_changes._distance(a, b, 0.0)[0], a, b))
    found = pl.DataFrame(rows, schema=["n", "m", "share", "normal_worst", "abnormal_worst"], orient="row")
    p = span_changes._p(found, pl.Series([0.0] * len(found)))
    assert p.is_between(0, 1).all()
    for level in (0.1, 0.03, 0.01):
        assert (p <= level).mean() <= level


def test_own_time_is_that_of_the_tree():
    spans = System(5).spans(1, traces=30)
    reduced, whole = span_changes._reduced(spans), tree(spans)
    calls = reduced["server"].is_not_null() & (whole["children"] > 0)
    assert reduced.filter(~calls)["ms"].to_list() == pytest.approx(whole.filter(~calls)["self_ms"].to_list())
    child = spans.select("trace_id", span_id="parent_id", below="duration_ms")
    gaps = spans.with_columns(ms=reduced["ms"]).filter(calls).join(child, on=["trace_id", "span_id"], validate="1:m")
    assert len(gaps) == calls.sum()
    assert (gaps["duration_ms"] - gaps["below"] - gaps["ms"]).abs().max() < 1e-5


def test_clocks_that_differ_change_nothing():
    system = System(2)
    normal, abnormal = system.spans(1), system.spans(2, fault="network", at=3)
    skew = pl.col("service").str.tail(1).cast(pl.Int64) * timedelta(seconds=40)
    told, again = from_spans(normal, abnormal), from_spans(normal, abnormal.with_columns(start=pl.col("start") + skew))
    assert told["service"][0] == again["service"][0] == "s3"


# ---- whatever state they come in ------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_broken_traces_are_answered(seed):
    rng = np.random.default_rng(seed)
    spans = System(seed % 5).spans(1, traces=20)
    n = len(spans)
    pick = lambda share: pl.Series(rng.random(n) < share)  # noqa: E731
    broken = spans.with_columns(
        duration_ms=pl.when(pick(0.1)).then(None).when(pick(0.05)).then(-5.0).when(pick(0.05)).then(float("nan")).otherwise("duration_ms"),
        parent_id=pl.when(pick(0.1)).then(pl.Series(rng.integers(0, n, n)).cast(pl.String)).otherwise("parent_id"),
        service=pl.when(pick(0.05)).then(None).otherwise("service"), operation=pl.when(pick(0.05)).then(None).otherwise("operation"),
        fault=pl.when(pick(0.1)).then(None).otherwise("fault"), kind=pl.when(pick(0.3)).then(None).otherwise("kind"),
    )  # fmt: skip
    kept = broken.clone()
    found = from_spans(spans, pl.concat([broken, broken.head(10)]))
    assert found.columns[:2] == ["service", "score"]
    assert found["score"].is_between(0, 1 + 1e-9).all()
    assert found["service"].null_count() == 0
    assert broken.equals(kept)


def test_a_chain_of_ten_thousand_spans():
    n = 10_000
    rows = [span("t", f"{i}", f"{i - 1}" if i else None, f"s{i % 7}", "do", i, 2.0 * (n - i)) for i in range(n)]
    assert from_spans(frame(rows), frame(rows)).is_empty()


def test_pandas_in_pandas_out():
    pandas = pytest.importorskip("pandas")
    found = from_spans(pairs().to_pandas(), pairs(gap=100.0).to_pandas(), metric("A", BUSY).to_pandas())
    assert isinstance(found, pandas.DataFrame)
    assert found["service"][0] == "A"


def test_what_cannot_be_compared_is_refused():
    spans = pairs()
    with pytest.raises(InputError, match="normal_spans needs spans to compare; it has none"):
        from_spans(spans.head(0), spans)
    with pytest.raises(InputError, match="abnormal_spans needs spans to compare; it has none"):
        from_spans(spans, spans.head(0))
    with pytest.raises(InputError, match="operations in common; one has those of A, B, the other of C, D"):
        from_spans(spans, pairs(way="CD"))
    with pytest.raises(InputError, match="no time zone"):
        from_spans(spans.with_columns(pl.col("start").dt.replace_time_zone(None)), spans)
    with pytest.raises(InputError, match="missing: service"):
        from_spans(spans, spans.drop("service"))
    with pytest.raises(InputError, match="points needs the columns"):
        from_spans(spans, pairs(gap=100.0), pl.DataFrame({"x": [1]}))
    with pytest.raises(InputError, match="metrics needs the columns service, metric, timestamp, value; missing: value"):
        from_spans(spans, pairs(gap=100.0), metric("A", CALM).drop("value"))


def test_few_traces_are_no_evidence():
    assert from_spans(pairs(4), pairs(4, gap=1000.0)).is_empty()
    assert not from_spans(pairs(12), pairs(12, gap=1000.0)).is_empty()


def test_blame_is_divided_and_none_of_it_lost():
    system = System(0)
    found = changes(system.spans(1), system.spans(2, fault="network", at=2))
    blame = causes_spans._blame(found, {})
    assert blame["blame"].sum() == pytest.approx(found.found["weight"].sum())
    assert (blame["blame"] >= 0).all()
    assert causes_spans._blame(changes(pairs(), pairs(tag="x")), {}).is_empty()


# ---- faults that were real ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not benchmark.folder().is_dir(), reason=f"no data at {benchmark.folder()}")
def test_faults_of_nezha():
    nezha = benchmark.Nezha(benchmark.folder())
    told = benchmark.answers(nezha, lambda at: nezha.quiet_day)
    assert len(told) == 20
    assert sum(one["right"] for one in told) / len(told) >= 0.85
    quiet = list(nezha.quiet.values())
    assert np.mean(benchmark.silent(quiet[:3], quiet)) >= 0.9
