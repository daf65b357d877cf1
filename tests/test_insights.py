"""Questions to Logs Insights: complete, in order, typed, stopped when nobody waits, and with their price known."""

import itertools
import os
import re
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.aws.calls import IncompleteError
from lift_insights.aws.ledger import BudgetError, Ledger
from lift_insights.frames import InputError
from lift_insights.sources import insights, logs

NOW = datetime(2026, 3, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)
GROUP = "/shop/orders"


def at(ms: int) -> datetime:
    return NOW + timedelta(milliseconds=ms)


# --- what kind of question is it?


@pytest.mark.parametrize(
    ("text", "splits", "limited", "keys", "shown"),
    [
        ("fields a", True, False, [("@timestamp", True)], ["a"]),
        ("  FIELDS a, b as c\n|\nfilter x = 1", True, False, [("@timestamp", True)], ["a", "c"]),
        ("filter a = 1", True, False, [("@timestamp", True)], ["@timestamp", "@message"]),
        ("fields a, b | display b", True, False, [("@timestamp", True)], ["b"]),
        ("fields a | sort @timestamp asc", True, False, [("@timestamp", False)], ["a"]),
        ("fields a | sort @timestamp", True, False, [("@timestamp", False)], ["a"]),
        ("fields a | sort a desc, `b c` asc", True, False, [("a", True), ("b c", False)], ["a"]),
        ("fields concat(a, ',', b) as ab, c", True, False, [("@timestamp", True)], ["ab", "c"]),
        ("fields a | sort strlen(a)", False, False, [], ["a"]),
        ("fields a | sort a | sort b", False, False, [], ["a"]),
        ("fields a | limit 20", False, 20, [("@timestamp", True)], ["a"]),
        ("stats count(*)", False, False, [("@timestamp", True)], ["count(*)"]),
        ("fields a | dedup a", False, False, [("@timestamp", True)], ["a"]),
        ("pattern @message", False, False, [("@timestamp", True)], []),
        ("fields a | something new", False, False, [("@timestamp", True)], []),
        ("fields a | filter m like /x|stats y/", True, False, [("@timestamp", True)], ["a"]),
        ("fields a | filter m like 'x|stats' and n = \"|limit 5\"", True, False, [("@timestamp", True)], ["a"]),
        ("fields a # | stats count(*)\n| filter b = 1", True, False, [("@timestamp", True)], ["a"]),
        ("parse @message /(?<a>x|stats)/ | fields a", True, False, [("@timestamp", True)], ["a"]),
        ("fields a / b as c | stats max(c) | fields d / e", False, False, [("@timestamp", True)], ["max(c)", "d / e"]),
        ("filter(n>1)", True, False, [("@timestamp", True)], ["@timestamp", "@message"]),
        ("fields\ta|\tlimit\t5", False, 5, [("@timestamp", True)], ["a"]),
        ("parse /(?<x>a|limit 5)/", True, False, [("@timestamp", True)], ["@timestamp", "@message", "x"]),
        ("parse coalesce(a, b) /(?<z>x|y)/", True, False, [("@timestamp", True)], ["@timestamp", "@message", "z"]),
        (
            "parse @message 'a | b *, *' as x, `y z`",
            True,
            False,
            [("@timestamp", True)],
            ["@timestamp", "@message", "x", "y z"],
        ),
        ("fields a, n as `a b` | parse m '*' as c", True, False, [("@timestamp", True)], ["a", "a b", "c"]),
        ("unnest items into item | fields item.id", True, False, [("@timestamp", True)], ["item", "item.id"]),
        (
            "stats max(a) as most, count(*) by bin(5m) as slot, b",
            False,
            False,
            [("@timestamp", True)],
            ["slot", "b", "most", "count(*)"],
        ),
        ("fields concat('x as y') | dedup a", False, False, [("@timestamp", True)], ["concat('x as y')"]),
        ("filterIndex a = 1 | fields b", True, False, [("@timestamp", True)], ["b"]),
    ],
)
def test_forms(text, splits, limited, keys, shown):
    found = insights.form(text)
    assert (found.splits, found.limited, list(found.keys), list(found.shown)) == (splits, limited, keys, shown)


def test_queries_that_cannot_be_asked_are_refused():
    for text, says in ((None, "it is None"), (5, "it is 5"), ("", "at least one command"), (" | ", "at least one command"), ("# only", "at least one"), ("x" * 9901, "9,901"), ("SOURCE logGroups() | fields a", "SOURCE")):  # fmt: skip
        with pytest.raises(InputError, match=says):
            insights.form(text)


