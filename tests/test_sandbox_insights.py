"""The Insights language of the local AWS, against AWS's guide, against loops, and against slow twins."""

import calendar
import itertools
import json
import math
import statistics
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.sandbox import insights
from lift_insights.sandbox.functions import FUNCTIONS, Stamp, compare, number, order, period, text_of
from lift_insights.sandbox.insights import found_of, json_fields, run, understood
from lift_insights.sandbox.server import AwsError

START = 1_772_442_000_000  # 2026-03-02 09:00:00


def ask(query, messages, step_ms=60_000, start=START, **more):
    """The rows of a query over messages, one a minute, without @ptr."""
    events = found_of([start + i * step_ms for i in range(len(messages))], list(messages))
    answer = run(understood(query), events, **more)
    return [{cell["field"]: cell["value"] for cell in row if cell["field"] != "@ptr"} for row in answer.rows()]


def one(expression, message="x"):
    """What an expression gives for one message, as text; None for nothing."""
    rows = ask(f"fields {expression} as found", [message])
    return rows[0].get("found")


# Examples and descriptions of "Boolean, comparison, numeric, datetime, and other functions":
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax-operations-functions.html
GUIDE = {
    "2 ^ 3": "8",
    "10 % 3": "1",
    'ltrim("xyZxyfooxyZ", "xyZ")': "fooxyZ",
    'rtrim("xyZfooxyxyZ", "xyZ")': "xyZfoo",
    'trim("xyZxyfooxyxyZ", "xyZ")': "foo",
    'substr("xyZfooxyZ", 3, 3)': "foo",
    'substr("xyZfooxyZ", 3)': "fooxyZ",
    'replace("foo", "o", "0")': "f00",
    'strcontains("foobar", "oba")': "1",
    'strcontains("foobar", "x")': "0",
    'strcontains("FOO", "foo", true)': "1",
    'startsWith("foobar", "foo")': "1",
    'endsWith("foobar", "foo")': "0",
    'hexToAscii("48656c6c6f")': "Hello",
    'hexToDec("0xff")': "255",
    "decToHex(255)": "0xff",
    "decToHex(-255)": "-0xff",
    'isValidIp("192.0.2.1")': "1",
    'isValidIp("2001:db8::1")': "1",
    'isValidIpV4("2001:db8::1")': "0",
    'isValidIpV6("2001:db8::1")': "1",
    'isIpInSubnet("192.0.2.77", "192.0.2.0/24")': "1",
    'isIpInSubnet("2001:db8::9", "2001:db8::/32")': "1",
    'isIpv4InSubnet("192.0.3.1", "192.0.2.0/24")': "0",
    'isIpv6InSubnet("2001:db9::9", "2001:db8::/32")': "0",
    'isPrivateIP("10.1.2.3")': "1",
    'isPublicIP("8.8.8.8")': "1",
    'ipv4ToNumber("0.0.1.2")': "258",
    "toMillis(fromMillis(1642195111000))": "1642195111000",
    "fromMillis(1642195111000)": "2022-01-14 21:18:31.000",
    "datefloor(fromMillis(1642195111000), 1h)": "2022-01-14 21:00:00.000",
    "dateceil(fromMillis(1642195111000), 1h)": "2022-01-14 22:00:00.000",
    'isempty("")': "1",
    "isempty(nothing)": "1",
    'isblank(" \t")': "1",
    'isblank("a")': "0",
    "ispresent(nothing)": "0",
    "ispresent(@message)": "1",
    'coalesce(nothing, also, "c")': "c",
    'concat("a", 1, "b")': "a1b",
    'toupper("aé")': "AÉ",
    'tolower("AÉ")': "aé",
    'strlen("é☃")': "2",
    'messageSize("é☃")': "5",
    "abs(-3.5)": "3.5",
    "ceil(1.2)": "2",
    "floor(-1.2)": "-2",
    "greatest(1, 7, 3)": "7",
    "least(4, 2, 3)": "2",
    "sqrt(2.25)": "1.5",
    "log(1)": "0",
    "round(2.5)": "3",
    "round(2.345, 2)": "2.35",
    "if(1 < 2, 'yes', 'no')": "yes",
    "case(1 > 2, 'a', 2 > 1, 'b', 'c')": "b",
    "case(1 > 2, 'a', 'c')": "c",
    'jsonArraySize("[1, 2, 3]")': "3",
    'jsonArrayContains("[\\"admin\\"]", "admin")': "1",
    'jsonArrayContains("none", "admin")': "0",
    'jsonStringify(jsonParse("{\\"a\\": [1]}"))': '{"a":[1]}',
    'urlencode("a b/c")': "a%20b%2Fc",
    'urldecode("a%20b")': "a b",
    'base64decode(base64encode("hé"))': "hé",
    'regexReplace("a1b22", "[0-9]+", "#")': "a#b#",
    "isNumeric('1e3')": "1",
    "isNumeric('1 ms')": "0",
    'toInt("7.9")': "7",
}


