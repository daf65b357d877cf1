"""What stands around every call: cache, audit trail, ledger, budget, prices, sessions."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from unittest import mock

import polars as pl
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.aws import audit, prices
from lift_insights.aws.cache import Cache
from lift_insights.aws.calls import IncompleteError, Rate, fatal, gather
from lift_insights.aws.ledger import BudgetError, Ledger
from lift_insights.aws.session import connect, local, several
from lift_insights.frames import UTC_TIME, InputError

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
Q = {"call": "GetMetricData", "account": "1", "metric": "m"}
SCHEMA = {"timestamp": UTC_TIME, "value": pl.Float64}


def rows_of(hours: dict[int, float]) -> pl.DataFrame:
    return pl.DataFrame({"timestamp": [T0 + h * HOUR for h in hours], "value": list(hours.values())}, schema=SCHEMA)


# --- cache

ITEMS = ("a", "b", "c")
keeps = st.lists(
    st.tuples(
        st.integers(0, 70),
        st.integers(1, 40),
        st.sets(st.integers(0, 110), max_size=12),
        st.floats(0, 9),
        st.sets(st.sampled_from(ITEMS), min_size=1),
    ),
    max_size=8,
)


@settings(max_examples=80, deadline=None)
@given(keeps, st.integers(0, 100), st.integers(1, 60), st.booleans(), st.sampled_from([2, 128]))
def test_the_cache_against_a_dict_of_hours(tmp_path_factory, kept, start, length, several, many):
    """A slow twin: which hours of which item are known, and what was said of each last."""
    cache, known = Cache(tmp_path_factory.mktemp("cache")), {}
    with mock.patch("lift_insights.aws.cache.MANY", many):  # files are put together early, or never
        for at, hours, have, value, items in kept:
            names = sorted(items) if several else [None]
            values = dict.fromkeys(sorted(have), value)  # some lie outside the window and must not be kept
            frame = pl.concat([rows_of(values).with_columns(series=pl.lit(name, pl.String)) for name in names])
            asked = {"items": names} if several else {}
            cache.keep(Q, T0 + at * HOUR, T0 + (at + hours) * HOUR, frame, **asked)
            known |= {(name, h): values.get(h) for h in range(at, at + hours) for name in names}
    window = (T0 + start * HOUR, T0 + (start + length) * HOUR)
    names = list(ITEMS) if several else [None]
    asked = {"items": names} if several else {}
    found, gaps = cache.take(Q, *window, **asked)
    assert gaps == cache.missing(Q, *window, **asked)
    hours = range(start, start + length)
    for name in names:
        mine = gaps[name] if several else gaps
        told = [h for h in hours if any(a <= T0 + h * HOUR < b for a, b in mine)]
        assert told == [h for h in hours if (name, h) not in known]
        assert all(b < c for (_, b), (c, _) in zip(mine, mine[1:]))  # as few stretches as there can be
        expected = rows_of({h: known[name, h] for h in hours if known.get((name, h)) is not None})
        have = None if found is None else found.filter(pl.col("series").eq_missing(name)).drop("series")
        assert (have is None and expected.is_empty()) or have.equals(expected)


def test_questions_do_not_mix(tmp_path):
    cache = Cache(tmp_path)
    cache.keep(Q, T0, T0 + HOUR, rows_of({0: 1.0}))
    for other in (Q | {"account": "2"}, Q | {"stat": None}, {}):
        assert cache.missing(other, T0, T0 + HOUR) == [(T0, T0 + HOUR)]
        assert cache.take(other, T0, T0 + HOUR)[0] is None
    assert cache.missing(dict(reversed(Q.items())), T0, T0 + HOUR) == []


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "swap", "noise"])
def test_a_damaged_file_is_pulled_again(tmp_path, damage):
    cache = Cache(tmp_path)
    for day in range(2):
        hours = range(day * 24, day * 24 + 24)
        cache.keep(Q, T0 + hours[0] * HOUR, T0 + 24 * (day + 1) * HOUR, rows_of({h: float(h) for h in hours}))
    first, second = sorted(cache.folder.rglob("*.parquet"))
    data = first.read_bytes()
    first.write_bytes(
        {
            "cut": data[:-9],
            "flip": data[:60] + bytes([data[60] ^ 1]) + data[61:],
            "empty": b"",
            "swap": second.read_bytes(),  # another day's whole file under this name
            "noise": os.urandom(300),
        }[damage]
    )
    found, gaps = cache.take(Q, T0, T0 + 48 * HOUR)
    assert gaps == [(T0, T0 + 24 * HOUR)]
    assert len(found) == 24
    cache.keep(Q, T0, T0 + 24 * HOUR, rows_of({1: 1.0}))
    assert cache.missing(Q, T0, T0 + 48 * HOUR) == []


def test_modes_and_no_leftovers(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    monkeypatch.setattr("lift_insights.aws.cache.MANY", 4)
    old = os.umask(0)
    try:
        for h in range(5):
            cache.keep(Q, T0 + h * HOUR, T0 + (h + 1) * HOUR, rows_of({h: 1.0}))
    finally:
        os.umask(old)
    files = [p for p in cache.folder.rglob("*") if p.is_file()]
    assert len(files) == 1  # the five were put together
    assert {p.stat().st_mode & 0o777 for p in files} == {0o600}
    assert {p.stat().st_mode & 0o777 for p in [cache.folder, *cache.folder.rglob("*")] if p.is_dir()} == {0o700}


def test_what_goes_while_it_is_read_is_a_gap_and_not_a_loss(tmp_path, monkeypatch):
    """Somebody clears, makes room, or puts files together, all the time."""
    monkeypatch.setattr("lift_insights.aws.cache.MANY", 3)
    mine, theirs, stop, failed = Cache(tmp_path), Cache(tmp_path), threading.Event(), []

    def disturb():
        n = 0
        while not stop.is_set():
            n += 1
            for h in range(6):
                theirs.keep(Q, T0 + h * HOUR, T0 + (h + 1) * HOUR, rows_of({h: float(h)}))
            if n % 5 == 0:
                theirs.clear()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            found, gaps = mine.take(Q, T0, T0 + 6 * HOUR)
            covered = [h for h in range(6) if not any(a <= T0 + h * HOUR < b for a, b in gaps)]
            rows = [] if found is None else found["value"].to_list()
            if rows != [float(h) for h in covered]:
                failed.append((rows, covered))
    finally:
        stop.set()
        thread.join()
    assert not failed


def test_many_threads_on_one_day(tmp_path):
    cache = Cache(tmp_path)
    gather(lambda h: cache.keep(Q, T0 + h * HOUR, T0 + (h + 1) * HOUR, rows_of({h: float(h)})), range(24), workers=8)
    assert cache.missing(Q, T0, T0 + 24 * HOUR) == []
    assert cache.take(Q, T0, T0 + 24 * HOUR)[0]["value"].to_list() == [float(h) for h in range(24)]


KEEPER = """
import sys
from datetime import UTC, datetime, timedelta
import polars as pl
from lift_insights.aws.cache import Cache
cache, at = Cache(sys.argv[1]), datetime(2026, 3, 1, tzinfo=UTC)
rows = pl.DataFrame({"timestamp": pl.datetime_range(at, at + timedelta(hours=1), "1s", closed="left", eager=True), "value": 1.0})
rows = rows.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")), value=pl.lit(1.0))
print("ready", flush=True)
for n in range(10**6):
    shift = timedelta(hours=n % 24)
    cache.keep({"n": n // 24}, at + shift, at + shift + timedelta(hours=1), rows.with_columns(pl.col("timestamp") + shift))
"""


def test_a_killed_process_leaves_nothing_half(tmp_path):
    for wait in (0.05, 0.2, 0.35):
        child = subprocess.Popen([sys.executable, "-c", KEEPER, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"ready\n"
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    cache, hours = Cache(tmp_path), 0
    for n in range(10**6):
        missing = cache.missing({"n": n}, T0, T0 + 24 * HOUR)
        covered = 24 - sum((b - a) // HOUR for a, b in missing)
        if not covered:
            break
        assert len(cache.take({"n": n}, T0, T0 + 24 * HOUR)[0]) == covered * 3600
        hours += covered
    assert hours > 0


def test_a_full_disk_is_said_once_and_stops_nobody(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    cache.keep(Q, T0, T0 + HOUR, rows_of({0: 1.0}))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    with pytest.warns(UserWarning, match=r"keeps nothing more: No space left"):
        cache.keep(Q, T0 + HOUR, T0 + 2 * HOUR, rows_of({1: 1.0}))
    cache.keep(Q, T0 + 2 * HOUR, T0 + 3 * HOUR, rows_of({2: 1.0}))  # a second warning would fail the test
    assert cache.missing(Q, T0, T0 + 3 * HOUR) == [(T0 + HOUR, T0 + 3 * HOUR)]
    assert len(cache.take(Q, T0, T0 + 3 * HOUR)[0]) == 1


def test_the_size_limit_puts_out_what_was_not_used_for_longest(tmp_path):
    rows = pl.DataFrame({"timestamp": [T0 + i * timedelta(seconds=1) for i in range(3000)], "value": range(3000)})
    rows = rows.cast(SCHEMA)
    for n in range(6):
        Cache(tmp_path).keep(Q | {"n": n}, T0, T0 + HOUR, rows)
        for path in Cache(tmp_path).folder.rglob("*.parquet"):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 100))  # older by the round
    size = Cache(tmp_path).size_bytes()
    tight = Cache(tmp_path, max_bytes=size // 2)
    tight.keep(Q | {"n": 99}, T0, T0 + HOUR, rows)
    assert tight.size_bytes() <= size // 2
    there = [n for n in [*range(6), 99] if not tight.missing(Q | {"n": n}, T0, T0 + HOUR)]
    assert there == [4, 5, 99]
    assert tight.clear() == 3
    assert tight.size_bytes() == 0


def test_a_removed_folder_is_made_again(tmp_path):
    cache = Cache(tmp_path)
    cache.keep(Q, T0, T0 + HOUR, rows_of({0: 1.0}))
    shutil.rmtree(cache.folder)
    cache.folder.mkdir()
    cache.keep(Q, T0, T0 + HOUR, rows_of({0: 1.0}))
    assert cache.missing(Q, T0, T0 + HOUR) == []


def test_a_half_file_is_removed_when_it_is_old(tmp_path):
    cache = Cache(tmp_path)
    cache.keep(Q, T0, T0 + HOUR, rows_of({0: 1.0}))
    folder = next(cache.folder.rglob("*.parquet")).parent
    for name, age in (("new.part", 0), ("old.part", 7200)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age, time.time() - age))
    assert cache.clear() == 2
    assert [p.name for p in folder.iterdir()] == ["new.part"]


def test_rows_of_items_that_were_not_named(tmp_path):
    with pytest.raises(InputError, match="also \\['b'\\]"):
        Cache(tmp_path).keep(Q, T0, T0 + HOUR, rows_of({0: 1.0}).with_columns(series=pl.lit("b")), items=["a"])


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made or written"):
        Cache(tmp_path / "file")


# --- audit trail

entries = st.lists(
    st.fixed_dictionaries({"operation": st.text(max_size=20), "cost_usd": st.floats(0, 1)}), min_size=2, max_size=12
)


@settings(max_examples=40, deadline=None)
@given(entries, st.data())
def test_any_change_of_the_trail_shows(tmp_path_factory, made, data):
    path = tmp_path_factory.mktemp("trail") / "audit.jsonl"
    trail = audit.Trail(path, key=b"a key of the test")
    for entry in made:
        trail.append(entry)
    assert audit.verify(path, key=b"a key of the test").is_empty()
    assert audit.read(path).to_dicts() == made
    lines = path.read_bytes().splitlines(keepends=True)
    i, j = data.draw(st.sampled_from([(i, j) for i in range(len(lines)) for j in range(len(lines)) if i < j]))
    how = data.draw(st.sampled_from(["remove", "swap", "repeat", "edit", "cut", "renumber"]))
    changed = {
        "remove": lines[:i] + lines[i + 1 :],
        "swap": [*lines[:i], lines[j], *lines[i + 1 : j], lines[i], *lines[j + 1 :]],
        "repeat": [*lines[: i + 1], *lines[i:]],
        "edit": [*lines[:i], lines[i].replace(b"cost_usd", b"cost_eur"), *lines[i + 1 :]],
        "cut": lines[:j],
        "renumber": [json.dumps(json.loads(line) | {"n": n}).encode() + b"\n" for n, line in enumerate(lines[1:], 1)],
    }[how]
    path.write_bytes(b"".join(changed))
    assert not audit.verify(path, key=b"a key of the test").is_empty()


WRITER = """
import sys
from lift_insights.aws.audit import Trail
trail = Trail(sys.argv[1])
for n in range(200):
    trail.append({"who": sys.argv[2], "n": n})
"""


def test_processes_share_a_trail(tmp_path):
    path = tmp_path / "audit.jsonl"
    audit.Trail(path)  # makes the key
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), who]) for who in "abc"]
    assert [w.wait() for w in writers] == [0, 0, 0]
    assert audit.verify(path).is_empty()
    found = audit.read(path)
    assert len(found) == 600
    for who in "abc":
        assert found.filter(pl.col("who") == who)["n"].to_list() == list(range(200))


def test_a_torn_line_is_seen_and_the_trail_goes_on(tmp_path):
    path = tmp_path / "audit.jsonl"
    trail = audit.Trail(path)
    trail.append({"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n":2,"code":"12')
    audit.Trail(path).append({"n": 2})
    problems = audit.verify(path)
    assert problems["problem"].to_list() == ["the line cannot be read"]
    assert audit.read(path)["n"].to_list() == [1, 2]


@pytest.mark.parametrize("how", ["cut", "empty", "delete", "cut and head"])
def test_the_next_entry_does_not_hide_what_was_removed(tmp_path, how):
    path = tmp_path / "audit.jsonl"
    trail = audit.Trail(path)
    for n in range(10):
        trail.append({"n": n})
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "delete":
        path.unlink()
    else:
        path.write_bytes(b"".join(lines[: {"empty": 0}.get(how, 4)]))
    if how == "cut and head":
        path.with_suffix(".head").unlink()
    for writer in (trail, audit.Trail(path)):
        writer.append({"n": 99})
    assert not audit.verify(path).is_empty()
    assert audit.read(path)["n"].to_list()[-2:] == [99, 99]


def test_many_make_the_key_at_once(tmp_path):
    for n in range(40):
        path = tmp_path / str(n) / "audit.jsonl"
        made = gather(lambda _, path=path: audit.Trail(path), range(4), workers=4)
        assert len({trail._key for trail in made}) == 1
        assert [p.name for p in path.parent.iterdir() if p.suffix == ".part"] == []


def test_keys(tmp_path, monkeypatch):
    path = tmp_path / "audit.jsonl"
    with pytest.raises(InputError, match="at least 16 bytes"):
        audit.Trail(path, key=b"short")
    monkeypatch.setenv("LIFT_INSIGHTS_AUDIT_KEY", "no hex")
    with pytest.raises(InputError, match="hexadecimal"):
        audit.Trail(path)
    monkeypatch.setenv("LIFT_INSIGHTS_AUDIT_KEY", "ab" * 32)
    audit.Trail(path).append({"n": 1})
    assert not path.with_suffix(".key").exists()  # kept elsewhere, as asked
    assert audit.verify(path).is_empty()
    monkeypatch.delenv("LIFT_INSIGHTS_AUDIT_KEY")
    with pytest.raises(InputError, match="neither in"):
        audit.verify(path)
    with pytest.raises(InputError, match="no audit trail"):
        audit.read(tmp_path / "other.jsonl")


# --- ledger and budget


def test_each_call_is_entered_with_its_retries_bytes_and_outcome():
    faults = (
        sandbox.Fault("cloudwatch", "ListMetrics", status=400, code="ThrottlingException", times=2),
        sandbox.Fault("logs", "DescribeLogGroups", status=403, code="AccessDeniedException"),
        sandbox.Fault("xray", cut=True),
    )
    with sandbox.local(None, faults=faults) as session:
        session.client("cloudwatch").list_metrics()
        with pytest.raises(ClientError):
            session.client("logs").describe_log_groups()
        from botocore.exceptions import ConnectionClosedError

        with pytest.raises(ConnectionClosedError):
            session.client("xray").get_trace_summaries(StartTime=T0, EndTime=T0 + HOUR)
        assert session.account == "123456789012"
        rows = session.ledger.frame()
    assert rows["operation"].to_list() == ["ListMetrics", "DescribeLogGroups", "GetTraceSummaries", "GetCallerIdentity"]
    assert rows["outcome"].to_list() == ["ok", "AccessDeniedException", "ConnectionClosedError", "ok"]
    assert rows["retries"].to_list() == [2, 0, 7, 0]
    assert rows["response_bytes"].to_list()[:2] == [
        14,
        len(b'{"__type":"AccessDeniedException","message":"this fault was asked for"}'),
    ]
    assert rows["request_bytes"][2] > 40
    assert rows["cost_usd"].to_list() == [0.00001, 0, 0, 0]
    assert rows["region"].unique().to_list() == ["us-east-1"]


def queries(n):
    return [
        {"Id": f"m{i}", "MetricStat": {"Metric": {"Namespace": "n", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}}
        for i in range(n)
    ]


def test_a_budget_holds_under_threads():
    with sandbox.local(None, budget_usd=0.0095) as session:
        client, errors = session.client("cloudwatch"), {}
        gather(
            lambda _: client.get_metric_data(MetricDataQueries=queries(100), StartTime=T0, EndTime=T0 + HOUR),
            range(40),
            workers=8,
            errors=errors,
        )
        made = session.ledger.frame()
        assert len(made) == 9  # 9 x 100 metrics are $0.009; the tenth would have been too much
        assert session.ledger.cost_usd == pytest.approx(0.009)
        assert len(errors) == 31
        assert {type(e) for e in errors.values()} == {BudgetError}
        assert session.ledger._under_way == pytest.approx(0)


def test_a_budget_of_nothing_lets_free_calls_through():
    with sandbox.local(None, budget_usd=0) as session:
        session.client("logs").describe_log_groups()
        with pytest.raises(BudgetError, match="ListMetrics would bring"):
            session.client("cloudwatch").list_metrics()


def test_malformed_calls_reserve_nothing():
    from botocore.exceptions import ParamValidationError

    with sandbox.local(None, budget_usd=1) as session:
        for _ in range(3):
            with pytest.raises(ParamValidationError):
                session.client("cloudwatch").get_metric_data(MetricDataQueries=queries(5), StartTime=T0)
        assert session.ledger._under_way == 0
        assert session.ledger.frame().is_empty()


def test_money_that_is_held():
    ledger = Ledger(budget_usd=1.0)
    with ledger.hold(0.7, "a query"):
        with (
            pytest.raises(BudgetError, match=r"another would bring the cost to \$1.1, over the budget of \$1\."),
            ledger.hold(0.4, "another"),
        ):
            raise AssertionError
        with ledger.hold(0.3, "a small one"):
            pass
    with suppress(KeyError), ledger.hold(1.0, "all"):
        raise KeyError
    assert ledger._holds == []
    with ledger.hold(1.0, "all again"):
        pass
    with ledger.hold(0.3, "the first"):
        with ledger.hold(0.3, "the second"):
            with ledger._lock:
                from lift_insights.aws.ledger import _spend_held

                _spend_held(ledger, 0.4)  # a query cost that much: what is left is the second's
            assert [round(left, 9) for (left,) in ledger._holds] == [0.0, 0.2]
        assert ledger._holds == [[0.0]]


def test_the_trail_on_disk_says_what_the_ledger_says(tmp_path):
    with sandbox.local(None) as session:
        there = local(session.endpoint_url, audit=tmp_path / "audit.jsonl")
        gather(lambda _: there.client("cloudwatch").list_metrics(), range(20))
        there.client("logs").describe_log_groups()
        kept = audit.read(tmp_path / "audit.jsonl")
        assert audit.verify(tmp_path / "audit.jsonl").is_empty()
        ours = there.ledger.frame()
    assert kept.columns == ours.columns
    by = ["timestamp", "duration_ms"]
    assert kept.sort(by).select(ours.columns).cast(ours.schema).equals(ours.sort(by))


def test_a_trail_that_cannot_be_written_is_said_once(tmp_path, monkeypatch):
    with sandbox.local(None) as session:
        there = local(session.endpoint_url, audit=tmp_path / "audit.jsonl")
        monkeypatch.setattr(
            audit.Trail, "append", lambda self, entry: (_ for _ in ()).throw(OSError(28, "No space left"))
        )
        with pytest.warns(UserWarning, match="audit trail ends here"):
            there.client("logs").describe_log_groups()
        there.client("logs").describe_log_groups()  # a second warning would fail the test
        assert len(there.ledger.frame()) == 2


SECRETS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEBYaDAsessionTOKEN")


def test_credentials_reach_nothing(tmp_path, monkeypatch):
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), SECRETS):
        monkeypatch.setenv(name, value)
    said = io.StringIO()
    with sandbox.local(None, faults=(sandbox.Fault("logs", status=403, code="InvalidSignatureException"),)) as here:
        session = connect(
            region="us-east-1", endpoint_url=here.endpoint_url, cache=tmp_path / "cache", audit=tmp_path / "audit.jsonl"
        )
        session.client("cloudwatch").list_metrics()
        session.cache.keep({"scope": session.scope}, T0, T0 + HOUR, rows_of({0: 1.0}))
        with pytest.raises(ClientError) as error:
            session.client("logs").describe_log_groups()
        frame = session.ledger.frame()
        print(
            repr(session),
            session.scope,
            frame.write_json(),
            repr(session.ledger),
            error.value,
            vars(error.value),
            file=said,
        )
    texts = [said.getvalue().encode(), *(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())]
    assert len(texts) >= 5
    for secret in SECRETS:
        assert not [text for text in texts if secret.encode() in text]


# --- prices


def test_prices():
    searches = [{"Id": "s", "Expression": "SEARCH('{n} m', 'Sum', 60)"}, *queries(2)]
    answer = {"MetricDataResults": [{"Id": "s"}] * 7 + [{"Id": "m0"}, {"Id": "m1"}]}
    assert prices.before("GetMetricData", {"MetricDataQueries": searches}) == pytest.approx(2e-5)
    assert prices.after("GetMetricData", {"MetricDataQueries": searches}, answer) == pytest.approx(9e-5)
    for expression in ("SELECT\nAVG(m) FROM n", "search ('{n} m', 'Sum')"):
        one = {"MetricDataQueries": [{"Id": "s", "Expression": expression}]}
        assert prices.after("GetMetricData", one, answer) == pytest.approx(7e-5)
    nested = {"MetricDataQueries": [{"Id": "s", "Expression": "SUM(SEARCH('{n} m', 'Sum'))"}]}
    assert prices.after("GetMetricData", nested, answer) == pytest.approx(500e-5)  # the answer does not tell: the most
    assert prices.after("GetTraceSummaries", {}, {"TracesProcessedCount": 1_000_000}) == pytest.approx(0.5)
    assert set(prices.table()["operation"]) == set(prices.PRICES)
    assert prices.table()["source"].str.starts_with("https://aws.amazon.com/").all()


# --- many calls


def test_ctrl_c_is_not_collected():
    def one(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gather(one, range(3), errors={})


def test_which_errors_are_fatal():
    def code(name):
        return ClientError({"Error": {"Code": name}}, "X")

    assert fatal(code("ExpiredTokenException"))
    assert fatal(code("com.amazonaws#ExpiredTokenException"))
    assert fatal(BudgetError())
    assert not fatal(code("ThrottlingException"))
    assert not fatal(code("AccessDeniedException"))  # may be one log group's
    assert not fatal(TimeoutError())


def test_where_every_call_is_denied_it_ends_soon():
    called = []

    def one(n):
        called.append(n)
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "X")

    errors = {}
    gather(one, range(100), workers=2, errors=errors)
    assert len(errors) == 100
    assert len(called) < 10


STOPPED = """
import os, signal, sys, threading
from datetime import UTC, datetime
from lift_insights.aws.calls import gather
from lift_insights.aws.session import local
session = local(sys.argv[1])
client = session.client("logs")
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
def pages(_):
    for _ in range(1000):
        client.describe_log_groups()
try:
    gather(pages, range(8))
except KeyboardInterrupt:
    at = len(session.ledger.frame())
    threading.Event().wait(1.0)
    print(at, len(session.ledger.frame()) - at)
"""


def test_after_ctrl_c_no_call_is_made_any_more():
    """Neither a further page nor a retry; and the process ends."""
    with sandbox.local(None, faults=(sandbox.Fault(delay_s=0.02),)) as session:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", STOPPED, session.endpoint_url], capture_output=True, text=True, timeout=60
        )
        at, later = map(int, done.stdout.split())
        assert time.monotonic() - began < 20
    assert at > 0
    assert later <= 8  # those that were under way


def test_an_incomplete_read_carries_both_halves():
    error = IncompleteError("two are missing", partial=rows_of({1: 1.0}), missing=pl.DataFrame({"start": [T0]}))
    assert isinstance(error, RuntimeError)
    assert (len(error.partial), len(error.missing)) == (1, 1)


def test_calls_are_spaced_for_threads():
    rate = Rate(20, clock=lambda: 0.0, sleep=lambda s: None)
    waits = sorted(gather(lambda _: rate.wait(), range(20), workers=8))
    assert waits == pytest.approx([0.0] * 5 + [n / 20 for n in range(1, 16)])


def test_a_session_spaces_the_calls_it_is_told_to():
    with sandbox.local(None) as session:
        slept = []
        session.rates["ListMetrics"] = Rate(1, clock=lambda: 0.0, sleep=slept.append)
        for _ in range(3):
            session.client("cloudwatch").list_metrics()
        session.client("cloudwatch").describe_alarms()
    assert slept == [1.0, 2.0]
    assert connect_rates()["GetMetricData"].per_s == 40


def connect_rates():
    import botocore.session

    from lift_insights.aws.session import Session

    return Session(botocore.session.Session(), "us-east-1").rates


# --- sessions


def test_a_role_of_another_account_leads_there():
    with sandbox.local(None, budget_usd=1) as session:
        other = session.at(role_arn="arn:aws:iam::111122223333:role/reader")
        assert (session.account, other.account) == ("123456789012", "111122223333")
        other.client("logs").create_log_group(logGroupName="theirs")
        session.client("logs").create_log_group(logGroupName="ours")
        abroad = other.at("eu-west-1", role_arn="arn:aws:iam::111122223333:role/reader")
        abroad.client("logs").create_log_group(logGroupName="abroad")

        def names(of):
            return [g["logGroupName"] for g in of.client("logs").describe_log_groups()["logGroups"]]

        assert [names(s) for s in (session, other, abroad)] == [["ours"], ["theirs"], ["abroad"]]
        assert other.ledger is session.ledger
        rows = session.ledger.frame().filter(pl.col("operation") == "DescribeLogGroups")
        assert rows["region"].to_list() == ["us-east-1", "us-east-1", "eu-west-1"]
        assert several([session, other, abroad]) == [session, other, abroad]
        with pytest.raises(InputError, match="same account and region"):
            several([session, session.at()])


def test_assuming_a_role_stands_in_the_ledger_too():
    with sandbox.local(None) as session:
        other = session.at(role_arn="arn:aws:iam::111122223333:role/reader")
        other.client("logs").describe_log_groups()
        rows = session.ledger.frame()
    assert rows["operation"].to_list() == ["AssumeRole", "DescribeLogGroups"]
    assert rows["retries"].to_list() == [0, 0]


def test_a_role_that_is_refused():
    fault = sandbox.Fault("sts", "AssumeRole", status=403, code="AccessDenied")
    with sandbox.local(None, faults=(fault,)) as session:
        other = session.at(role_arn="arn:aws:iam::111122223333:role/reader")
        with pytest.raises(ClientError, match="AccessDenied"):
            other.client("logs").describe_log_groups()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"service": "cloudwtch"}, "needs a service"),
        ({"service": "logs", "operation": "GetMetricData"}, "no operation GetMetricData"),
        ({"rate": 7}, "from 0 to 1"),
    ],
)
def test_a_fault_that_would_never_strike_is_refused(fault, says):
    with pytest.raises(InputError, match=says):
        sandbox.Fault(**fault)


def test_half_an_answer_is_asked_for_again():
    """botocore alone takes the half for an empty answer."""
    with sandbox.local(None, faults=(sandbox.Fault("logs", "DescribeLogGroups", half=True, times=2),)) as session:
        session.client("logs").create_log_group(logGroupName="g")
        answer = session.client("logs").describe_log_groups()
        assert [g["logGroupName"] for g in answer["logGroups"]] == ["g"]
        assert answer["ResponseMetadata"]["RetryAttempts"] == 2


def test_the_tool_names_itself():
    with sandbox.local(None) as session:
        seen = []
        session.client("logs").meta.events.register(
            "before-send.*.*", lambda request, **_: seen.append(request.headers["User-Agent"])
        )
        session.client("logs").describe_log_groups()
    assert b"lift_insights/" in seen[0] if isinstance(seen[0], bytes) else "lift_insights/" in seen[0]


def test_bad_arguments_of_a_session(tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, says in (
        ({"budget_usd": -1}, "budget_usd needs"),
        ({"cache": tmp_path / "file"}, "cannot be made or written"),
        ({"audit": tmp_path / "file" / "audit.jsonl"}, "cannot be made or written"),
    ):
        with pytest.raises(InputError, match=says):
            local("http://127.0.0.1:9", **arguments)