# --- a client that gives at most so many rows


class Few:
    """Logs Insights with a limit on rows, over events (ms after `NOW`, group, number): what AWS documents, and no more."""

    def __init__(self, events, cap: int, *, lie: float = 1.0, statuses=(), page: int = 7):
        self.events, self.cap, self.lie, self.page = events, cap, lie, page
        self.statuses = iter(statuses)
        self.answers, self.asked, self.stopped, self.running, self.most = {}, [], [], 0, 0
        self.lock, self.count = threading.Lock(), itertools.count()

    def start_query(self, *, logGroupNames, startTime, endTime, queryString, limit):
        low, high = map(int, re.search(r"toMillis\(@timestamp\) >= (\d+) and toMillis\(@timestamp\) < (\d+)", queryString).groups())  # fmt: skip
        zero = int(NOW.timestamp() * 1000)
        assert startTime * 1000 <= low < high <= endTime * 1000
        assert len(logGroupNames) <= 50
        found = [(zero + ms, group, n) for ms, group, n in self.events if group in logGroupNames and low <= zero + ms < high]  # fmt: skip
        ascending = "sort @timestamp asc" in queryString
        found.sort(key=lambda e: e[0], reverse=not ascending)
        if "sort n" in queryString:
            found.sort(key=lambda e: e[2], reverse="sort n desc" in queryString)
        with self.lock:
            name = str(next(self.count))
            self.asked.append((low, high, tuple(logGroupNames)))
            self.running += 1
            self.most = max(self.most, self.running)
        timed = re.search(r"fields [^|]*@timestamp(?! as)", queryString)
        key = re.search(r"(@timestamp|n) as (\w+)", queryString)
        rows = [[{"field": "@timestamp", "value": stamp(ms)}] * bool(timed) + [{"field": key[2], "value": stamp(ms) if key[1] == "@timestamp" else str(n)} for _ in range(1) if key] + [{"field": "n", "value": str(n)}, {"field": "@ptr", "value": "p"}] for ms, _, n in found[: min(limit, self.cap)]]  # fmt: skip
        self.answers[name] = (next(self.statuses, "Complete"), rows, len(found) * self.lie)
        return {"queryId": name}

    def get_query_results(self, queryId, nextToken=None):
        status, rows, matched = self.answers[queryId]
        first = int(nextToken or 0)
        if not nextToken:
            with self.lock:
                self.running -= 1
        if status != "Complete":
            return {"status": status, "results": []}
        more = {"nextToken": str(first + self.page)} if first + self.page < len(rows) else {}
        return {"status": status, "results": rows[first : first + self.page], "statistics": {"recordsMatched": matched}} | more  # fmt: skip

    def stop_query(self, queryId):
        self.stopped.append(queryId)