@pytest.mark.parametrize("expression", GUIDE)
def test_functions_of_the_guide(expression):
    assert one(expression) == GUIDE[expression]


@pytest.mark.parametrize(
    "expression",
    [
        "1 / 0",
        "1 % 0",
        "nothing + 1",
        "'a' * 2",
        "sqrt(-1)",
        "log(0)",
        "(-8) ^ 0.5",
        "10 ^ 400",
        'jsonParse("7")',
        'jsonParse("no")',
        "toupper(jsonParse(@message))",
        "strlen(nothing)",
        'hexToDec("xyz")',
        'ipv4ToNumber("a")',
        "case(1 > 2, 'a')",
        "coalesce(nothing)",
        "toMillis('x')",
        "jsonArraySize('7')",
    ],
)
def test_what_has_no_answer_is_null(expression):
    assert one(expression, '{"a": 1}') is None


def test_now_and_the_window():
    clock = {"now": 1_772_500_000, "start": START, "end": START + 3_600_000}
    found = ask(
        "fields now() as n, queryStartTime() as s, queryEndTime() as e, queryTimeRange() as r", ["x"], clock=clock
    )
    assert found == [{"n": "1772500000", "s": str(START), "e": str(START + 3_600_000), "r": "3600000"}]
    late = ask(
        "filter toMillis(@timestamp) >= (now() * 1000 - 7200000)", ["x"] * 5, clock={"now": (START + 7_320_000) // 1000}
    )
    assert len(late) == 3


def test_structures():
    """From "Structure types" and from the page on unnest."""
    document = '{"status_code": 503, "users": [{"action": "GetData"}, {"action": "PutData"}], "user.id": "123"}'
    for query in (
        'fields jsonParse(@message) as js | filter js.users[1].action = "PutData"',
        'fields jsonParse(@message) as js | filter js.`user.id` = "123"',
        "fields jsonParse(@message) as js | filter js.status_code > 500 and js.users.0.action = 'GetData'",
        "fields jsonParse(@message) as js | filter not (js = js) and not (js.users = 1)",
    ):
        assert len(ask(query, [document])) == 1
    assert ask("fields jsonParse(@message) as js | stats count() by js.status_code", [document] * 2) == [
        {"js.status_code": "503", "count()": "2"}
    ]
    events = '{ "events": [ { "name": "exception" }, { "name": "user action" } ] }'
    found = ask("fields jsonParse(@message) as m | unnest m.events into event | display event.name", [events])
    assert found == [{"event.name": "exception"}, {"event.name": "user action"}]
    assert one("jsonParse(inner).startTime", '{"inner": "{\\"startTime\\": 1234}"}') == "1234"
    assert one("inner.startTime", '{"inner": "{\\"startTime\\": 1234}"}') is None


# "sort": https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax-Sort.html
SORTED = [
    "!:",
    "#",
    "*%04",
    "0#",
    "5A",
    "111A",
    "2345_",
    "@",
    "@_",
    "A",
    "A9876fghj",
    "a12345hfh",
    "0",
    "01",
    "1",
    "2",
    "3",
]


@settings(max_examples=50, deadline=None)
@given(st.permutations(SORTED))
def test_sort_as_in_the_guide(shuffled):
    documents = [json.dumps({"v": v}) for v in shuffled]
    assert [r["v"] for r in ask("fields v | sort v", documents)] in (
        SORTED,
        [*SORTED[:13], "1", "01", *SORTED[15:]],
        SORTED,
    )
    assert [r["v"] for r in ask("fields v | sort v desc", documents)] == SORTED[::-1]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.integers(-3, 3), st.sampled_from(["a", "b", "10", "9a", "10a", "x"])), max_size=12
    ),
    st.booleans(),
)
def test_sort_against_a_selection(values, down):
    """Slow twin: take the least that is left, the first of equals, again and again; what is missing comes last."""
    found = [
        r["i"] for r in ask(f"fields i, v | sort @timestamp | sort v {'desc' if down else 'asc'}", documents(values))
    ]
    left, expected = list(enumerate(values)), []
    while left:
        have = [pair for pair in left if pair[1] is not None]
        keys = [order(v) for _, v in have]
        best = have[keys.index(max(keys) if down else min(keys))] if have else left[0]
        left.remove(best)
        expected.append(str(best[0]))
    assert found == expected


