"""Promises of the repository itself."""

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_network_is_closed():
    import socket

    with pytest.raises(OSError, match="only this machine"):
        socket.create_connection(("203.0.113.1", 443), timeout=1)


def test_settings_have_no_comments_and_keep_the_caps():
    text = (ROOT / "settings.ini").read_text()
    assert not re.search(r"^\s*[#;]", text, re.MULTILINE)
    cfg = ConfigParser(delimiters=["="])
    cfg.read_string(text)
    dev = cfg["DEFAULT"]["dev_requirements"].split()
    assert {"nbdev==2.4.14", "fastcore<2", "execnb<0.2", "ghapi<2"} <= set(dev)
    assert cfg["DEFAULT"]["update_pyproject"] == "False"


def test_every_direct_requirement_is_pinned():
    cfg = ConfigParser(delimiters=["="])
    cfg.read(ROOT / "settings.ini")
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / ".ci/constraints.txt").read_text().split()
    }
    asked = " ".join(v for k, v in cfg["DEFAULT"].items() if k.endswith("requirements")).split()
    names = {re.split(r"[<>=\[]", one)[0].lower().replace("_", "-") for one in asked}
    assert names <= pinned


def test_setup_packages_every_subpackage():
    done = subprocess.run([sys.executable, "-c", "from setuptools import find_packages; print(*find_packages(include=['lift_insights', 'lift_insights.*']))"],
                          cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    packages = set(done.stdout.split())
    folders = {str(p.parent.relative_to(ROOT)).replace("/", ".") for p in ROOT.glob("lift_insights/**/*.py")}
    assert folders <= packages


def test_notebooks_are_small_and_hold_no_page_of_plotly():
    for nb in ROOT.glob("nbs/**/*.ipynb"):
        if ".ipynb_checkpoints" not in nb.parts:
            assert nb.stat().st_size < 400_000, nb.name


@pytest.mark.parametrize("pattern", [r"AKIA(?!IOSFODNN7EXAMPLE)[0-9A-Z]{16}", r"aws_secret_access_key\s*=\s*\S{30,}"])
def test_no_credentials_in_the_tree(pattern):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in (".py", ".ipynb", ".md", ".csv", ".ini", ".json") and "test" not in name:
            assert not re.search(pattern, path.read_text(encoding="utf-8")), name