def stamp(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def session_of(client, **more) -> SimpleNamespace:
    return SimpleNamespace(client=lambda _: client, ledger=Ledger(), region="us-east-1", now=lambda: NOW, **more)


def truth(events, low: int, high: int, groups, order) -> list[int]:
    found = sorted((e for e in events if e[1] in groups and low <= e[0] < high), key=lambda e: e[0], reverse=order != "sort @timestamp asc")  # fmt: skip
    if order.startswith("sort n"):
        found.sort(key=lambda e: e[2], reverse=order.endswith("desc"))
    return [n for _, _, n in found]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.sampled_from(["a", "b"])), max_size=60, unique_by=lambda e: e[0]),
    st.integers(2, 12), st.sampled_from([0.0, 0.3, 1.0, 5.0]), st.integers(0, 20_000), st.integers(20_001, 41_000),
    st.sampled_from(["", "sort @timestamp asc", "sort n desc", "sort n asc"]), st.booleans(),
)  # fmt: skip
def test_divided_windows_give_all_rows_in_order(places, cap, lie, low, high, order, timed):
    """Whatever the number of matches claims, the rows decide; a brute-force reading says which they are."""
    events = [(ms, group, n * 37 % 1009) for n, (ms, group) in enumerate(places)]
    client = Few(events, cap, lie=lie)
    text = ("fields @timestamp, n" if timed else "fields n") + (f" | {order}" if order else "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(insights, "MOST_ROWS", cap)
        whole = truth(events, low, high, "ab", order)
        found = logs.query(session_of(client), ["a", "b"], text, at(low), at(high))
    assert found["n"].to_list() == whole  # no millisecond holds more than one event, so that nothing is missing
    assert found.columns == (["@timestamp", "n"] if timed else ["n"])


def test_the_number_of_queries_follows_the_hint():
    events = [(i * 10, "a", i) for i in range(5000)]
    client = Few(events, 150, page=1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(insights, "MOST_ROWS", 150)
        found = logs.query(session_of(client), "a", "fields @timestamp, n", at(0), at(50_000))
    assert found["n"].to_list() == list(range(5000))[::-1]
    assert len(client.asked) <= 1 + 2 * 50  # fifty seconds, each with two thirds of a full answer
    assert client.most <= insights.AT_ONCE


def test_an_aggregation_is_one_query_and_a_full_one_is_told():
    client = Few([(i, "a", i) for i in range(20)], 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(insights, "MOST_ROWS", 10)
        with pytest.raises(IncompleteError, match="more than 10 rows") as caught:
            logs.query(session_of(client), "a", "stats count(*) by n", at(0), at(30_000))
    assert len(client.asked) == 1
    assert len(caught.value.partial) == 10
    assert caught.value.missing.select("start", "end").row(0) == (at(0), at(30_000))


def test_a_limit_is_what_was_asked_for():
    client = Few([(i * 100, "a", i) for i in range(20)], 1000)
    session = session_of(client)
    assert logs.query(session, "a", "fields n", at(0), at(30_000), limit=3)["n"].to_list() == [19, 18, 17]
    assert len(client.asked) == 1
    for limit, says in ((0, "from 1"), (-1, "from 1"), (1.5, "whole number"), (True, "whole number")):
        with pytest.raises(InputError, match=says):
            logs.query(session, "a", "fields n", at(0), at(1), limit=limit)
    with pytest.raises(InputError, match="at most 100,000"):
        logs.query(session, "a", "stats count(*) by n", at(0), at(1), limit=100_001)


def test_more_than_fifty_groups():
    groups = [f"g{i}" for i in range(120)]
    events = [(i * 7 % 1000, f"g{i}", i) for i in range(120)]
    client = Few(events, 1000)
    found = logs.query(session_of(client), groups, "fields n", at(0), at(1000))
    assert found["n"].to_list() == truth(events, 0, 1000, groups, "")
    assert found.columns == ["n"]
    assert sorted(len(g) for _, _, g in client.asked) == [20, 50, 50]
    first = logs.query(session_of(client), groups, "fields n", at(0), at(1000), limit=4)
    assert first.equals(found.head(4))
    with pytest.raises(InputError, match="at most 50 log groups; there are 120"):
        logs.query(session_of(client), groups, "stats count(*)", at(0), at(1000))


# --- how a query ends


@pytest.mark.parametrize("status", ["Failed", "Cancelled", "Timeout", "Unknown"])
def test_a_query_that_does_not_complete_is_an_error(status):
    client = Few([], 10, statuses=[status])
    with pytest.raises(insights.QueryError, match=f"ended the query as {status}") as caught:
        logs.query(session_of(client), "g", "stats count(*)", at(0), at(1000))
    assert caught.value.status == status
    assert len(client.asked) == 1
    assert client.stopped == ["0"]
    assert isinstance(caught.value, RuntimeError)


def test_a_query_that_takes_too_long_is_asked_in_halves():
    client = Few([(i * 100, "a", i) for i in range(50)], 1000, statuses=["Timeout", "Complete", "Timeout"])
    found = logs.query(session_of(client), "a", "fields n", at(0), at(5000))
    assert found["n"].to_list() == list(range(50))[::-1]
    assert len(client.asked) == 1 + 2 + 2


def test_a_query_that_always_takes_too_long_is_given_up():
    client = Few([(i * 100, "a", i) for i in range(50)], 1000, statuses=itertools.repeat("Timeout"))
    with pytest.raises(insights.QueryError, match="Timeout: it ran for longer than 60 minutes"):
        logs.query(session_of(client), "a", "fields n", at(0), at(86_400_000))
    assert len(client.asked) == 1 + 2 + 4 + 8 + 16


def test_what_failed_among_the_parts_is_told_with_what_did_not():
    client = Few([(i * 100, "a", i) for i in range(50)], 1000, statuses=["Timeout", "Complete", "Failed"])
    with pytest.raises(IncompleteError, match="1 part of the answer could not be read") as caught:
        logs.query(session_of(client), "a", "fields n", at(0), at(4000))
    start, end = caught.value.missing.select("start", "end").row(0)
    here = [n for _, _, n in [(i * 100, "a", i) for i in range(40)] if not start <= at(n * 100) < end]
    assert caught.value.partial["n"].to_list() == here[::-1]
    assert caught.value.missing["reason"].item().startswith("Logs Insights ended the query as Failed")


@pytest.mark.parametrize("parts", [1, 8])
def test_ctrl_c_stops_all_queries_at_aws(parts, monkeypatch):
    """The first query of eight parts is answered, and cut; then all hands are busy when the interrupt comes."""
    client = Few([(i * 100, "a", i) for i in range(800)], 40)
    complete, interrupted = client.get_query_results, threading.Event()

    def results(queryId, nextToken=None):
        if parts > 1 and queryId == "0":
            return complete(queryId, nextToken)
        if len(client.asked) > parts - 1 and not interrupted.is_set():
            interrupted.set()
            time.sleep(0.2)  # the caller is waiting by now
            os.kill(os.getpid(), signal.SIGINT)
        return {"status": "Running", "results": []}

    client.get_query_results = results
    monkeypatch.setattr(insights, "MOST_ROWS", 40)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            logs.query(session_of(client), "a", "fields n", at(0), at(80_000))
    finally:
        signal.signal(signal.SIGINT, before)
    began = time.monotonic()
    while len(client.stopped) < len(client.asked) - (parts > 1) and time.monotonic() < began + 5:
        time.sleep(0.02)
    assert sorted(client.stopped, key=int) == [str(i) for i in range(parts > 1, len(client.asked))]
    assert len(client.asked) >= parts


def test_all_slots_taken_is_waited_for(monkeypatch):
    client, begun = Few([(1, "a", 1)], 10), []
    ask = client.start_query
    full = ClientError({"Error": {"Code": "LimitExceededException", "Message": "100"}}, "StartQuery")

    def start(**asked):
        begun.append(1)
        if len(begun) < 3:
            raise full
        return ask(**asked)

    client.start_query = start
    monkeypatch.setattr(insights._Asking, "pause", lambda self, seconds: None)
    assert logs.query(session_of(client), "a", "fields n", at(0), at(5))["n"].to_list() == [1]
    assert len(begun) == 3
    begun.clear()
    monkeypatch.setattr(insights, "PATIENCE_S", -1)
    with pytest.raises(ClientError, match="LimitExceeded"):
        logs.query(session_of(client), "a", "fields n", at(0), at(5))


# --- on the local AWS


@pytest.fixture(scope="module")
def shop():
    """Two groups of events at known milliseconds."""
    moments = [i * 997 for i in range(3000)]
    frame = pl.DataFrame({
        "log_group": [GROUP if i % 3 else "/shop/stock" for i in range(3000)], "log_stream": ["s"] * 3000,
        "timestamp": [NOW - HOUR + timedelta(milliseconds=ms) for ms in moments],
        "message": [f'{{"level":"INFO","message":"m{i}","n":{i},"id":"{i:05}","big":{10**20 + i},"ok":{str(i % 2 == 0).lower()},"share":{i / 8}}}' for i in range(3000)],
    })  # fmt: skip
    times = pl.DataFrame(schema={"timestamp": pl.Datetime("us", "UTC")})
    telemetry = SimpleNamespace(
        logs=frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC"))), end=NOW, metrics=None, traces=None
    )
    with sandbox.local(None, clock=NOW) as session:
        put(session, telemetry.logs)
        yield SimpleNamespace(session=session, logs=telemetry.logs, times=times)


def put(session, frame: pl.DataFrame) -> None:
    from lift_insights.publish import logs as places

    client = session.client("logs")
    for (group, stream), rows in frame.group_by("log_group", "log_stream", maintain_order=True):
        places.create_group(session, group)
        places.create_stream(session, group, stream)
        records = [{"timestamp": int(t.timestamp() * 1000), "message": m} for t, m in rows.select("timestamp", "message").iter_rows()]  # fmt: skip
        for i in range(0, len(records), 1000):
            client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=records[i : i + 1000])


@pytest.mark.parametrize("cap", [100_000, 250])
def test_rows_are_those_that_were_put(shop, cap, monkeypatch):
    monkeypatch.setattr(insights, "MOST_ROWS", cap)
    low, high = NOW - HOUR + timedelta(milliseconds=99_700), NOW - HOUR + timedelta(milliseconds=997 * 2000)
    found = logs.query(shop.session, [GROUP, "/shop/stock"], "fields @timestamp, n, id, ok, share", low, high)
    assert found["n"].to_list() == list(range(100, 2000))[::-1]
    assert found["@timestamp"].to_list() == [NOW - HOUR + timedelta(milliseconds=997 * n) for n in found["n"]]
    assert found["id"].to_list() == [f"{n:05}" for n in found["n"]]
    assert found["share"].to_list() == [n / 8 for n in found["n"]]
    assert set(found["ok"]) == {0, 1}
    assert found.dtypes == [pl.Datetime("us", "UTC"), pl.Int64, pl.String, pl.Int64, pl.Float64]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3_000_000), min_size=3, max_size=3, unique=True).map(sorted))