def documents(values):
    return [json.dumps({"i": i} | ({} if v is None else {"v": v})) for i, v in enumerate(values)]


# "stats": all names of the units; caps from the page on functions.
UNITS = {
    "millisecond ms msec": ("milliseconds", 500),
    "second s sec": ("seconds", 30),
    "minute m min": ("minutes", 5),
    "hour h hr": ("hours", 3),
    "day d": ("days", 2),
    "week w": ("weeks", 1),
}


def test_names_of_units():
    for names, (unit, count) in UNITS.items():
        for name in names.split():
            for plural in (name, name + "s") if len(name) > 1 else (name,):
                assert period(f"{count}{plural}").ms == timedelta(**{unit: count}) / timedelta(milliseconds=1)
    assert [period(f"1{n}").months for n in ["month", "mo", "mons", "quarter", "q", "qtrs", "year", "y", "yr"]] == [
        1,
        1,
        1,
        3,
        3,
        3,
        12,
        12,
        12,
    ]
    assert period("300s") == period("60s")
    assert period("90m") == period("60m")
    assert period("48h") == period("24h")
    assert period("5000ms") == period("1s")
    assert [period(t) for t in ("5", "0m", "m", "5x", "1.5h", "5 m", "5M")] == [None] * 7


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 130 * 365 * 86_400_000),
    st.sampled_from(["1mo", "2mo", "1q", "1y", "7m", "12h", "3d"]),
)
def test_bins_against_the_calendar(at, text):
    at = Stamp(at)
    low, high = period(text).floor([at])[0], period(text).ceil([at])[0]
    assert low <= at <= high
    assert period(text).floor([low])[0] == low == period(text).ceil([low])[0]
    months = period(text).months
    if not months:
        assert low == at // period(text).ms * period(text).ms
        return
    begin = datetime.fromtimestamp(low / 1000, UTC)
    assert (begin.day, begin.hour, begin.microsecond) == (1, 0, 0)
    assert (begin.year * 12 + begin.month - 1) % months == 0
    days = sum(calendar.monthrange(*divmod_month(begin, k))[1] for k in range(months))
    assert at < low + days * 86_400_000
    assert high in (low, low + days * 86_400_000)


def divmod_month(begin, k):
    year, month = divmod(begin.year * 12 + begin.month - 1 + k, 12)
    return year, month + 1


LEAVES = st.sampled_from(["1", "2", "3", "7", "0.5", "v"])
TREES = st.recursive(LEAVES, lambda inner: st.tuples(st.sampled_from("+-*/%^"), inner, inner), max_leaves=6)
RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 3}


def written(tree, above=0, right=False) -> str:
    """With as few brackets as precedence allows: ^ binds to the right, the others to the left."""
    if isinstance(tree, str):
        return tree
    sign, a, b = tree
    rank = RANK[sign]
    text = f"{written(a, rank, sign == '^')} {sign} {written(b, rank, sign != '^')}"
    return f"({text})" if rank < above or (rank == above and right) else text


