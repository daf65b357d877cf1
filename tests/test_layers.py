"""The house stands: a module imports from its own layer or one above it, and only some layers may do some things."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "lift_insights"

# From the top: data moves one way, so a module may import from its own line and from the lines above it.
LAYERS = {
    "frames": ("frames", "times", "redact", "simulate", "platform", "csvs"),
    "aws": ("aws",),
    "sources": ("sources",),
    "models": ("models",),
    "journeys": ("journeys",),
    "alarms": ("alarms",),
    "plots": ("plots",),
    "dashboards": ("dashboards",),
    "publish": ("publish",),
    "deploy": ("deploy",),
    "monitor": ("monitor",),
    "explore": ("explore",),
    "sandbox": ("sandbox",),
    "front": ("analysis", "checkup", "report", "page", "cli", "cli_alarms", "cli_common", "index"),
}
ORDER = list(LAYERS)
LAYER_OF = {room: layer for layer, rooms in LAYERS.items() for room in rooms}

AWS_LIBRARIES = ("boto3", "botocore", "aiobotocore")
MAKE_CLIENTS = ("aws", "sandbox")  # layers that may import them
KNOW_ERRORS = ("sources", "front")  # layers that may import botocore.exceptions, to say what went wrong
WRITE = ("deploy", "publish", "sandbox")  # layers that may call what changes an account
WRITES = re.compile(r"(put|delete|tag|untag|enable|disable)_\w+|set_alarm_state|create_log_(group|stream)")
HEAVY = ("prophet", "plotly", "boto3", "botocore", "pandas", "ipywidgets", "moto", "scipy", "jinja2")


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; a package's own is called `__init__`."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] != "_modidx":
            found[".".join(parts)] = path
    return found


def imported(node, name: str) -> list[str]:
    """The dotted names that an import asks for; a name taken from a module counts as its submodule too."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = [*name.split(".")[: -node.level], *filter(None, [node.module])] if node.level else [node.module]
    return [".".join([*base, alias.name]) for alias in node.names]  # nbdev writes our own imports as relative ones


def inside_functions(tree) -> set:
    """Nodes that run only when somebody calls something."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]
    return {
        inner
        for f in functions
        for part in (f.body if isinstance(f.body, list) else [f.body])
        for inner in ast.walk(part)
    }


def problems(name: str, source: str) -> list[str]:
    """What a module does that its layer may not do."""
    tree = ast.parse(source)
    room = name.split(".")[1]
    layer = LAYER_OF.get(room)
    if layer is None and room != "__init__":
        return [f"{name} is in no layer; give it one in tests/test_layers.py and in the design"]
    later = inside_functions(tree)
    found = []
    for node in ast.walk(tree):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            found.append(f"{where} imports a star")
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"{where} has a bare except")
        if isinstance(node, ast.Global):
            found.append(f"{where} keeps global state")
        for target in imported(node, name):
            found += [f"{where} {fault}" for fault in import_faults(layer, target, node in later)]
        called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
        if WRITES.fullmatch(called) and layer not in WRITE:
            found.append(f"{where} calls {called}; only {', '.join(WRITE)} change an account")
    return found


def import_faults(layer, target: str, later: bool):
    top, *rest = target.split(".")
    if top == PACKAGE and layer and rest and rest[0] in LAYER_OF:
        other = LAYER_OF[rest[0]]
        if ORDER.index(other) > ORDER.index(layer):
            yield f"imports {target}, which is {other}, below {layer}"
    only_errors = layer in KNOW_ERRORS and target.startswith("botocore.exceptions")
    if top in AWS_LIBRARIES and layer not in MAKE_CLIENTS and not only_errors:
        yield f"imports {target}; only {', '.join(MAKE_CLIENTS)} make clients"
    if top in HEAVY and not later and layer != "sandbox":
        yield f"imports {target} when it is loaded; import it in the function that needs it"


@pytest.mark.parametrize("name", modules())
def test_each_module_keeps_to_its_layer(name):
    assert problems(name, modules()[name].read_text(encoding="utf-8")) == []


PLANTED = {
    "models.x": "from lift_insights.alarms.math import evaluate",
    "frames": "def f():\n    from lift_insights import report",
    "sources.x": "import lift_insights.deploy.plan",
    "times": "from lift_insights.aws import session",
    "alarms.x": "def f():\n    import boto3",
    "plots.x": "def f():\n    import botocore.session",
    "deploy.x": "def f():\n    from botocore.exceptions import ClientError",
    "sources.y": "def f(c):\n    c.put_metric_alarm(AlarmName='x')",
    "monitor": "def f(c):\n    return lambda: c.delete_alarms()",
    "cli": "def f(session):\n    session.client('cloudwatch').tag_resource()",
    "plots.y": "import plotly.graph_objects as go",
    "models.y": "try:\n    from scipy import stats\nexcept ImportError:\n    stats = None",
    "models.z": "class A:\n    import pandas",
    "models.w": "def f(x=__import__):\n    pass\nfrom prophet import Prophet",
    "frames.x": "from polars import *",
    "times.x": "try:\n    pass\nexcept:\n    pass",
    "redact": "from .report import write",
    "journeys.x": "from ..alarms.math import evaluate",
    "journeys.y": "from .. import cli",
    "simulate": "def f():\n    global x\n    x = 1",
    "attic.x": "import math",
}
FINE = {
    "models.x": "from lift_insights.frames import POINTS\nfrom lift_insights.models import trend",
    "models.y": "from ..frames import POINTS\nfrom .trend import describe",
    "dashboards.x": "from lift_insights import plots, __version__",
    "plots.x": "def f():\n    import plotly.graph_objects as go",
    "cli": "def f():\n    from botocore.exceptions import ClientError\n    from lift_insights import sandbox",
    "sandbox.x": "import moto\nimport botocore",
    "aws.x": "def f():\n    import boto3",
    "deploy.x": "def f(c):\n    c.put_metric_alarm()",
    "aws.y": "def f(cache):\n    cache.put(1)",
    "report": "def f():\n    try:\n        pass\n    except ValueError:\n        pass",
}


@pytest.mark.parametrize("room", PLANTED)
def test_a_planted_violation_is_found(room):
    assert len(problems(f"{PACKAGE}.{room}", PLANTED[room])) == 1


@pytest.mark.parametrize("room", FINE)
def test_what_is_allowed_is_not_reported(room):
    assert problems(f"{PACKAGE}.{room}", FINE[room]) == []


def python(*arguments: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT)} | {"EAGER_IMPORT": ""}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=ROOT, env=env)


def test_import_is_light_and_quick():
    costs = []
    for _ in range(3):
        lines = python("-X", "importtime", "-c", f"import {PACKAGE}").stderr.splitlines()
        columns = [line.removeprefix("import time:").split("|") for line in lines if line.count("|") == 2]
        loaded = {name.strip().split(".")[0] for *_, name in columns}
        assert PACKAGE in loaded
        assert not loaded & {*HEAVY, "polars", "numpy"}
        costs.append(next(int(total) / 1e6 for _, total, name in columns if name.strip() == PACKAGE))
    assert min(costs) < 0.25


def test_no_module_loads_what_is_heavy():
    names = [name.removesuffix(".__init__") for name in modules() if ".sandbox" not in name]
    code = f"import importlib, sys\nfor n in {names!r}: importlib.import_module(n)\nprint(*sorted(sys.modules))"
    loaded = {name.split(".")[0] for name in python("-c", code).stdout.split()}
    assert {"polars", PACKAGE} <= loaded
    assert sorted(loaded & set(HEAVY)) == []
