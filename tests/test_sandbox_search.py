"""Searches, Metrics Insights and labels of the local AWS, against the guide's words and a slow twin."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights import sandbox
from lift_insights.sandbox import labels, search, select
from lift_insights.sandbox.cloudwatch import CloudWatch
from lift_insights.sandbox.search import Metric
from lift_insights.sandbox.server import AwsError, LocalAWS

NOW = datetime(2026, 3, 15, tzinfo=UTC)


def metric(namespace, name, **dimensions):
    return Metric(namespace, name, tuple(sorted(dimensions.items())), "123456789012")


# ---- the guide's page on the syntax of searches ----


@pytest.mark.parametrize(
    ("name", "whole", "tokens"),
    [
        ("CustomCount1", "customcount1", ["custom", "count", "1"]),
        ("SDBFailure", "sdbfailure", ["sdb", "failure"]),
        ("Project2-trial333", "project2trial333", ["project", "2", "trial", "333"]),
        ("Network-Errors_2", "networkerrors2", ["network", "errors", "2"]),
    ],
)
def test_the_guides_tokens(name, whole, tokens):
    assert search.whole(name) == whole
    assert [token.lower() for token in search.tokens(name)] == tokens


@pytest.mark.parametrize(
    ("text", "name", "holds"),
    [
        ("count", "CustomCount1", True),
        ("Count", "CustomCount1", True),
        ("COUNT", "CustomCount1", True),
        ("couNT", "CustomCount1", False),
        ("CustomCount", "CustomCount1", True),
        ("Count1", "CustomCount1", True),
        ("customcount", "CustomCount1", False),
        ("count1", "CustomCount1", False),
        ('"CustomCount1"', "CustomCount1", True),
        ('"customcount1"', "CustomCount1", False),
        ('"Custom"', "CustomCount1", False),
        ("network/errors", "Network-Errors-2", True),
        ("network+errors", "NetworkErrors2", True),
        ("network-errors", "Network-Errors-2", True),
        ("Network_Errors", "NetworkErrors2", True),
        ('"Network-Errors-2"', "Network-Errors-2", True),
        ('"Network_Errors_2"', "Network-Errors-2", False),
        (r'"Europe\\France Traffic\(Network\)"', r"Europe\France Traffic(Network)", True),
        ("errors network", "NetworkErrors2", True),
        ("errors/network", "NetworkErrors2", False),  # in a row, in this order
    ],
)
def test_the_guides_words(text, name, holds):
    assert search.matcher(text)(metric("n", name)) == holds


ACCOUNT = [
    metric("AWS/EC2", "CPUUtilization", InstanceId="i-1234567890123456"),
    metric("AWS/EC2", "CPUUtilization", InstanceType="t2.micro"),
    metric("AWS/EC2", "NetworkPacketsIn", InstanceId="i-1"),
    metric("AWS/EBS", "VolumeReadOps", VolumeId="ProjectA"),
    metric("AWS/EC2", "DiskReadOps", InstanceId="i-1"),
    metric("AWS/Lambda", "Errors", FunctionName="ProjectA"),
    metric("AWS/Lambda", "Invocations", FunctionName="ProjectB"),
    metric("AWS/Lambda", "Invocations", FunctionName="other"),
    metric("My Namespace", "Custom:Name[Special_Characters", **{"Dimension@Name": "v"}),
    metric("shop", "CPUUtilization"),
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{AWS/EC2,InstanceId} MetricName="CPUUtilization" NOT i-1234567890123456', []),
        ('{AWS/EC2,InstanceId} MetricName="CPUUtilization"', [0]),
        ("{AWS/EC2,InstanceId} network AND packets", [2]),
        ("{AWS/EC2,InstanceId} network packets", [2]),
        ("NOT Namespace=AWS", [8, 9]),
        ("(EC2 OR EBS) AND MetricName=ReadOps", [3, 4]),
        ("(EC2 OR EBS) MetricName=ReadOps", [3, 4]),
        ("(EC2 OR EBS) AND ReadOps AND ProjectA", [3]),
        (
            '{AWS/Lambda,FunctionName} MetricName="Errors" OR (MetricName="Invocations" AND (ProjectA OR ProjectB))',
            [5, 6],
        ),
        ('{AWS/Lambda, FunctionName}, MetricName="Errors"', [5]),
        ('{"My Namespace", "Dimension@Name"}, "Custom:Name[Special_Characters"', [8]),
        ('InstanceType="t2.micro" Namespace="AWS/EC2"', [1]),
        ("InstanceType=micro", [1]),
        ('"AWS/EC2" MetricName="CPUUtilization"', [0, 1]),
        ('"CPUUtilization"', [0, 1, 9]),
        ("{shop}", [9]),
        ('FunctionName=("ProjectA" OR "other")', [5, 7]),  # as Grafana writes it
        ('"FunctionName"=("ProjectA" OR "ProjectB") MetricName="Errors"', [5]),
        ("or", []),  # small letters: a word
        (':aws.AccountId="LOCAL" {shop}', "refused"),  # the schema stands first
        ('{shop} :aws.AccountId="LOCAL"', [9]),
        ("{shop} :aws.AccountId=999999999999", []),
        ("{AWS/EC2}", []),  # no metric without dimensions
        ("{AWS/EC2,InstanceId,InstanceType}", []),
    ],
)
def test_the_guides_searches(text, found):
    if found == "refused":
        with pytest.raises(AwsError, match="Error in SEARCH"):
            search.matcher(text)
        return
    assert [i for i, one in enumerate(ACCOUNT) if search.matcher(text)(one)] == found


# ---- any search, against a twin that works on its tree ----

TEXTS = st.sampled_from(["Errors", "Calls", "a b", "x(1)", 'q"q', "shop"])
METRICS = st.builds(
    lambda space, name, dims: Metric(space, name, tuple(sorted(dims.items())), "1"),
    st.sampled_from(["shop", "bank"]),
    TEXTS,
    st.dictionaries(st.sampled_from(["path", "kind"]), TEXTS, max_size=2),
)
LEAVES = st.tuples(st.just("term"), st.sampled_from([None, "MetricName", "Namespace", "path", "kind"]), TEXTS)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["AND", "OR", ""]), inner, inner), st.tuples(st.just("NOT"), inner)
    ),
    max_leaves=8,
)


def written(tree):
    if tree[0] == "term":
        exact = '"' + "".join("\\" + c if c in '"\\()' else c for c in tree[2]) + '"'
        return exact if tree[1] is None else f"{tree[1]}={exact}"
    return f"NOT ({written(tree[1])})" if tree[0] == "NOT" else f"({written(tree[1])}) {tree[0]} ({written(tree[2])})"


def holds(tree, one):
    if tree[0] == "NOT":
        return not holds(tree[1], one)
    if tree[0] != "term":
        return (any if tree[0] == "OR" else all)([holds(tree[1], one), holds(tree[2], one)])
    values = {"MetricName": [one.name], "Namespace": [one.namespace]} | {k: [v] for k, v in one.dimensions}
    everything = [one.name, one.namespace, *[t for pair in one.dimensions for t in pair]]
    return tree[2] in (everything if tree[1] is None else values.get(tree[1], []))


@settings(max_examples=150, deadline=None)
@given(TREES, st.lists(METRICS, min_size=1, max_size=10))
def test_any_search_means_what_its_tree_says(tree, account):
    test = search.matcher(written(tree))
    assert [test(one) for one in account] == [holds(tree, one) for one in account]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_search_or_refused(text):
    for read in (search.matcher, select.read, labels.check_label, labels.zone):
        with suppress(AwsError):  # and no other error
            read(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(METRICS, min_size=1, max_size=8, unique=True))
def test_labels_tell_series_apart(found):
    assert len(set(search.labels_of(found))) == len(found)


# ---- Metrics Insights against all observations, one by one ----


def laid_in(data, **more):
    """A CloudWatch with [(path, kind, minutes ago, values)]."""
    cloudwatch = CloudWatch(lambda: NOW, "us-east-1", **more)
    for path, kind, ago, values in data:
        dimensions = [{"Name": n, "Value": v} for n, v in (("path", path), ("kind", kind)) if v]
        cloudwatch.put_metric_data(
            "shop",
            [
                {
                    "MetricName": "m",
                    "Dimensions": dimensions,
                    "Timestamp": (NOW - timedelta(minutes=ago)).timestamp(),
                    "Values": values,
                }
            ],
        )
    return cloudwatch


def ask(cloudwatch, expression, *, minutes=60, period=300, **more):
    query = {"Id": "q", "Expression": expression, "Period": period} | more.pop("query", {})
    return cloudwatch.get_metric_data(
        [query], (NOW - timedelta(minutes=minutes)).timestamp(), NOW.timestamp(), ScanBy="TimestampAscending", **more
    )


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["/a", "/b", None]),
        st.sampled_from(["get", "put", None]),
        st.integers(1, 60),
        st.lists(st.integers(0, 9).map(float), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=20,
)
WORK = {"AVG": lambda v: sum(v) / len(v), "COUNT": len, "MAX": max, "MIN": min, "SUM": sum}


@settings(max_examples=60, deadline=None)
@given(
    ROWS,
    st.sampled_from(sorted(WORK)),
    st.sampled_from([(), ("path",), ("kind", "path")]),
    st.sampled_from([None, ("path", "/a"), ("kind", "get")]),
    st.booleans(),
)
def test_metrics_insights_counts_every_observation(rows, function, group, where, unequal):
    text = f"SELECT {function}(m) FROM shop"
    if where:
        text += f" WHERE {where[0]} {'!=' if unequal else '='} '{where[1]}'"
        rows_meant = [r for r in rows if (own := r[where[0] == "kind"]) is not None and (own == where[1]) != unequal]
    else:
        rows_meant = rows
    if group:
        text += f" GROUP BY {', '.join(group)}"
    expected = {}
    for path, kind, ago, values in rows_meant:
        label = " ".join({"path": path, "kind": kind}[name] or "Other" for name in group) or "q"
        start = int((NOW - timedelta(minutes=ago)).timestamp() // 300 * 300)
        expected.setdefault(label, {}).setdefault(start, []).extend(values)
    answer = ask(laid_in(rows), text)["MetricDataResults"]
    assert [r["Label"] for r in answer] == (sorted(expected) if group else ["q"])
    for one in answer:
        want = {t: WORK[function](v) for t, v in sorted(expected.get(one["Label"], {}).items())}
        assert one["Timestamps"].tolist() == list(want)
        assert one["Values"].tolist() == pytest.approx(list(want.values()))


def test_metrics_insights_orders_and_limits():
    cloudwatch = laid_in([(f"/{i:03d}", "get", 5, [float(i)]) for i in range(510)])
    top = ask(cloudwatch, "select max(m) from SCHEMA(shop, kind, path) group by path order by max() desc limit 3")
    assert [(r["Label"], r["Values"].tolist()) for r in top["MetricDataResults"]] == [
        ("/509", [509]),
        ("/508", [508]),
        ("/507", [507]),
    ]
    many = ask(cloudwatch, "SELECT MAX(m) FROM shop GROUP BY path")
    assert len(many["MetricDataResults"]) == 500
    assert [m["Code"] for m in many["Messages"]] == ["MaxQueryResultsExceeded"]
    assert ask(cloudwatch, "SELECT MAX(m) FROM SCHEMA(shop)")["MetricDataResults"][0]["Values"].tolist() == []


def test_metrics_insights_looks_back_two_weeks():
    cloudwatch = laid_in([("/a", "get", 13 * 1440, [1.0])])
    answer = ask(cloudwatch, "SELECT SUM(m) FROM shop", minutes=13 * 1440 + 10)
    assert answer["MetricDataResults"][0]["Values"].tolist() == [1.0]
    assert answer["Messages"] == []
    answer = ask(cloudwatch, "SELECT SUM(m) FROM shop", minutes=20 * 1440)
    assert answer["MetricDataResults"][0]["Values"].tolist() == [1.0]
    assert [m["Code"] for m in answer["Messages"]] == ["MaxQueryTimeRangeExceeded"]
    later = CloudWatch(lambda: NOW + timedelta(days=2), "us-east-1")
    later._store = cloudwatch._store
    assert ask(later, "SELECT SUM(m) FROM shop", minutes=20 * 1440)["MetricDataResults"][0]["Values"].tolist() == []


def test_a_query_goes_into_math():
    cloudwatch = laid_in([("/a", "get", 5, [1.0, 2.0]), ("/b", "get", 5, [4.0])])
    queries = [
        {"Id": "all", "Expression": "SELECT SUM(m) FROM shop", "Period": 300, "ReturnData": False},
        {"Id": "each", "Expression": "SEARCH('{shop,kind,path} m', 'Sum', 300)", "ReturnData": False},
        {"Id": "share", "Expression": "100 * each / all", "Label": "share of ${PROP('Dim.path')}"},
        {"Id": "half", "Expression": "all / 2"},
    ]
    answer = cloudwatch.get_metric_data(queries, NOW.timestamp() - 3600, NOW.timestamp())["MetricDataResults"]
    assert [(r["Id"], r["Values"].tolist()) for r in answer] == [
        ("share", pytest.approx([300 / 7])),
        ("share", pytest.approx([400 / 7])),
        ("half", [3.5]),
    ]


# ---- searches through GetMetricData ----


def test_searches_over_http():
    with sandbox.local(None, clock=NOW) as session:
        cloudwatch = session.client("cloudwatch")
        for path in ("/orders", "/pay"):
            for name, value in (("calls", 10.0), ("errors", 1.0)):
                data = {
                    "MetricName": name,
                    "Dimensions": [{"Name": "path", "Value": path}],
                    "Timestamp": NOW - timedelta(minutes=5),
                    "Value": value,
                }
                cloudwatch.put_metric_data(Namespace="shop", MetricData=[data])
        queries = [
            {"Id": "plain", "Expression": "SEARCH('{shop,path}', 'Sum', 60)"},
            {"Id": "named", "Expression": "SEARCH('{shop,path} errors', 'Sum', 60)", "Label": "errors of"},
            {
                "Id": "told",
                "Expression": "SEARCH('{shop,path} errors', 'Sum', 60)",
                "Label": "${LABEL}|${MAX}|${PROP('Stat')}|${PROP('MetricName')}",
            },
            {"Id": "one", "Expression": "SEARCH('{shop,path} errors pay', 'Sum', 60)"},
            {"Id": "none", "Expression": "SEARCH('{shop,path} nobody', 'Sum', 60)"},
            {"Id": "sum", "Expression": "SUM(named)"},
        ]
        answer = cloudwatch.get_metric_data(MetricDataQueries=queries, StartTime=NOW - timedelta(hours=1), EndTime=NOW)
    assert [(r["Id"], r["Label"], r["Values"]) for r in answer["MetricDataResults"]] == [
        ("plain", "/orders calls", [10]),
        ("plain", "/orders errors", [1]),
        ("plain", "/pay calls", [10]),
        ("plain", "/pay errors", [1]),
        ("named", "errors of /orders", [1]),
        ("named", "errors of /pay", [1]),
        ("told", "/orders|1|Sum|errors", [1]),
        ("told", "/pay|1|Sum|errors", [1]),
        ("one", "errors", [1]),
        ("sum", "sum", [2]),
    ]


def test_a_search_finds_500_series_and_says_so():
    cloudwatch = laid_in([(f"/{i}", "get", 5, [1.0]) for i in range(501)])
    answer = ask(cloudwatch, "SEARCH('{shop,kind,path}', 'Sum', 300)")
    assert len(answer["MetricDataResults"]) == 500
    assert [m["Code"] for m in answer["Messages"]] == ["MaxMetricsExceeded"]


# ---- accounts ----


def linked():
    """A monitoring account with a source, and one that is not linked; each has the metric `m`."""
    aws = LocalAWS(lambda: NOW)
    services = [aws.service("monitoring", "us-east-1", account * 12) for account in "123"]
    for service, value in zip(services, (1.0, 20.0, 300.0), strict=True):
        service.put_metric_data("shop", [{"MetricName": "m", "Timestamp": NOW.timestamp() - 300, "Value": value}])
    aws.links["1" * 12] = {"2" * 12}
    return services


def test_a_monitoring_account_lists_its_sources():
    own, source, _ = linked()
    assert [m["MetricName"] for m in own.list_metrics(Namespace="shop")["Metrics"]] == ["m"]
    both = own.list_metrics(Namespace="shop", IncludeLinkedAccounts=True)
    assert (len(both["Metrics"]), both["OwningAccounts"]) == (2, ["1" * 12, "2" * 12])
    one = own.list_metrics(Namespace="shop", IncludeLinkedAccounts=True, OwningAccount="2" * 12)
    assert one["OwningAccounts"] == ["2" * 12]
    assert source.list_metrics(Namespace="shop", IncludeLinkedAccounts=True)["OwningAccounts"] == ["2" * 12]
    for wrong in ({"OwningAccount": "2" * 12}, {"OwningAccount": "3" * 12, "IncludeLinkedAccounts": True}):
        with pytest.raises(AwsError):
            own.list_metrics(**wrong)


def test_a_monitoring_account_reads_its_sources():
    own, source, other = linked()
    stat = {"MetricStat": {"Metric": {"Namespace": "shop", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}}
    queries = [
        {"Id": "a", **stat},
        {"Id": "b", **stat, "AccountId": "2" * 12, "Label": "of ${PROP('AccountId')}"},
        {"Id": "c", **stat, "AccountId": "3" * 12},
        {"Id": "s", "Expression": "SEARCH('{shop} m', 'Sum', 60)"},
        {"Id": "t", "Expression": f"SEARCH('{{shop}} :aws.AccountId=\"{'2' * 12}\"', 'Sum', 60)"},
        {"Id": "i", "Expression": "SELECT SUM(m) FROM shop GROUP BY AWS.AccountId ORDER BY SUM() DESC", "Period": 60},
    ]
    answer = own.get_metric_data(queries, NOW.timestamp() - 3600, NOW.timestamp())["MetricDataResults"]
    assert [(r["Id"], r["Label"], r["Values"].tolist(), r["StatusCode"]) for r in answer] == [
        ("a", "m", [1.0], "Complete"),
        ("b", f"of {'2' * 12}", [20.0], "Complete"),
        ("c", "m", [], "Forbidden"),
        ("s", "1" * 12, [1.0], "Complete"),
        ("s", "2" * 12, [20.0], "Complete"),
        ("t", "m", [20.0], "Complete"),
        ("i", "2" * 12, [20.0], "Complete"),
        ("i", "1" * 12, [1.0], "Complete"),
    ]
    assert answer[2]["Messages"][0]["Code"] == "Forbidden"
    for service in (source, other):
        assert service.get_metric_data(queries[1:2], NOW.timestamp() - 3600, NOW.timestamp())["MetricDataResults"][0][
            "StatusCode"
        ] == ("Complete" if service is source else "Forbidden")


# ---- labels ----


def test_labels_over_http():
    with sandbox.local(None, clock=NOW) as session:
        cloudwatch = session.client("cloudwatch")
        data = [{"MetricName": "m", "Timestamp": NOW - timedelta(minutes=i), "Value": float(i)} for i in (1, 2, 4)]
        cloudwatch.put_metric_data(Namespace="shop", MetricData=data)
        stat = {"MetricStat": {"Metric": {"Namespace": "shop", "MetricName": "m"}, "Period": 60, "Stat": "Sum"}}
        label = "${AVG} ${FIRST} ${LAST} ${MIN_TIME} ${MAX_TIME_RELATIVE} ${FIRST_LAST_TIME_RANGE}"
        ask = {
            "MetricDataQueries": [{"Id": "a", **stat, "Label": label}],
            "StartTime": NOW - timedelta(hours=1),
            "EndTime": NOW,
        }
        got = cloudwatch.get_metric_data(**ask, LabelOptions={"Timezone": "-0330"})["MetricDataResults"][0]["Label"]
        assert got == f"{7 / 3} 4 1 2026-03-14T20:29:00-03:30 0:04:00 0:03:00"
        assert cloudwatch.get_metric_data(**ask, ScanBy="TimestampAscending")["MetricDataResults"][0][
            "Label"
        ].startswith(f"{7 / 3} 4 1 2026-03-14T23:59")
        for wrong in ({"Timezone": "UTC"}, {"Timezone": "+1560"}):
            with pytest.raises(ClientError, match="Timezone"):
                cloudwatch.get_metric_data(**ask, LabelOptions=wrong)
        seven = ask | {"MetricDataQueries": [{"Id": "a", **stat, "Label": "${MAX}" * 7}]}
        with pytest.raises(ClientError, match="6 dynamic values"):
            cloudwatch.get_metric_data(**seven)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_numbers_in_labels_lose_nothing(values):
    data = np.array(values)
    text = labels.filled("${FIRST} ${LAST} ${MAX} ${MIN}", "", {}, np.arange(len(data)) * 60, data, 0.0)
    assert [float(x) for x in text.split(" ")] == [values[0], values[-1], max(values), min(values)]