def worked_out(tree, v):
    if isinstance(tree, str):
        return v if tree == "v" else float(tree)
    sign, a, b = tree
    a, b = worked_out(a, v), worked_out(b, v)
    try:
        found = {
            "+": lambda: a + b,
            "-": lambda: a - b,
            "*": lambda: a * b,
            "/": lambda: a / b,
            "%": lambda: math.fmod(a, b),
            "^": lambda: a**b,
        }[sign]()
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return found if isinstance(found, float) and math.isfinite(found) else None


@settings(max_examples=200, deadline=None)
@given(TREES, st.sampled_from([0.0, 1.5, -2.0]))
def test_arithmetic_against_python(tree, v):
    expected = worked_out(tree, v)
    found = one(written(tree), json.dumps({"v": v}))
    if expected is None:
        assert found is None
    else:
        assert float(found) == pytest.approx(expected, rel=1e-12)


CONDITIONS = st.recursive(
    st.sampled_from(["a > 1", "b = 2", "a != b", "c"]),
    lambda inner: st.one_of(st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)),
    max_leaves=6,
)


def condition(tree) -> str:
    if isinstance(tree, str):
        return tree
    return (
        f"not ({condition(tree[1])})"
        if tree[0] == "not"
        else f"({condition(tree[1])}) {tree[0]} ({condition(tree[2])})"
    )


@settings(max_examples=200, deadline=None)
@given(CONDITIONS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 1))
def test_conditions_against_python(tree, a, b, c):
    expected = bool(eval(condition(tree).replace(" = ", " == "), {"a": a, "b": b, "c": c}))
    assert (len(ask(f"filter {condition(tree)}", [json.dumps({"a": a, "b": b, "c": c})])) == 1) is expected


def test_and_binds_before_or_and_not_before_both():
    rows = [json.dumps({"a": a, "b": b, "c": c}) for a, b, c in itertools.product((0, 1), repeat=3)]
    for text in (
        "a = 1 or b = 1 and c = 1",
        "not a = 1 and b = 1",
        "not a = 1 or not b = 1 and c = 0",
        "!ispresent(d) and a = 1",
    ):
        expected = [
            r for r in rows if eval(text.replace(" = ", " == ").replace("!ispresent(d)", "True"), json.loads(r))
        ]
        assert [r["@message"] for r in ask(f"filter {text} | sort @timestamp", rows)] == expected


VALUES = st.one_of(
    st.none(), st.integers(-3, 3), st.sampled_from([0.5, "1", "-2.0", "a", "", "1e1", "nan", Stamp(2), {"a": 1}, [1]])
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(VALUES, max_size=6),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    st.sampled_from([1, 0.5, "1", "a", "", "nan"]),
)
def test_quick_comparison_against_the_slow_one(values, sign, fixed):
    assert insights.against(values, sign, fixed) == [compare(v, sign, fixed) for v in values]


TOTALS = (
    "count(*) as rows, count(v) as n, count_distinct(v) as d, sum(v) as s, avg(v) as a, min(v) as lo, max(v) as hi, "
    "pct(v, 30) as p, median(v) as m, stddev(v) as sd, earliest(v) as e, latest(v) as l, sortsFirst(v) as f, sortsLast(v) as z"
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["x", "y", None]), st.one_of(st.none(), st.integers(-9, 9))), max_size=20))
def test_totals_against_loops(pairs):
    messages = [json.dumps({k: x for k, x in (("k", key), ("v", v)) if x is not None}) for key, v in pairs]
    groups = {}
    for key, v in pairs:
        groups.setdefault(key, []).append(v)
    found = {row.get("k"): row for row in ask(f"stats {TOTALS} by k", messages)}
    assert found.keys() == groups.keys()
    for key, values in groups.items():
        row, have = found[key], [v for v in values if v is not None]
        assert (row["rows"], row["n"], row["d"]) == (str(len(values)), str(len(have)), str(len(set(have))))
        if not have:
            assert set(row) <= {"k", "rows", "n", "d"}
            continue
        numbers = {name: float(row[name]) for name in ["s", "a", "lo", "hi", "p", "m", "sd", "e", "l", "f", "z"]}
        assert numbers == pytest.approx(
            {
                "s": sum(have),
                "a": statistics.fmean(have),
                "lo": min(have),
                "hi": max(have),
                "p": np.percentile(have, 30),
                "m": statistics.median(have),
                "sd": statistics.pstdev(have),
                "e": have[0],
                "l": have[-1],
                "f": min(have),
                "z": max(have),
            },
            abs=1e-9,
        )


