"""What every test gets: no way out of this machine, and no credentials of whoever runs it."""

import os
import socket
import tempfile

import pytest

LOOPBACK = ("127.0.0.1", "::1", "localhost")

for name in [n for n in os.environ if n.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "XDG_STATE_HOME": os.path.join(tempfile.gettempdir(), "lift-insights-state"),
    "XDG_CACHE_HOME": os.path.join(tempfile.gettempdir(), "lift-insights-cache"),
    "HYPOTHESIS_STORAGE_DIRECTORY": os.path.join(tempfile.gettempdir(), "lift-insights-hypothesis"),
}


class _Closed(socket.socket):
    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise OSError(f"a test tried to reach {address[0]}; only this machine may be reached")
        return super().connect(address)


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch):
    monkeypatch.setattr(socket, "socket", _Closed)