def test_windows_are_half_open_to_the_microsecond_also_in_counts(shop, cuts):
    """Events lie on whole milliseconds: one that a cut falls on belongs to the window that begins there."""
    edges = [NOW - HOUR + timedelta(microseconds=c * 997) for c in cuts]  # a third of them on an event
    counts = []
    for start, end in itertools.pairwise(edges):
        counted = logs.query(shop.session, GROUP, "stats count(*) as n", start, end)
        expected = shop.logs.filter(pl.col("log_group") == GROUP, pl.col("timestamp") >= start, pl.col("timestamp") < end)  # fmt: skip
        counts.append((counted["n"].item() if len(counted) else 0, len(expected)))
    assert all(ours == theirs for ours, theirs in counts)


@pytest.mark.parametrize("order", ["sort id desc", "sort share asc", "sort ok desc, n asc", "sort message asc", "sort missing asc, n desc"])  # fmt: skip
def test_any_sort_survives_division(shop, order, monkeypatch):
    text = f"fields id, n | {order}"
    whole = logs.query(shop.session, GROUP, text, NOW - HOUR, NOW)
    monkeypatch.setattr(insights, "MOST_ROWS", 300)
    assert logs.query(shop.session, GROUP, text, NOW - HOUR, NOW).equals(whole)
    assert whole.columns == ["id", "n"]
    assert len(whole) == 2000