def test_stats_of_the_guide():
    """From "Use multiple stats commands in a single query"."""
    messages = ["x" * 1024 * 1024 * (1 + i // 5) for i in range(10)]  # 1 MB a minute, then 2
    peak = (
        "FIELDS strlen(@message) AS message_length | STATS sum(message_length)/1024/1024 as logs_mb BY bin(5m) "
        "| STATS max(logs_mb) AS peak_ingest_mb, min(logs_mb) AS min_ingest_mb, avg(logs_mb) AS avg_ingest_mb"
    )
    assert ask(peak, messages) == [{"peak_ingest_mb": "10", "min_ingest_mb": "5", "avg_ingest_mb": "7.5"}]
    wider = (
        "FIELDS strlen(@message) AS message_length | STATS sum(message_length) / 1024 / 1024 AS logs_mb BY BIN(5m) as @t "
        "| STATS max(logs_mb) AS peak_ingest_mb BY dateceil(@t, 10m)"
    )
    assert ask(wider, messages) == [
        {"dateceil(@t, 10m)": "2026-03-02 09:00:00.000", "peak_ingest_mb": "5"},
        {"dateceil(@t, 10m)": "2026-03-02 09:10:00.000", "peak_ingest_mb": "10"},
    ]
    sessions = [("a", "ios", 1), ("a", "ios", 2), ("b", "ios", 1), ("c", "web", 1), ("c", "web", 2), ("c", "web", 2)]
    logs = [json.dumps({"session_id": s, "client_platform": p, "client_ip": f"10.0.0.{i}"}) for s, p, i in sessions]
    several = (
        "STATS count_distinct(client_ip) AS session_ips, count(*) AS requests BY session_id, client_platform | FILTER session_ips > 1 "
        "| STATS count(*) AS multiple_ip_sessions, sum(requests) / count(*) AS avg_session_requests BY client_platform | sort client_platform"
    )
    assert ask(several, logs) == [
        {"client_platform": "ios", "multiple_ip_sessions": "1", "avg_session_requests": "2"},
        {"client_platform": "web", "multiple_ip_sessions": "1", "avg_session_requests": "3"},
    ]
    times = (
        "stats max(@timestamp) as @t, min(@timestamp) as first by level | fields fromMillis(@t) as t | display first, t"
    )
    assert ask(times, ['{"level": "a"}'] * 3) == [{"first": str(START), "t": "2026-03-02 09:02:00.000"}]


def test_groups_without_a_name_of_their_own():
    logs = [json.dumps({"level": level}) for level in "aabab"]
    assert ask("stats count(*) by level, bin(1h) | sort count(*) desc | filter count(*) > 2 | limit 1", logs) == [
        {"level": "a", "bin(1h)": "2026-03-02 09:00:00.000", "count(*)": "3"}
    ]
    assert ask("stats count(*) by nothing", []) == []
    assert ask("stats count(*), max(v), sum(v) as s", []) == [{"count(*)": "0"}]


# "parse": https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax-Parse.html
LATENCY = [
    f"x user={u}, method:{m}, latency := {n}" for u, m, n in (("ann", "get", 10), ("ann", "get", 20), ("bob", "put", 5))
]


@pytest.mark.parametrize(
    "parse",
    [
        'parse @message "user=*, method:*, latency := *" as @user, @method, @latency',
        'parse "user=*, method:*, latency := *" as @user, @method, @latency',
        r"parse @message /user=(?<user2>.*?), method:(?<method2>.*?), latency := (?<latency2>\d+)/ | fields user2 as @user, method2 as @method, latency2 as @latency",
        r"parse @message /user=(.*?), method:(.*?), latency := (\d+)/ as @user, @method, @latency",
    ],
)
def test_parse_of_the_guide(parse):
    assert ask(f"{parse} | stats avg(@latency) by @method, @user | sort @user", LATENCY) == [
        {"@method": "get", "@user": "ann", "avg(@latency)": "15"},
        {"@method": "put", "@user": "bob", "avg(@latency)": "5"},
    ]


def test_parse_keeps_what_does_not_fit():
    found = ask(
        'fields @message | parse @message "[*] *" as loggingType, loggingMessage | sort @timestamp',
        ["[ERROR] no", "plain"],
    )
    assert found == [{"@message": "[ERROR] no", "loggingType": "ERROR", "loggingMessage": "no"}, {"@message": "plain"}]
    typed = "parse @message '[*] *' as kind, text | filter kind in ['ERROR', 'INFO'] | display text, kind = 'ERROR' as isError | sort text"
    assert ask(typed, ["[ERROR] no", "[INFO] ok", "[WARN] hm"]) == [
        {"text": "no", "isError": "1"},
        {"text": "ok", "isError": "0"},
    ]
    chained = (
        'parse @message "url=*" as url | parse url "/api/*/users/*" as apiVersion, userId | display apiVersion, userId'
    )
    assert ask(chained, ["url=/api/v2/users/42"]) == [{"apiVersion": "v2", "userId": "42"}]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("abc", max_size=3), min_size=2, max_size=4))
