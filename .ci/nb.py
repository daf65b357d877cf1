"""Notebooks as text: open one for editing, close it again, and check that notebooks, modules and README agree.

python .ci/nb.py open  nbs/00_frames.ipynb     # writes .nb/00_frames.py
python .ci/nb.py close nbs/00_frames.ipynb     # text -> notebook, run, clean, export
python .ci/nb.py check                         # are notebooks clean, modules and README in step?
"""

import fcntl
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def run(*args, **kwargs):
    subprocess.run([str(BIN / args[0]), *map(str, args[1:])], check=True, cwd=ROOT, **kwargs)


def text_of(nb: Path) -> Path:
    return ROOT / ".nb" / nb.with_suffix(".py").name


def open_nb(nb: Path):
    text_of(nb).parent.mkdir(exist_ok=True)
    run("jupytext", "--quiet", "--to", "py:percent", "-o", text_of(nb), nb)
    print(text_of(nb).relative_to(ROOT))


def close_nb(nb: Path):
    update = ["--update"] if nb.exists() else []
    run("jupytext", "--quiet", *update, "--to", "ipynb", "-o", nb, text_of(nb))
    execute(nb)
    with open(ROOT / ".nb" / "lock", "w") as lock:  # two exports at once would spoil _modidx.py
        fcntl.flock(lock, fcntl.LOCK_EX)
        run("nbdev_clean", "--fname", nb)
        run("nbdev_export", "--path", nb)
    print(f"{nb.relative_to(ROOT)}: run, clean, exported")


def execute(nb: Path):
    """Run a notebook in place, as nbdev tests it, and keep its outputs; a figure as JSON, not as a page of 5 MB."""
    ours = {"PLOTLY_RENDERER": "plotly_mimetype", "PYTHONPATH": str(ROOT), "IN_TEST": "1"}
    env = os.environ | ours
    done = subprocess.run([sys.executable, "-c", RUN, str(nb)], cwd=nb.parent, env=env)
    if done.returncode:
        sys.exit(f"{nb.relative_to(ROOT)}: failed as shown above; nothing was exported")


RUN = """
import sys
from execnb.shell import CaptureShell
shell = CaptureShell(sys.argv[1])
try:
    shell.execute(sys.argv[1], sys.argv[1], exc_stop=True)
except BaseException:
    sys.exit(shell.prettytb(fname=sys.argv[1]))
"""


def readme(to: Path):
    """README.md from nbs/index.ipynb: nbdev's own processing, then nbconvert; Quarto is not needed for it."""
    from execnb.nbio import write_nb
    from nbdev.process import NBProcessor
    from nbdev.processors import clean_magics, rm_export, rm_header_dash, strip_ansi, strip_hidden_metadata

    os.chdir(ROOT)
    procs = [clean_magics, rm_export, rm_header_dash, strip_ansi, strip_hidden_metadata]
    with tempfile.TemporaryDirectory() as tmp:
        index = Path(tmp) / "index.ipynb"
        processor = NBProcessor(ROOT / "nbs/index.ipynb", procs=procs)
        processor.process()
        write_nb(processor.nb, index)
        run("jupyter-nbconvert", "--log-level", "ERROR", "--to", "markdown", index)
        lines = [line.rstrip() for line in index.with_suffix(".md").read_text(encoding="utf-8").strip().splitlines()]
    head = "<!-- Made from nbs/index.ipynb by `make readme`; edit that. -->\n\n"
    to.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


def check() -> int:
    """0 where a fresh clean and export of a copy of the tree changes nothing."""
    bad = []
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp) / "tree"
        keep = shutil.ignore_patterns(
            ".git", ".venv", "out", "data_samples", ".nb", "__pycache__", ".ipynb_checkpoints"
        )
        shutil.copytree(ROOT, copy, ignore=keep)
        for tool in ("nbdev_clean", "nbdev_export"):
            subprocess.run([str(BIN / tool)], check=True, cwd=copy, stdout=subprocess.DEVNULL)
        for ours in sorted([*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("lift_insights/**/*.py")]):
            theirs = copy / ours.relative_to(ROOT)
            if ".ipynb_checkpoints" not in str(ours) and not filecmp.cmp(ours, theirs, shallow=False):
                bad.append(f"{ours.relative_to(ROOT)} is not what nbdev_clean and nbdev_export make; run `make export`")
        fresh = Path(tmp) / "README.md"
        readme(fresh)
        if not (ROOT / "README.md").exists() or not filecmp.cmp(ROOT / "README.md", fresh, shallow=False):
            bad.append("README.md is not what nbs/index.ipynb makes; run `make readme`")
    print("\n".join(bad) or "notebooks, modules and README agree")
    return len(bad) > 0


if __name__ == "__main__":
    verb, *rest = sys.argv[1:] or ["help"]
    where = (ROOT / rest[0]).resolve() if rest else None
    if verb == "open":
        open_nb(where)
    elif verb == "close":
        close_nb(where)
    elif verb == "readme":
        readme(ROOT / "README.md")
    elif verb == "check":
        sys.exit(check())
    else:
        sys.exit(__doc__)
