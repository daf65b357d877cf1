"""Reading log events: all of them, once and in order, in few calls, on a cache, and what is said where some are missing."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.aws.cache import Cache
from lift_insights.aws.calls import IncompleteError
from lift_insights.aws.session import local
from lift_insights.frames import InputError
from lift_insights.sources import logs

NOW = datetime(2026, 3, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZERO = int(NOW.timestamp() * 1000)


def at(ms: int) -> datetime:
    return NOW + timedelta(milliseconds=ms)


# --- a client with tiny pages


class Pages:
    """FilterLogEvents with few events a page, empty pages, and errors: what AWS documents, and no more."""

    def __init__(self, events, size: int = 3, *, empty: int = 0, sorted_by_time: bool = True, fails=()):
        self.events = sorted(events, key=lambda e: e[0]) if sorted_by_time else events
        self.size, self.empty, self.fails = size, empty, set(fails)
        self.calls, self.tokens, self.lock = [], {}, threading.Lock()

    def filter_log_events(self, *, logGroupName, startTime, endTime, nextToken=None, **more):
        with self.lock:
            number = len(self.calls)
            self.calls.append((startTime, endTime, nextToken))
        if number in self.fails:
            raise ClientError({"Error": {"Code": "ServiceUnavailableException", "Message": "later"}}, "FilterLogEvents")
        first, blank = (0, self.empty) if nextToken is None else self.tokens[nextToken]
        if nextToken is not None:
            assert nextToken.startswith(f"{startTime}-{endTime}-")  # a token is good for the request it was given for
        found = [e for e in self.events if startTime <= ZERO + e[0] <= endTime and e[1] == logGroupName]
        page = [] if blank else found[first : first + self.size]
        upto, blank = first + len(page), blank - 1 if blank else self.empty
        out = [{"eventId": f"{n:05}", "timestamp": ZERO + ms, "logStreamName": "s", "message": f"m{n}"} for ms, _, n in page]  # fmt: skip
        if upto >= len(found):
            return {"events": out}
        token = f"{startTime}-{endTime}-{upto}-{blank}"
        self.tokens[token] = (upto, blank)
        return {"events": out, "nextToken": token}


def session_of(client, cache=None, now=NOW + timedelta(days=2)):
    scope = {"account": "1", "region": "r", "endpoint": None}
    return SimpleNamespace(client=lambda _: client, region="r", account="1", scope=scope, cache=cache, now=lambda: now)


def truth(events, low, high, groups=("a", "b")) -> list[tuple[int, str]]:
    found = [e for group in groups for e in events if e[1] == group and low <= e[0] < high]
    return [(ms, f"m{n}") for ms, _, n in sorted(found, key=lambda e: e[0])]


def rows(frame) -> list[tuple[int, str]]:
    return [((t - NOW) // timedelta(milliseconds=1), m) for t, m in frame.select("timestamp", "message").iter_rows()]


moments = st.lists(st.tuples(st.integers(0, 3_600_000) | st.integers(5000, 5050), st.sampled_from(["a", "b"])), max_size=120)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(moments, st.integers(1, 5), st.integers(0, 2), st.integers(0, 6000), st.integers(6001, 3_700_000))
def test_every_event_once_and_in_order(places, size, empty, low, high):
    events = [(ms, group, n) for n, (ms, group) in enumerate(places)]
    client = Pages(events, size, empty=empty)
    assert rows(logs.read(session_of(client), ["a", "b"], at(low), at(high))) == truth(client.events, low, high)


@settings(max_examples=60, deadline=None)
@given(moments.filter(len), st.integers(1, 4), st.randoms())
def test_pages_out_of_order_lose_nothing(places, size, random):
    """AWS promises order; where that is seen to be broken, the stretch is read to its end by one hand."""
    events = [(ms, group, n) for n, (ms, group) in enumerate(places)]
    random.shuffle(events)
    events.sort(key=lambda e: e[0] // 60_000 if e[0] % 2 else -1)
    client = Pages(events, size, sorted_by_time=False)
    client.events = [*client.events[:1], *client.events[1:]]
    first = {g: [e for e in events if e[1] == g][: 2 * size] for g in "ab"}
    if all([e[0] for e in some] == sorted(e[0] for e in some) for some in first.values()):
        return  # the first turn looks ordered: nothing tells that the rest is not
    found = logs.read(session_of(client), ["a", "b"], at(0), at(3_700_000))
    seen = {g for g in "ab" if [e[0] for e in first[g]] != sorted(e[0] for e in first[g])}
    for group in seen:
        assert sorted(rows(found.filter(log_group=group))) == sorted(truth(events, 0, 3_700_000, (group,)))


def test_calls_stay_near_the_least(tmp_path):
    events = [(i * 50, "a", i) for i in range(20_000)]
    for cache in (None, Cache(tmp_path)):
        client = Pages(events, 100)
        assert len(logs.read(session_of(client, cache), "a", at(0), at(1_000_000))) == 20_000
        assert len(client.calls) <= 200 * 1.15


def test_a_burst_is_shared_out_too():
    events = [(i, "a", i) for i in range(5000)] + [(3_000_000 + i, "a", 5000 + i) for i in range(20)]
    client = Pages(events, 50)
    assert len(logs.read(session_of(client), "a", at(0), at(3_600_000))) == 5020
    assert len(client.calls) <= 101 * 1.3


def test_a_call_that_fails_is_taken_up_again():
    events = [(i * 1000, "a", i) for i in range(300)]
    client = Pages(events, 10, fails={1, 3})  # the second page of the first turn, and one later
    client.fails.discard(2)
    found = logs.read(session_of(client), "a", at(0), at(300_000))
    assert rows(found) == truth(events, 0, 300_000)


def test_what_could_not_be_read_is_told_and_read_the_next_time(tmp_path):
    events = [(i * 1000, "a", i) for i in range(3000)]
    cache = Cache(tmp_path)
    client = Pages(events, 10)
    work = client.filter_log_events

    def broken(**asked):
        if asked["startTime"] - ZERO <= 2_000_000 <= asked["endTime"] - ZERO and asked["startTime"] > ZERO:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no more"}}, "FilterLogEvents")
        return work(**asked)

    client.filter_log_events = broken
    with pytest.raises(IncompleteError, match=r"could not be read, the first of a from .*no more") as caught:
        logs.read(session_of(client, cache), "a", at(0), at(3_000_000))
    partial, missing = caught.value.partial, caught.value.missing
    gone = [((a - NOW) // timedelta(milliseconds=1), (b - NOW) // timedelta(milliseconds=1)) for a, b in missing.select("start", "end").iter_rows()]  # fmt: skip
    assert rows(partial) == [r for r in truth(events, 0, 3_000_000) if not any(a <= r[0] < b for a, b in gone)]
    assert 0 < len(partial) < 3000
    assert missing["log_group"].unique().to_list() == ["a"]
    before = len(client.calls)
    client.filter_log_events = work
    assert rows(logs.read(session_of(client, cache), "a", at(0), at(3_000_000))) == truth(events, 0, 3_000_000)
    assert len(client.calls) - before < 300  # only what was missing


def test_ctrl_c_keeps_what_was_read(tmp_path):
    events = [(i * 1000, "a", i) for i in range(3000)]
    client, cache = Pages(events, 10), Cache(tmp_path)
    work = client.filter_log_events

    def slow(**asked):
        if len(client.calls) == 150:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        return work(**asked)

    client.filter_log_events = slow
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            logs.read(session_of(client, cache), "a", at(0), at(3_000_000))
    finally:
        signal.signal(signal.SIGINT, before)
    client.filter_log_events = work
    time.sleep(0.3)  # hands that were under way come to an end
    client.calls.clear()
    assert rows(logs.read(session_of(client, cache), "a", at(0), at(3_000_000))) == truth(events, 0, 3_000_000)
    assert len(client.calls) < 250


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 60)), min_size=1, max_size=4), st.integers(10, 100))
def test_windows_on_a_cache_are_those_without(tmp_path_factory, spans, now_min):
    """Whatever was read before, a window is what a reading without a cache gives; what is finished is asked for once."""
    events = [(i * 7919 % 9_000_000, "a", i) for i in range(400)]
    cache = Cache(tmp_path_factory.mktemp("cache"))
    client, now = Pages(events, 20), at(now_min * 60_000)
    for start, length in spans:
        low, high = start * 60_000 + 1, (start + length) * 60_000
        found = logs.read(session_of(client, cache, now + logs.SETTLES), "a", at(low), at(high))
        assert rows(found) == truth(client.events, low, high)
        before = len(client.calls)
        again = logs.read(session_of(client, cache, now + logs.SETTLES), "a", at(low), at(high))
        assert again.equals(found)
        settled = now_min * 60_000
        assert all(ZERO + settled <= start for start, _, _ in client.calls[before:])
        assert (len(client.calls) > before) == (high > settled)


def test_questions_do_not_answer_each_other(tmp_path):
    client, cache = Pages([(1, "a", 1), (2, "b", 2)]), Cache(tmp_path)
    session = session_of(client, cache)
    for asked in ({"groups": "a"}, {"groups": "b"}, {"groups": "a", "pattern": "x"}, {"groups": "a", "streams": ["s"]}):
        before = len(client.calls)
        logs.read(session, start=at(0), end=at(10), **asked)
        assert len(client.calls) == before + 1
        logs.read(session, start=at(0), end=at(10), **asked)
        assert len(client.calls) == before + 1


def test_at_most_takes_the_oldest_and_says_so(tmp_path):
    events = [(i * 1000, "a", i) for i in range(100)]
    for cache in (None, Cache(tmp_path)):
        client = Pages(events, 10)
        session = session_of(client, cache)
        with pytest.warns(UserWarning, match="only the first 25 events were read of: a"):
            found = logs.read(session, ["a", "b"], at(0), at(100_000), at_most=25)
        assert rows(found) == truth(events, 0, 25_000)
        assert len(logs.read(session, "a", at(0), at(100_000), at_most=100)) == 100  # no warning: that is all
    before = len(client.calls)
    assert len(logs.read(session, "a", at(0), at(100_000), at_most=100)) == 100
    with pytest.warns(UserWarning, match="only the first 7"):
        assert rows(logs.read(session, "a", at(0), at(100_000), at_most=7)) == truth(events, 0, 7000)
    assert len(client.calls) == before  # all of it is kept


def test_a_window_without_a_millisecond_holds_nothing(tmp_path):
    client = Pages([(0, "a", 0), (1, "a", 1)])
    for cache in (None, Cache(tmp_path)):
        for more in ({}, {"at_most": 3}):
            found = logs.read(session_of(client, cache), "a", at(0) + timedelta(microseconds=1), at(1), **more)
            assert found.is_empty()
    assert not client.calls


def test_many_streams_are_asked_for_by_the_hundred():
    names, asked = [f"s{i:03}" for i in range(250)], []

    def call(*, logStreamNames, **_):
        asked.append(logStreamNames)
        return {"events": [{"eventId": logStreamNames[0], "timestamp": ZERO, "logStreamName": logStreamNames[0], "message": "x"}]}  # fmt: skip

    found = logs.read(session_of(SimpleNamespace(filter_log_events=call)), "a", at(0), at(1), streams=names)
    assert sorted(map(len, asked)) == [50, 100, 100]
    assert sorted(itertools.chain(*asked)) == names
    assert len(found) == 3


# --- on the local AWS


@pytest.fixture(scope="module")
def shop():
    with sandbox.local(None, clock=NOW) as session:
        client = session.client("logs")
        for group in ("/shop/orders", "/shop/stock"):
            client.create_log_group(logGroupName=group)
            for stream in ("one", "two"):
                client.create_log_stream(logGroupName=group, logStreamName=stream)
                events = [{"timestamp": ZERO - 7_200_000 + i * 3000 + len(stream), "message": f'{{"level":"{"ERROR" if i % 10 == 0 else "INFO"}","message":"{group} {stream} {i}","n":{i}}}'} for i in range(2000)]  # fmt: skip
                client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
        yield session


def test_events_of_groups_with_the_same_numbers_are_all_there(shop):
    found = logs.read(shop, ["/shop/orders", "/shop/stock"], NOW - 2 * HOUR, NOW)
    assert len(found) == 8000
    assert found["message"].n_unique() == 8000
    assert found["timestamp"].is_sorted()


@pytest.mark.parametrize("faults", [
    [sandbox.Fault(status=400, code="ThrottlingException", rate=0.1), sandbox.Fault(status=503, code="ServiceUnavailable", rate=0.05)],
    [sandbox.Fault(cut=True, rate=0.1)], [sandbox.Fault("logs", "FilterLogEvents", half=True, rate=0.3)],
])  # fmt: skip
def test_faults_change_nothing(faults, monkeypatch):
    with sandbox.local(None, clock=NOW, faults=faults, seed=11) as session:
        client = session.client("logs")
        client.create_log_group(logGroupName="g")
        client.create_log_stream(logGroupName="g", logStreamName="s")
        events = [{"timestamp": ZERO - 7_200_000 + i * 700, "message": f"{i} " + "x" * 900} for i in range(10_000)]
        for i in range(0, 10_000, 1000):
            client.put_log_events(logGroupName="g", logStreamName="s", logEvents=events[i : i + 1000])
        found = logs.read(session, "g", NOW - 2 * HOUR, NOW)
    assert found["message"].to_list() == [e["message"] for e in events]


def test_patterns_and_streams_choose(shop):
    failed = logs.read(shop, "/shop/orders", NOW - 2 * HOUR, NOW, pattern='{ $.level = "ERROR" }')
    assert len(failed) == 400
    assert set(failed["level"]) == {"ERROR"}
    one = logs.read(shop, "/shop/orders", NOW - 2 * HOUR, NOW, streams=["one"])
    assert one["log_stream"].unique().to_list() == ["one"]
    assert len(one) == 2000


def test_lists_of_sessions_groups_and_streams(shop):
    other = shop.at("eu-west-1")
    client = other.client("logs")
    client.create_log_group(logGroupName="/shop/orders")
    client.create_log_stream(logGroupName="/shop/orders", logStreamName="far")
    client.put_log_events(logGroupName="/shop/orders", logStreamName="far", logEvents=[{"timestamp": ZERO - 5, "message": "x"}])  # fmt: skip
    found = logs.read([shop, other], "/shop/orders", NOW - 2 * HOUR, NOW)
    assert found["region"].value_counts().sort("region").rows() == [("eu-west-1", 1), ("us-east-1", 4000)]
    assert found["timestamp"].is_sorted()
    assert set(found["account"]) == {"123456789012"}
    listed = logs.streams([shop, other], "/shop/orders")
    assert listed.select("log_stream", "region").rows() == [("far", "eu-west-1"), ("one", "us-east-1"), ("two", "us-east-1")]  # fmt: skip
    assert listed["last_event"].to_list()[0] == at(-5)
    assert "region" not in logs.streams(shop, "/shop/orders").columns
    assert logs.groups(shop, "/shop/")["stored_bytes"].min() > 0


def test_what_cannot_be_read_is_refused(shop):
    window = NOW - HOUR, NOW
    for call, says in (
        (
            lambda: logs.read(shop, "/shop/order", *window),
            "/shop/order does not exist in us-east-1; did you mean /shop/orders",
        ),
        (lambda: logs.read(shop, ["/shop/orders", "/shop/none"], *window), "/shop/none does not exist"),
        (
            lambda: logs.read(shop, "/shop/orders", *window, streams=["three"]),
            "log stream that was named does not exist",
        ),
        (lambda: logs.read(shop, "/shop/orders", *window, streams=[]), "streams needs at least one name"),
        (lambda: logs.read(shop, "/shop/orders", *window, pattern="{ $.a ="), "AWS refuses FilterLogEvents"),
        (lambda: logs.read(shop, "/shop/orders", *window, at_most=0), "at_most needs"),
        (lambda: logs.read(shop, [], *window), "groups needs the name"),
        (lambda: logs.read(shop, "/shop/orders", datetime(2026, 3, 15), NOW), "no time zone"),  # noqa: DTZ001
        (lambda: logs.read(shop, "/shop/orders", NOW, NOW), "start before its end"),
        (lambda: logs.streams(shop, "/shop/order"), "did you mean /shop/orders"),
        (lambda: logs.tail(shop, "/shop/orders", poll_s=0), "poll_s needs"),
        (lambda: logs.read(shop, "/shop/orders", *window, at_most="5"), "at_most needs a whole number"),
        (lambda: logs.read(shop, "/shop/orders", *window, at_most=2.5), "at_most needs a whole number"),
        (lambda: logs.read(shop, "/shop/orders", *window, pattern=5), "pattern needs the text"),
        (lambda: logs.read(shop, "/shop/orders", *window, streams=[""]), "streams needs the names"),
        (lambda: logs.read(shop, "/shop/orders", *window, streams=[5]), "streams needs the names"),
        (lambda: logs.read(shop, "/shop/orders", datetime(1960, 1, 1, tzinfo=UTC), NOW), "start from 1970"),
        (lambda: logs.read(shop, None, *window), "groups needs the name"),
        (lambda: logs.query(shop, None, "fields n", *window), "groups needs the name"),
        (lambda: logs.groups(shop, "a b"), "refuses"),
        (lambda: logs.groups(shop, 5), "refuses"),
    ):
        with pytest.raises(InputError, match=says):
            call()


def test_credentials_that_end_in_the_middle(tmp_path):
    gone = sandbox.Fault("logs", "FilterLogEvents", 400, "ExpiredTokenException", after=12)
    with sandbox.local(None, clock=NOW, faults=[gone]) as session:
        client = session.client("logs")
        client.create_log_group(logGroupName="g")
        client.create_log_stream(logGroupName="g", logStreamName="s")
        events = [{"timestamp": ZERO - 7_200_000 + i * 180, "message": f"{i} " + "x" * 900} for i in range(30_000)]
        for i in range(0, 30_000, 1000):
            client.put_log_events(logGroupName="g", logStreamName="s", logEvents=events[i : i + 1000])
        with pytest.raises(IncompleteError, match="ExpiredToken") as caught:
            logs.read(session, "g", NOW - 2 * HOUR, NOW)
    partial, missing = caught.value.partial, caught.value.missing
    covered = [e["message"] for e in events if not any(a <= NOW + timedelta(milliseconds=e["timestamp"] - ZERO) < b for a, b in missing.select("start", "end").iter_rows())]  # fmt: skip
    assert set(covered) <= set(partial["message"])
    assert 0 < len(covered) < 30_000
    assert missing["reason"].str.contains("ExpiredToken").all()


def test_a_plan_makes_no_call_that_it_plans(shop, tmp_path):
    session = local(shop.endpoint_url, clock=NOW, cache=tmp_path)
    plan = logs.read(session, ["/shop/orders", "/shop/stock"], NOW - 2 * HOUR, NOW, dry_run=True)
    assert plan.select("operation", "unit", "cost_usd").row(0) == ("FilterLogEvents", "byte", 0.0)
    assert set(session.ledger.frame()["operation"]) <= {"DescribeLogGroups", "GetCallerIdentity"}
    assert plan["calls"].item() >= 2
    logs.read(session, ["/shop/orders", "/shop/stock"], NOW - 2 * HOUR, NOW - HOUR)
    again = logs.read(session, ["/shop/orders", "/shop/stock"], NOW - 2 * HOUR, NOW - HOUR, dry_run=True)
    assert again["calls"].item() == 0
    with pytest.raises(InputError, match="/shop/none does not exist"):
        logs.read(session, "/shop/none", NOW - HOUR, NOW, dry_run=True)


CHILD = """
import sys
from datetime import datetime
from lift_insights.aws.session import local
from lift_insights.sources import logs
url, cache, now, start, out = sys.argv[1:]
now = datetime.fromisoformat(now)
logs.read(local(url, clock=now, cache=cache), ["g"], datetime.fromisoformat(start), now).write_parquet(out)
"""


def test_a_killed_process_goes_on_where_it_stopped(tmp_path):
    """Days of events behind a slow network; the child is killed once it has kept something."""
    slow = sandbox.Fault("logs", "FilterLogEvents", delay_s=0.15)
    frame = pl.DataFrame({
        "log_group": "g", "log_stream": "s", "timestamp": [NOW - timedelta(days=4) + timedelta(seconds=10 * i) for i in range(30_000)],
        "message": [f"{i} " + "x" * 1000 for i in range(30_000)],
    })  # fmt: skip
    frame = frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    from benchmarks import volumes

    with sandbox.local(volumes.telemetry(logs=frame), clock=NOW, faults=[slow]) as session:
        arguments = [session.endpoint_url, tmp_path / "cache", NOW.isoformat(), (NOW - timedelta(days=4)).isoformat(), tmp_path / "out"]  # fmt: skip
        root = Path(__file__).resolve().parent.parent
        child = subprocess.Popen([sys.executable, "-c", CHILD, *map(str, arguments)], cwd=root)
        while child.poll() is None and not list(tmp_path.rglob("*.parquet")):
            time.sleep(0.02)
        child.kill()
        child.wait()
        assert not (tmp_path / "out").exists()
        resumed = local(session.endpoint_url, clock=NOW, cache=tmp_path / "cache")
        left = resumed.cache.missing(
            {"read": "logs", "log_group": "g", "pattern": None, "streams": None, "scope": resumed.scope},
            NOW - timedelta(days=4),
            NOW,
        )
        assert sum((b - a for a, b in left), timedelta()) < timedelta(days=4) - timedelta(minutes=5)
        found = logs.read(resumed, "g", NOW - timedelta(days=4), NOW)
    assert found["message"].to_list() == frame["message"].to_list()


# --- following


@pytest.fixture
def live():
    with sandbox.local(None) as session:
        client = session.client("logs")
        client.create_log_group(logGroupName="app")
        for stream in ("one", "two"):
            client.create_log_stream(logGroupName="app", logStreamName=stream)
        yield session


def say(session, *texts, ago_s=0.0, stream="one"):
    at_ms = int((session.now() - timedelta(seconds=ago_s)).timestamp() * 1000)
    events = [{"timestamp": at_ms, "message": text} for text in texts]
    session.client("logs").put_log_events(logGroupName="app", logStreamName=stream, logEvents=events)


def test_tail_shows_each_event_once_late_ones_too(live):
    heard = []
    say(live, "before", ago_s=3600)
    shown = logs.tail(live, "app", since=timedelta(minutes=1), poll_s=0.02)
    for i in range(5):
        say(live, f"a{i}", f"b{i}")
        say(live, f"late{i}", ago_s=20, stream="two")
        say(live, f"early{i}", ago_s=-20, stream="two")
        expected = {f"{kind}{i}" for kind in ("a", "b", "late", "early")}
        got = set()
        while got < expected:
            frame = next(shown)
            assert frame["timestamp"].is_sorted()
            heard += frame["message"].to_list()
            got |= set(frame["message"])
        assert got == expected
    assert sorted(heard) == sorted(f"{kind}{i}" for kind in ("a", "b", "late", "early") for i in range(5))


def test_tail_ends_when_told_and_takes_patterns(live):
    say(live, '{"level":"ERROR","message":"bad"}', '{"level":"INFO","message":"good"}')
    soon = live.now() + timedelta(seconds=0.3)
    frames = list(logs.tail(live, "app", pattern='{ $.level = "ERROR" }', since=live.now() - HOUR, until=soon, poll_s=0.05))  # fmt: skip
    assert [f["message"].to_list() for f in frames] == [["bad"]]
    with pytest.raises(InputError, match="does not exist"):
        next(logs.tail(live, "nobody"))


def test_tail_ends_on_ctrl_c(live, monkeypatch):
    say(live, "one")

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(logs.time, "sleep", interrupted)
    assert [f["message"].to_list() for f in logs.tail(live, "app", since=timedelta(minutes=1))] == [["one"]]


# --- one group that fails among others


def hooked(session, refuse):
    """Each FilterLogEvents call passes `refuse(arguments)` first, which may raise."""
    client = session.client("logs")
    client.meta.events.register(
        "before-parameter-build.cloudwatch-logs.FilterLogEvents", lambda params, **_: refuse(params)
    )


def error_of(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "FilterLogEvents")


@pytest.fixture
def three():
    """Groups a, b, c with forty events a second apart, in 110 streams in the case of a."""
    with sandbox.local(None, clock=NOW) as session:
        client = session.client("logs")
        for group in "abc":
            client.create_log_group(logGroupName=group)
            for k in range(110 if group == "a" else 1):
                client.create_log_stream(logGroupName=group, logStreamName=f"s{k:03}")
            for i in range(40):
                event = {"timestamp": ZERO - 3_600_000 + i * 1000, "message": f"{group}{i}"}
                stream = f"s{i * 53 % 110:03}" if group == "a" else "s000"
                client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])
        yield session


def test_at_most_holds_for_a_group_however_many_streams_are_named(three):
    names = [f"s{k:03}" for k in range(110)]
    with pytest.warns(UserWarning, match="only the first 10 events were read of: a"):
        found = logs.read(three, "a", NOW - HOUR, NOW, streams=names, at_most=10)
    assert found["message"].to_list() == [f"a{i}" for i in range(10)]
    assert len(logs.read(three, "a", NOW - HOUR, NOW, streams=names, at_most=40)) == 40


def test_at_most_tells_what_failed_with_what_did_not(three):
    def refuse(params):
        if params["logGroupName"] == "b":
            raise error_of("AccessDeniedException")

    hooked(three, refuse)
    with pytest.warns(UserWarning, match="of: a, c"), pytest.raises(IncompleteError, match="AccessDenied") as caught:
        logs.read(three, ["a", "b", "c"], NOW - HOUR, NOW, at_most=3)
    assert caught.value.partial["message"].to_list() == ["a0", "c0", "a1", "c1", "a2", "c2"]
    assert caught.value.missing.select("log_group", "start", "end").rows() == [("b", NOW - HOUR, NOW)]
    with pytest.raises(ClientError, match="AccessDenied"):
        logs.read(three, "b", NOW - HOUR, NOW, at_most=3)


def test_an_unknown_group_is_refused_before_the_rest_is_read():
    client = Pages([(i * 1000, "a", i) for i in range(3000)], 3)
    known = client.filter_log_events

    def filter_log_events(*, logGroupName, **more):
        if logGroupName == "nope":
            raise ClientError(
                {"Error": {"Code": "ResourceNotFoundException", "Message": "The specified log group does not exist."}},
                "FilterLogEvents",
            )
        return known(logGroupName=logGroupName, **more)

    client.filter_log_events = filter_log_events
    client.get_paginator = lambda _: SimpleNamespace(paginate=lambda **_: [{"logGroups": [{"logGroupName": "a"}]}])
    with pytest.raises(InputError, match="nope does not exist"):
        logs.read(session_of(client), ["a", "nope"], at(0), at(3_000_000))
    assert len(client.calls) <= 2


def test_tail_passes_over_a_bad_moment_and_loses_nothing(live):
    live.client("logs").create_log_group(logGroupName="other")
    bad = [0]

    def refuse(params):
        if params["logGroupName"] == "other" and bad[0] > 0:
            bad[0] -= 1
            raise error_of("ServiceUnavailableException")

    hooked(live, refuse)
    live.client("logs").create_log_stream(logGroupName="other", logStreamName="one")
    shown = logs.tail(live, ["app", "other"], since=timedelta(minutes=1), poll_s=0.02)
    say(live, "1")
    assert next(shown)["message"].to_list() == ["1"]
    bad[0] = 3
    say(live, "2")
    record = {"timestamp": int(live.now().timestamp() * 1000), "message": "3"}
    live.client("logs").put_log_events(logGroupName="other", logStreamName="one", logEvents=[record])
    assert next(shown)["message"].to_list() == ["2"]
    assert next(shown)["message"].to_list() == ["3"]
    bad[0] = 10**6
    say(live, "4")
    assert next(shown)["message"].to_list() == ["4"]
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        next(shown)


def test_tail_gives_what_came_before_it_says_what_may_not_be_read(three):
    def refuse(params):
        if params["logGroupName"] == "b":
            raise error_of("AccessDeniedException")

    hooked(three, refuse)
    shown = logs.tail(three, ["a", "b", "c"], since=2 * HOUR, late_s=7200, poll_s=0.02)
    assert len(next(shown)) == 80
    with pytest.raises(ClientError, match="AccessDenied"):
        next(shown)
