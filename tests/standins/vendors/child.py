"""Real counterparts as children: each on a free loopback port, and none outlives the stand-in that started it."""

import atexit
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

#: Where tests/standins/setup puts what is installed by name: venv/ and node_modules/.
INSTALLED = pathlib.Path(
    os.environ.get("MILLSTREAM_STANDINS") or pathlib.Path(__file__).resolve().parents[3] / "target" / "standins"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def folder():
    """A folder that is gone when the stand-in ends."""
    kept = tempfile.TemporaryDirectory(prefix="standin-")
    atexit.register(kept.cleanup)
    return kept.name


def dies_with_us():
    # PR_SET_PDEATHSIG: also when the stand-in itself is killed, and so runs no exit handler.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start(command, port, seconds=60, **more):
    """Starts `command` and waits until it listens on `port`."""
    child = subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=dies_with_us, **more,
    )
    atexit.register(child.kill)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if child.poll() is not None:
            raise SystemExit(f"{command[0]} ended with {child.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return child
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{command[0]} does not listen on port {port}")


def installed():
    """Runs this stand-in anew with the Python that has what is installed by name, unless it is that already."""
    import sys

    python = INSTALLED / "venv" / "bin" / "python"
    if pathlib.Path(sys.prefix).resolve() != (INSTALLED / "venv").resolve():
        os.execv(python, [str(python), *sys.argv])