def test_glob_gives_back_the_parts(parts):
    glob, names = "|".join("*" * len(parts)), [f"p{i}" for i in range(len(parts))]
    found = ask(f"parse @message '{glob}' as {', '.join(names)} | display {', '.join(names)}", ["|".join(parts)])
    assert found == [dict(zip(names, parts))]


def test_like_and_regular_expressions_of_the_guide():
    logs = ["an Exception", "an exception", "exception", "none"]
    for query, expected in {
        "f1 like /Exception/": [0],
        "f1 =~ /Exception/": [0],
        'f1 like "Exception"': [0],
        "f1 like /(?i)Exception/": [0, 1, 2],
        "f1 =~ /^(?i)Exception$/": [2],
        "f1 not like /(?i)exception/": [3],
        "f1 not in ['none', 'exception']": [0, 1],
        "f1 like /an|none/": [0, 1, 3],
    }.items():
        found = ask(f"fields @message as f1 | filter {query} | sort @timestamp", logs)
        assert [logs.index(r["f1"]) for r in found] == expected


def test_dedup_keeps_what_has_no_value():
    logs = [json.dumps({"i": i} | ({"server": s} if s else {})) for i, s in enumerate(["a", "b", None, "a", None, "b"])]
    assert [r["i"] for r in ask("fields i | sort @timestamp desc | dedup server", logs)] == ["5", "4", "3", "2"]
    assert [r["i"] for r in ask("fields i | sort @timestamp | dedup server | limit 3", logs)] == ["0", "1", "2"]


def test_fields_display_comments_and_backticks():
    logs = [json.dumps({"foo-bar": 5, "f3": 1, "f4": 4, "action": "x", "@example.com": "y", "a b": 1})]
    query = "fields `foo-bar`, action, abs(f3-f4) # a remark | limit 0\n | fields @@example.com, `a b` as spaced"
    assert ask(query, logs) == [{"foo-bar": "5", "action": "x", "abs(f3-f4)": "3", "@@example.com": "y", "spaced": "1"}]
    assert ask("fields action | display f3 | display f4, f3 + f4 as s | fields action", logs) == [{"f4": "4", "s": "5"}]
    assert ask("unmask @message", ["secret"]) == [{"@message": "secret"}]
    assert list(ask("filter 1 = 1", ["m"])[0]) == ["@timestamp", "@message"]


