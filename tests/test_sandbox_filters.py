"""Filter patterns of the local CloudWatch Logs, against AWS's guide and against slow twins."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_insights.sandbox.filters import matcher
from lift_insights.sandbox.server import AwsError

# From "Filter pattern syntax for metric filters, subscription filters, filter log events, and Live Tail":
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
LINES = (
    "[ERROR 400] BAD REQUEST",
    "[ERROR 401] UNAUTHORIZED REQUEST",
    "[ERROR 419] MISSING ARGUMENTS",
    "[ERROR 420] INVALID ARGUMENTS",
    "[ERROR 500] INTERNAL SERVER ERROR",
    "[INFO] REQUEST FAILED",
    "[SUCCESS 200] AUTHORIZED REQUEST",
)
TERMS = {
    "ERROR": (0, 1, 2, 3, 4),
    "ERROR ARGUMENTS": (2, 3),
    "?ERROR ?ARGUMENTS": (0, 1, 2, 3, 4),
    "?ERROR ?ARGUMENTS REQUEST": (0, 1, 5, 6),
    '"INTERNAL SERVER ERROR"': (4,),
    "ERROR -ARGUMENTS": (0, 1, 4),
    '" "': (0, 1, 2, 3, 4, 5, 6),
    "": (0, 1, 2, 3, 4, 5, 6),
    "%AUTHORIZED%": (1, 6),
    "error": (),
}


@pytest.mark.parametrize("pattern", TERMS)
def test_terms_of_the_guide(pattern):
    test = matcher(pattern) or (lambda line: True)
    assert tuple(i for i, line in enumerate(LINES) if test(line)) == TERMS[pattern]


REGEXES = {
    "%^[hc]at%": (["hat", "cats"], ["that"]),
    "%[hc]at$%": (["hat", "a cat"], ["hats"]),
    "%colou?r%": (["color", "colour"], ["colr"]),
    "%[abcx-z]%": (["x", "b"], ["d"]),
    "%^a{3,5}$%": (["aaa", "aaaaa"], ["aa", "aaaaaa"]),
    "%^starting|^initializing|^shutting down%": (
        ["starting ...", "initializing ...", "shutting down"],
        ["skipping initializing ..."],
    ),
    "%\\[.\\]%": (["[a]", "[]]", "[ ]"], ["[]", "[ab]"]),
    "%10\\.10\\.0\\.1%": (["10.10.0.1"], ["10010,051"]),
    "%ab*c%": (["ac", "abc", "abbbc"], ["adc"]),
    "%ab+c%": (["abc", "abbbc"], ["ac"]),
    "%\\x3A%": ([":"], [";"]),
    "%\\x28%": (["("], [")"]),
    "%\\d\\s\\w%": (["1 a"], ["a a"]),
}


@pytest.mark.parametrize("pattern", REGEXES)
def test_regular_expressions_of_the_guide(pattern):
    yes, no = REGEXES[pattern]
    assert all(map(matcher(pattern), yes))
    assert not any(map(matcher(pattern), no))


TRAIL = json.dumps(
    {
        "eventType": "UpdateTrail",
        "sourceIPAddress": "111.111.111.111",
        "arrayKey": ["value", "another value"],
        "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
        "SomeObject": None,
        "cluster.name": "c",
        "ThisFlag": True,
    }
)
USERS = json.dumps(
    {
        "user": {"id": 1, "email": "John.Stiles@example.com"},
        "users": [{"id": 2, "email": "John.Doe@example.com"}, {"id": 3, "email": "Jane.Doe@example.com"}],
        "actions": ["GET", "PUT", "DELETE"],
        "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]],
    }
)
MEASURES = json.dumps(
    {"bandwidth": 80, "latency": 40.5, "errorCode": 400, "number": [1000, 0.001], "text": "400", "list": [1, 2]}
)
JSON = [
    (TRAIL, '{ $.eventType = "UpdateTrail" }', True),
    (TRAIL, "{ $.sourceIPAddress != 123.123.* }", True),
    (TRAIL, "{ $.sourceIPAddress != 111.111.* }", False),
    (TRAIL, '{ $.arrayKey[0] = "value" }', True),
    (TRAIL, "{ $.eventType = %Trail% }", True),
    (TRAIL, "{ $.arrayKey[*] = %val.{2}% }", True),
    (TRAIL, "{ $.* = %111\\.111\\.111\\.1[0-9]{1,2}% }", True),
    (TRAIL, "{ $.['cluster.name'] = \"c\" }", True),
    (TRAIL, "{ $.SomeObject IS NULL }", True),
    (TRAIL, "{ $.SomeOtherObject NOT EXISTS }", True),
    (TRAIL, "{ $.SomeObject NOT EXISTS }", False),
    (TRAIL, "{ $.ThisFlag IS TRUE }", True),
    (TRAIL, "{ $.ThisFlag IS FALSE }", False),
    (TRAIL, "{ $.objectList[1].id = 2 }", True),
    (TRAIL, "{ $.objectList[*].name = b }", True),
    (TRAIL, "{ $.objectList[*].id > 2 }", False),
    (TRAIL, "{ $.objectList = 1 || $.objectList != 1 }", False),
    (TRAIL, '{ $.eventType = "*Trail" }', True),
    (TRAIL, '{ $.eventType = "Update*" }', True),
    (USERS, '{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }', True),
    (
        USERS,
        '{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch" && $.actions[2] = "nonmatch" }',
        True,
    ),
    (
        USERS,
        '{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch") && $.actions[2] = "nonmatch" }',
        False,
    ),
    (USERS, '{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }', False),
    (USERS, "{ $.coordinates[1][2] = 6 }", True),
    (MEASURES, "{ $.bandwidth > 75 }", True),
    (MEASURES, "{ $.latency < 50 }", True),
    (MEASURES, "{ $.latency >= 41 }", False),
    (MEASURES, "{ $.errorCode = 400}", True),
    (MEASURES, "{ $.errorCode != 400 }", False),
    (MEASURES, "{ $.errorCode = 4* }", True),
    (MEASURES, "{ $.errorCode = 5* }", False),
    (MEASURES, "{ $.latency = * }", True),
    (MEASURES, "{ $.nothing = * }", False),
    (MEASURES, "{ $.number[0] = 1e+3 }", True),
    (MEASURES, "{ $.number[1] != 1e-3 }", False),
    (MEASURES, "{ $.text > 1 }", False),
    (MEASURES, "{ $.text = 4* }", True),
    ("no JSON", "{ $.a NOT EXISTS }", False),
    ("[1]", "{ $.a NOT EXISTS }", False),
    ('{"broken', "{ $.a NOT EXISTS }", False),
]


@pytest.mark.parametrize(("message", "pattern", "expected"), JSON)
def test_json_of_the_guide(message, pattern, expected):
    assert matcher(pattern)(message) is expected


ACCESS = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'
EVENTS = [
    "INFO 09/25/2014 12:00:00 GET /service/resource/67 1200",
    "INFO 09/25/2014 12:00:01 POST /service/resource/67/part/111 1310",
    "WARNING 09/25/2014 12:00:02 Invalid user request",
    "ERROR 09/25/2014 12:00:02 Failed to process request",
]
FIELDS = [
    ([ACCESS], "[ip=%127\\.0\\.0\\.[1-9]%, user, username, timestamp, request =*.html*, status_code = 4*, bytes]", [0]),
    ([ACCESS], "[..., request =*.html*, status_code = 4*, bytes]", [0]),
    (
        [ACCESS],
        "[ip, user, username, timestamp, request =*.html*, status_code = 404 || status_code = 410, bytes]",
        [0],
    ),
    ([ACCESS], "[ip, user, username, timestamp, request, status_code = 4* && status_code != 403, bytes]", [0]),
    ([ACCESS], "[ip, user, username, timestamp, request, status_code = 4* && status_code != 404, bytes]", []),
    ([ACCESS], "[ip, user, username, timestamp, request, status_code, bytes > 1000]", [0]),
    ([ACCESS], "[ip, user, username, timestamp, request, status_code, bytes > 1534]", []),
    ([ACCESS], '[ip, user, username, timestamp = "10/Oct/2000*", ...]', [0]),
    ([ACCESS], "[..., request=*.html*, status_code=4*,]", [0]),
    ([ACCESS], "[a, b, c, d, e, f, g, h]", []),
    ([ACCESS], "[a, ..., g]", [0]),
    ([ACCESS], "[a, b, c, d, ..., e, f, g, h]", []),
    (EVENTS, "[w1=ERROR, w2]", [3]),
    (EVENTS, "[w1=ERROR || w1=WARNING, w2]", [2, 3]),
    (EVENTS, "[w1!=ERROR && w1!=WARNING, w2]", [0, 1]),
    (EVENTS, "[logLevel, date, time, method, url=%/service/resource/[0-9]+$%, response_time]", [0]),
    (EVENTS, "[logLevel, date, time, method, url=%/service/resource/[0-9]+/part/[0-9]+$%, response_time]", [1]),
    (EVENTS, "[..., ms >= 1310]", [1]),
    (EVENTS, '[(w1 = "*WARN*" || w1 = "*ERR*") && w1 != "*Failed*"]', [2]),
]


@pytest.mark.parametrize(("lines", "pattern", "expected"), FIELDS)
def test_fields_of_the_guide(lines, pattern, expected):
    assert [i for i, line in enumerate(lines) if matcher(pattern)(line)] == expected


@pytest.mark.parametrize(
    "pattern",
    [
        "{ $.a = }",
        "{ $.a = 1",
        "{ a = 1 }",
        "{ $.a = 1 && }",
        "{ $.a = 1 $.b = 2 }",
        "{ ($.a = 1 }",
        "{ }",
        "{ $.a > b }",
        "{ $.a IS 3 }",
        "{ $.a IS NOT NULL }",
        "{ $.a EXISTS }",
        "{ $.a NOT NULL }",
        "{ $.a[*].b[*] = 1 }",
        "{ $.*.a.* = 1 }",
        "{ $.a[*] = 1 || $.b[*] = 1 || $.c[*] = 1 || $.d[*] = 1 }",
        "{ $.a = %x% || $.b = %y% || $.c = %z% }",
        '"open',
        "a.b",
        "%(a)%",
        "%something!%",
        "%é%",
        "%[%",
        "[a, b",
        "[..., a, ...]",
        "[a = 1 || b = 2, c]",
        "[a >]",
        "[a > b]",
        "[a = %x%, b = %y%, c = %z%]",
        "[a b, c]",
    ],
)
def test_what_aws_refuses_is_refused(pattern):
    with pytest.raises(AwsError, match="Invalid filter pattern") as error:
        matcher(pattern)
    assert error.value.code == "InvalidParameterException"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "-"]), st.sampled_from("abc")), min_size=1, max_size=4),
    st.text("abc ", max_size=6),
)
def test_terms_are_substrings(terms, message):
    test = matcher(" ".join(sign + word for sign, word in terms))
    assert test(message) == all((word in message) == (sign == "") for sign, word in terms)


NAMES, NUMBERS = st.sampled_from("abc"), st.integers(-3, 3)
LEAVES = st.tuples(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), NAMES, NUMBERS)
TREES = st.recursive(LEAVES, lambda inner: st.tuples(st.sampled_from(["&&", "||"]), inner, inner), max_leaves=6)


def written(tree) -> str:
    sign, left, right = tree
    return f"({written(left)} {sign} {written(right)})" if sign in ("&&", "||") else f"$.{left} {sign} {right}"


def holds(tree, document) -> bool:
    sign, left, right = tree
    if sign in ("&&", "||"):
        return {"&&": all, "||": any}[sign]([holds(left, document), holds(right, document)])
    sign = "==" if sign == "=" else sign
    return left in document and eval(f"{document[left]} {sign} {right}")


@settings(max_examples=200, deadline=None)
@given(TREES, st.dictionaries(NAMES, NUMBERS))
def test_compound_conditions_against_python(tree, document):
    assert matcher(f"{{ {written(tree)} }}")(json.dumps(document)) is holds(tree, document)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "7", "12"]), max_size=5), st.lists(st.sampled_from("ab*"), max_size=3))
def test_fields_in_their_order(words, wanted):
    """With an ellipsis behind, a pattern of equalities is a prefix of the line's words."""
    items = [f"w{i}" + ("" if want == "*" else f" = {want}") for i, want in enumerate(wanted)]
    expected = len(words) >= len(wanted) and all(want in ("*", word) for want, word in zip(wanted, words))
    assert matcher(f"[{', '.join([*items, '...'])}]")(" ".join(words)) is expected