def test_displayed_columns_stay_as_they_are(shop, monkeypatch):
    text = "fields n, id | display id"
    whole = logs.query(shop.session, GROUP, text, NOW - HOUR, NOW)
    monkeypatch.setattr(insights, "MOST_ROWS", 300)
    assert logs.query(shop.session, GROUP, text, NOW - HOUR, NOW).equals(whole)
    assert whole.columns == ["id"]


def test_an_order_that_is_not_known_is_said(monkeypatch):
    form = insights.form("fields a | sort a")
    parts = [pl.DataFrame({"a": ["2", "1"]}), pl.DataFrame({"a": ["0"]})]  # not in any order that is known
    pieces = [(insights._Piece(("g",), i, i + 1), part) for i, part in enumerate(parts)]
    with pytest.warns(UserWarning, match="not in the order of the query's sort"):
        assert insights._together(form, pieces)["a"].to_list() == ["2", "1", "0"]


def test_types_and_an_empty_answer(shop):
    text = "stats count(*) as n, max(share) as most by bin(10m) as slot, ok"
    found = logs.query(shop.session, GROUP, text, NOW - HOUR, NOW)
    assert found.schema["slot"] == pl.Datetime("us", "UTC")
    assert found.schema["n"] == pl.Int64
    assert found["n"].sum() == 2000
    assert logs.query(shop.session, GROUP, "filter level = 'NEVER'", NOW - HOUR, NOW).is_empty()


def test_a_malformed_query_is_told_with_its_place(shop):
    for text, here in (
        ("fields @timestamp | stats banana", "stats ⟪here⟫banana"),
        ("fields n | filter n ~ 5", "⟪here⟫~ 5"),
        ("filterIndex n = 1 | banana 5", "⟪here⟫banana 5"),
    ):
        with pytest.raises(InputError, match="does not understand the query at character") as caught:
            logs.query(shop.session, GROUP, text, NOW - HOUR, NOW)
        assert here in str(caught.value)


