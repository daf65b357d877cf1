#!/usr/bin/env bash
# Makes the virtual environment, whatever the machine lacks for it: .ci/venv.sh FOLDER
set -eu
venv=$1
python=""
for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
  [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
  echo "lift_insights needs Python 3.11 or newer, and none was found. Install it, or name it: make PYTHON=/path/to/python3" >&2
  exit 2
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then  # Debian keeps ensurepip in a package of its own
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing python3-venv …"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
  else
    echo "Python's venv module is not complete here. Install it first: sudo apt-get install python3-venv" >&2
    exit 2
  fi
fi
"$python" -m venv "$venv"