def test_discovered_fields():
    """From "Supported logs and discovered fields", and Lambda's own sample queries."""
    trail = json.dumps(
        {"requestParameters": {"instancesSet": {"items": [{"instanceId": "i-abcde123"}]}}, "ok": True, "no": None}
    )
    found = ask(
        'fields ok | filter requestParameters.instancesSet.items.0.instanceId="i-abcde123" and not ispresent(no)',
        [trail],
    )
    assert found == [{"ok": "1"}]
    lines = [
        "START RequestId: 91572f2d-bfbd-4c9d-aad4-3cfc5c80319c Version: $LATEST",
        "2026-03-02T09:00:00.123Z\t91572f2d-bfbd-4c9d-aad4-3cfc5c80319c\tINFO\thello",
        "END RequestId: 91572f2d-bfbd-4c9d-aad4-3cfc5c80319c",
        "REPORT RequestId: 91572f2d-bfbd-4c9d-aad4-3cfc5c80319c\tDuration: 102.25 ms\tBilled Duration: 103 ms\tMemory Size: 512 MB\t"
        "Max Memory Used: 61 MB\tInit Duration: 250.75 ms\t\nXRAY TraceId: 1-5f-aa\tSegmentId: 5d\tSampled: true",
    ]
    provisioned = (
        'filter @type = "REPORT" | stats max(@memorySize / 1000 / 1000) as provisonedMemoryMB, max(@maxMemoryUsed / 1000 / 1000) as maxUsed, '
        "max(@duration), max(@billedDuration), max(@initDuration), count(@xrayTraceId), latest(@xraySegmentId)"
    )
    assert list(ask(provisioned, lines)[0].values()) == ["512", "61", "102.25", "103", "250.75", "1", "5d"]
    assert ask("stats count(*) as n by @requestId", lines) == [
        {"@requestId": "91572f2d-bfbd-4c9d-aad4-3cfc5c80319c", "n": "4"}
    ]
    where = ask("fields @log, @logStream, @aws.region, @aws.account, @ingestionTime", ["x"])
    assert list(where[0].values())[:4] == ["123456789012:/group", "stream", "us-east-1", "123456789012"]


KEYS = st.sampled_from(["a", "b", "a.b", "0", "c"])
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.text("xy", max_size=2)),
        lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(KEYS, inner, max_size=3)),
        max_leaves=8,
    ),
    max_size=4,
)


def flat(value, path=""):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        yield path, value
        return
    for key, inner in pairs:
        yield from flat(inner, f"{path}.{key}" if path else str(key))


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS)
def test_json_fields_against_flattening(document):
    leaves = {}
    for path, value in flat(document):
        leaves.setdefault(path, set()).add(int(value) if isinstance(value, bool) else value)
    names = [*leaves, "nothing", "a.nothing"]
    found = json_fields([json.dumps(document), "no JSON"], names)
    for name in names:
        assert found[name][1] is None
        assert found[name][0] in leaves.get(name, {None}) | ({None} if len(leaves.get(name, ())) > 1 else set())


def test_pattern():
    """The first three lines are those of "Pattern analysis"."""
    logs = [
        "2023-01-01 19:00:01 [INFO] Calling DynamoDB to store for resource id 12342342k124-12345",
        "2023-01-01 19:00:02 [INFO] Calling DynamoDB to store for resource id 324892398123-12345",
        "2023-01-01 19:00:03 [INFO] Calling DynamoDB to store for resource id 3ff231242342-12345",
        "card 17 declined: ERROR at 192.0.2.1",
    ]
    found = ask("pattern @message", [*logs, logs[3]])
    assert [set(row) for row in found[:1]] == [{"@pattern", "@ratio", "@sampleCount", "@severityLabel"}]
    assert sum(int(row["@sampleCount"]) for row in found) == 5
    assert all(
        row["@pattern"].startswith("<Time-1> [INFO] Calling DynamoDB to store for resource id <")
        for row in found
        if row["@severityLabel"] == "Info"
    )
    declined = next(row for row in found if row["@severityLabel"] == "Error")
    assert declined == {
        "@pattern": "card <Number-1> declined: ERROR at <IP-2>",
        "@ratio": "0.4",
        "@sampleCount": "2",
        "@severityLabel": "Error",
    }
    chained = "filter @message like /ERROR/ | parse @message 'card * declined: *' as card, cause | pattern cause | sort @sampleCount asc | limit 1"
    assert ask(chained, logs)[0]["@pattern"] == "ERROR at <IP-1>"


def test_matched_counts_what_the_filters_let_through():
    events = found_of([START + i for i in range(10)], [json.dumps({"v": i}) for i in range(10)])
    for query, rows, matched in (
        ("fields v", 10, 10),
        ("filter v > 3 | limit 2", 2, 6),
        ("filter v > 3 | stats count(*) by v | filter v > 7", 2, 6),
        ("sort v | filter v > 3 | limit 1", 1, 6),
    ):
        answer = run(understood(query), events)
        assert (len(answer), answer.matched) == (rows, matched)
    assert len(run(understood("fields v"), events, 3)) == 3
    assert [r[0]["value"] for r in run(understood("fields v | limit 2"), events, 9).rows()] == ["9", "8"]