def test_unknown_groups_are_named(shop):
    with pytest.raises(InputError, match=r"/shop/order does not exist in us-east-1; did you mean /shop/orders"):
        logs.query(shop.session, [GROUP, "/shop/order"], "fields n", NOW - HOUR, NOW)
    for groups in ([], "", ["a", None]):
        with pytest.raises(InputError, match="groups needs the name"):
            logs.query(shop.session, groups, "fields n", NOW - HOUR, NOW)
    with pytest.raises(InputError, match="no time zone"):
        logs.query(shop.session, GROUP, "fields n", datetime(2026, 3, 15), NOW)  # noqa: DTZ001
    with pytest.raises(InputError, match="start before its end"):
        logs.query(shop.session, GROUP, "fields n", NOW, NOW - HOUR)


def test_faults_change_nothing(shop):
    faults = [
        sandbox.Fault(status=400, code="ThrottlingException", rate=0.1), sandbox.Fault(status=503, code="ServiceUnavailable", rate=0.05),
        sandbox.Fault(cut=True, rate=0.05),
    ]  # fmt: skip
    with sandbox.local(None, clock=NOW, faults=faults, seed=5) as session, pytest.MonkeyPatch.context() as patch:
        put(session, shop.logs)
        patch.setattr(insights, "MOST_ROWS", 250)
        found = logs.query(session, GROUP, "fields @timestamp, n", NOW - HOUR, NOW)
        assert session.ledger.frame()["retries"].sum() > 0
    assert found["n"].to_list() == [n for n in range(3000) if n % 3][::-1]


def test_a_plan_costs_no_scan_and_a_budget_stops_before_it(shop):
    from lift_insights.aws.session import local

    session = local(shop.session.endpoint_url, clock=NOW, budget_usd=0.00002)
    plan = logs.query(session, GROUP, "fields n", NOW - HOUR, NOW, dry_run=True)
    assert plan["operation"].to_list() == ["GetMetricData", "StartQuery", "GetQueryResults"]
    assert "StartQuery" not in session.ledger.frame()["operation"]
    stored = shop.logs.filter(log_group=GROUP)["message"].str.len_bytes().sum() + 26 * 2000
    assert plan["quantity"][-1] == pytest.approx(stored, rel=0.1)
    assert plan["cost_usd"][-1] == pytest.approx(plan["quantity"][-1] * 0.005 / 1e9)
    rich = local(shop.session.endpoint_url, clock=NOW, budget_usd=1.0)
    assert len(logs.query(rich, GROUP, "fields n", NOW - HOUR, NOW)) == 2000
    spent = rich.ledger.frame().filter(operation="GetQueryResults")["cost_usd"].sum()
    assert spent == pytest.approx(plan["cost_usd"][-1], rel=0.15)
    poor = local(shop.session.endpoint_url, clock=NOW, budget_usd=1e-5 + spent / 2)
    with pytest.raises(BudgetError, match="over the budget"):
        logs.query(poor, GROUP, "fields n", NOW - HOUR, NOW)
    assert "StartQuery" not in poor.ledger.frame()["operation"]


def test_sessions_in_a_list_are_told_apart(shop):
    other = shop.session.at("eu-west-1")
    put(other, shop.logs.head(30))
    found = logs.query([shop.session, other], GROUP, "stats count(*) as n", NOW - HOUR, NOW)
    assert found.select("n", "region").rows() == [(2000, "us-east-1"), (20, "eu-west-1")]
    assert set(found["account"]) == {"123456789012"}
    assert logs.groups([shop.session, other]).select("log_group", "region").rows() == [
        ("/shop/orders", "us-east-1"), ("/shop/orders", "eu-west-1"), ("/shop/stock", "us-east-1"), ("/shop/stock", "eu-west-1")
    ]  # fmt: skip


def test_credentials_that_end_in_the_middle_leave_the_rest(shop, monkeypatch):
    monkeypatch.setattr(insights, "MOST_ROWS", 250)
    gone = sandbox.Fault("logs", "StartQuery", 400, "ExpiredTokenException", after=14)
    with sandbox.local(None, clock=NOW, faults=[gone]) as session:
        put(session, shop.logs)
        with pytest.raises(IncompleteError, match="ExpiredToken") as caught:
            logs.query(session, GROUP, "fields n", NOW - HOUR, NOW)
    partial, missing = caught.value.partial["n"].to_list(), caught.value.missing
    lost = [n for n in range(3000) if n % 3 and any(a <= NOW - HOUR + timedelta(milliseconds=997 * n) < b for a, b in missing.select("start", "end").iter_rows())]  # fmt: skip
    assert sorted(partial + lost) == [n for n in range(3000) if n % 3]
    assert partial


# --- parts make up the whole, columns included

PARTS = (
    "parse @message '\"n\":*,' as num", "parse @message /\"id\":\"(?<code>\\d+)\"/", "filter n >= 100", "fields n, id", "fields n as `a b`",
    "fields share * 2 as double, ok", "display id, n",
)  # fmt: skip
ORDERS = (
    "", "sort n desc", "sort @timestamp asc", "sort id asc", "sort ok desc, n asc", "sort share desc | fields level", "sort n asc | display n",
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=3, unique=True), st.sampled_from(ORDERS))
def test_a_divided_query_is_the_whole_one(shop, parts, order):
    """What one query gives against what many give that hold at most 300 rows each: values, order and columns."""
    text = " | ".join(filter(None, [*parts, order])) or "fields @message"
    whole = logs.query(shop.session, GROUP, text, NOW - HOUR, NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(insights, "MOST_ROWS", 300)
        divided = logs.query(shop.session, GROUP, text, NOW - HOUR, NOW)
    assert divided.equals(whole)
    assert len(whole) == 2000 - 66 * ("filter n >= 100" in parts)
    assert not any(name.startswith("lift_key") for name in whole.columns)
    assert insights.form(text).shown == tuple(whole.columns)


def test_more_rows_in_a_second_than_insights_gives():
    """The milliseconds of one second are asked for one by one; only a full millisecond of one group is given up."""
    client = Few([(i, "a", i) for i in range(1000)], 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(insights, "MOST_ROWS", 100)
        found = logs.query(session_of(client), "a", "fields n", at(0), at(1000))
        assert found["n"].to_list() == list(range(1000))[::-1]
        client = Few([(5, "a", i) for i in range(150)] + [(6, "a", 150)], 100)
        with pytest.raises(IncompleteError, match="more than 100 rows") as caught:
            logs.query(session_of(client), "a", "fields n | sort n", at(0), at(1000))
    assert caught.value.missing.select("start", "end").row(0) == (at(5), at(6))
    assert len(caught.value.partial) == 101
    assert caught.value.partial.columns == ["n"]


def test_a_part_that_is_missing_leaves_no_key_in_the_rest():
    client = Few([(i, f"g{i}", i) for i in range(60)], 1000, statuses=["Complete", "Failed"])
    with pytest.raises(IncompleteError) as caught:
        logs.query(session_of(client), [f"g{i}" for i in range(60)], "fields n", at(0), at(1000))
    assert caught.value.partial.columns == ["n"]
    assert 0 < len(caught.value.partial) < 60


def test_columns_do_not_depend_on_what_was_found(shop):
    def asked(text, *window):
        return logs.query(shop.session, GROUP, text, *(window or (NOW - HOUR, NOW)))

    nothing = asked("fields @timestamp, nosuch, n | filter n < 0")
    assert nothing.columns == ["@timestamp", "nosuch", "n"]
    assert nothing.schema["@timestamp"] == pl.Datetime("us", "UTC")
    some = asked("fields nosuch, n | limit 2")
    assert some.columns == ["nosuch", "n"]
    assert some["nosuch"].null_count() == 2
    assert asked("filter n < 0 | stats count(*) as c by ok").columns == ["ok", "c"]
    assert "@ptr" not in asked("fields n | limit 1").columns
    assert asked("fields n, @ptr | limit 1").columns == ["n", "@ptr"]
    between = NOW - HOUR + timedelta(microseconds=1), NOW - HOUR + timedelta(microseconds=2)
    assert asked("fields @timestamp", *between).shape == (0, 1)
    assert asked("fields n", NOW + 48 * HOUR, NOW + 49 * HOUR).shape == (0, 1)


def test_an_end_far_ahead_changes_no_number(shop):
    whole = logs.query(shop.session, GROUP, "stats count(*) as n", NOW - HOUR, NOW)["n"].item()
    for end in (datetime.max.replace(tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC), NOW + timedelta(days=400)):
        assert logs.query(shop.session, GROUP, "stats count(*) as n", NOW - HOUR, end)["n"].item() == whole == 2000
    with pytest.raises(InputError, match="from 1970"):
        logs.query(shop.session, GROUP, "fields n", datetime(1960, 1, 1, tzinfo=UTC), NOW)


def test_limit_and_order_hold_for_all_sessions_together(shop):
    other = shop.session.at("ap-south-1")
    put(other, shop.logs.filter(log_group=GROUP).head(30))
    both = [shop.session, other]
    times = logs.query(both, GROUP, "fields @timestamp, n", NOW - HOUR, NOW)
    assert len(times) == 2030
    assert times["@timestamp"].is_sorted(descending=True)
    assert times.columns == ["@timestamp", "n", "account", "region"]
    first = logs.query(both, GROUP, "fields n | sort n asc", NOW - HOUR, NOW, limit=3)
    assert first["n"].to_list() == [1, 1, 2]
    assert first["region"].to_list() == ["us-east-1", "ap-south-1", "us-east-1"]
    assert logs.query(both, GROUP, "fields n | sort n asc | limit 3", NOW - HOUR, NOW).equals(first)
    counts = logs.query(both, GROUP, "stats count(*) as c by ok | sort c desc", NOW - HOUR, NOW, limit=3)
    assert counts["c"].is_sorted(descending=True)
    assert len(counts) == 3


def test_a_column_of_numbers_here_and_text_there_is_text(shop):
    other = shop.session.at("eu-north-1")
    texts = shop.logs.filter(log_group=GROUP).head(2).with_columns(message=pl.Series(['{"n":"x"}', '{"n":1.5}']))
    put(other, texts)
    found = logs.query([shop.session, other], GROUP, "fields n", NOW - HOUR, NOW)
    assert found.schema["n"] == pl.String
    assert {"x", "1.5", "2999"} <= set(found["n"])


def test_a_group_with_the_word_stream_in_its_name_is_a_group(shop):
    from lift_insights.sources.groups import explained

    for name, said, says in (
        (
            "/app/streaming-ap",
            "Log group '/app/streaming-ap' does not exist for account ID '123456789012'",
            "the log group",
        ),
        ("logstream", "The specified log group does not exist.", "the log group"),
        ("/app/streaming", "The specified log stream does not exist.", "a log stream that was named"),
    ):
        refused = ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": said}}, "StartQuery")
        with pytest.raises(InputError, match=f"{says}.* does not exist"), explained(shop.session, [name]):
            raise refused


def test_a_hint_that_may_not_be_had_hides_no_error():
    fault = sandbox.Fault("logs", "DescribeLogGroups", 400, "AccessDeniedException")
    with sandbox.local(None, clock=NOW, faults=[fault]) as session:
        for call in (logs.read, lambda *a: logs.query(session, "nope", "fields n", *a[2:])):
            with pytest.raises(InputError, match="the log group nope does not exist"):
                call(session, "nope", NOW - HOUR, NOW)


def test_a_linked_account_s_group_has_no_price_beforehand(shop):
    from lift_insights.aws.session import local

    far = "arn:aws:logs:us-east-1:999999999999:log-group:far"
    plan = logs.query(shop.session, [far, GROUP], "fields n", NOW - HOUR, NOW, dry_run=True)
    assert plan["certainty"][-1] == "unknown"
    assert plan["quantity"][0] == 1
    rich = local(shop.session.endpoint_url, clock=NOW, budget_usd=1.0)
    with pytest.raises(BudgetError, match="cannot be told beforehand"):
        logs.query(rich, far, "fields n", NOW - HOUR, NOW)
    assert rich.ledger.cost_usd == 0
    assert "StartQuery" not in rich.ledger.frame()["operation"]


def test_a_plan_is_told_when_the_budget_is_used_up(shop):
    from lift_insights.aws.session import local

    poor = local(shop.session.endpoint_url, clock=NOW, budget_usd=1e-9)
    plan = logs.query(poor, GROUP, "fields n", NOW - HOUR, NOW, dry_run=True)
    assert plan["operation"][-1] == "GetQueryResults"
    assert poor.ledger.cost_usd == 0
    with pytest.raises(InputError, match="does not exist"):
        logs.query(
            local(shop.session.endpoint_url, clock=NOW, budget_usd=1.0), "/shop/none", "fields n", NOW - HOUR, NOW
        )


def test_sizes_of_many_groups_are_asked_for_by_the_five_hundred():
    asked = []

    def paginate(**kwargs):
        asked.append(len(kwargs["MetricDataQueries"]))
        return [{"MetricDataResults": [{"Values": [1.0]} for _ in kwargs["MetricDataQueries"]]}]

    client = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=paginate))
    plan = logs.query(
        session_of(client), [f"g{i}" for i in range(1101)], "fields n", at(0), at(3_600_000), dry_run=True
    )
    assert asked == [500, 500, 101]
    assert plan["calls"][0] == 3
    assert plan["quantity"][-1] == 1101