def test_pages_are_slices_of_the_rows():
    events = found_of([START + i for i in range(25)], [str(i) for i in range(25)])
    answer = run(understood("fields @message"), events)
    assert answer.rows(0, 10) + answer.rows(10, 20) + answer.rows(20, 30) == answer.rows()


MALFORMED = {
    "fields": 6,
    "fields level |": 14,
    "| fields level": 0,
    "SOURCE logGroups()": 0,
    "anomaly": 0,
    "stats median()": 13,
    "stats count(*) by bin(5)": 22,
    "stats count(*) by bin(5x)": 22,
    "stats count(*) + level": 17,
    "stats level": 6,
    "stats 5": 0,
    "stats avg(*)": 10,
    "stats pct(x)": 11,
    "stats pct(x, 101)": 6,
    "filter level == 'a'": 14,
    "filter level = 'a": 15,
    "filter level like level": 18,
    "filter (level = 'a'": 19,
    "filter level in []": 17,
    "filter level not 3": 17,
    "filter a = 1 and": 16,
    "filter x like /(/": 14,
    "sort": 4,
    "limit 0": 6,
    "limit 100001": 6,
    "limit x": 6,
    "limit 2.5": 6,
    "fields @nonsense": 7,
    "fields nosuch(level)": 7,
    "fields strlen()": 14,
    "fields substr(a)": 7,
    "fields now(1)": 11,
    "fields level as": 15,
    "fields as": 7,
    "fields a +": 10,
    "fields a $ b": 9,
    "parse message 'a * b *' as one": 14,
    "parse message 'a *'": 19,
    "parse message 'a' as one": 14,
    "parse message as one": 14,
    "unnest a": 8,
    "stats count(*) as n by level | sort @timestamp": 36,
    "stats sum(Fault) by Operation | stats max(strlen(@message))": 49,
    "stats sum(x) as s by @logStream | stats avg(s) by bin(5m)": 50,
    "sort x | stats count(*)": 9,
    "limit 5 | stats count(*)": 10,
    "dedup a | sort b": 10,
    "dedup a | display b": 10,
    "pattern level": 8,
    "stats count(*) by x | pattern x": 30,
    "pattern @message | fields @message": 26,
    "filterIndex a > 3": 12,
    "filterIndex a like /b/": 12,
    "filter a = 1 fields b": 13,
    " | ".join(["stats count(*)"] * 11): 170,
}


@pytest.mark.parametrize("query", MALFORMED)
def test_malformed_queries_say_where(query):
    with pytest.raises(AwsError) as error:
        understood(query)
    assert error.value.code == "MalformedQueryException"
    assert error.value.members["queryCompileError"]["location"]["startCharOffset"] == MALFORMED[query]


@settings(max_examples=300, deadline=None)
@given(st.text("filter stats by|(),=<>'\"`@#/*+-. 5m[]", max_size=40))
def test_any_text_is_understood_or_refused(text):
    try:
        query = understood(text)
    except AwsError as error:
        if error.code != "MalformedQueryException":
            raise
        return
    run(query, found_of([START], ["x"])).rows()


def test_every_function_takes_anything():
    odd = [None, "", "x", "1", 2.5, -1, Stamp(START), {"a": 1}, [1], "[1]", "10.0.0.1"]
    for name, function in FUNCTIONS.items():
        for values in itertools.product(odd, repeat=min(function.fewest, 2)):
            given_values = [*values, *["1"] * (function.fewest - len(values))]
            if not function.open and None in given_values:
                continue
            found = function.call(*given_values)
            assert found is None or isinstance(found, (str, int, float, dict, list)), name
            text_of(found)


@pytest.mark.parametrize("text", ["nan", "inf", "1_0", " 1", "1 ", "٣", "", "-", "1e", "0x1"])
def test_what_is_no_number(text):
    assert number(text) is None
