"""The demo's page, started as a user starts it (test_demo_app asks it in its own process)."""

import contextlib
import re
import signal
import socket
import urllib.request
from pathlib import Path
from typing import IO, cast

import pytest

from tests import runs


@pytest.mark.parametrize(("flags", "elsewhere"), [((), False), (("--host=0.0.0.0",), True)])
def test_the_script_serves_this_machine_alone_unless_told(
    finished: Path, flags: tuple[str, ...], elsewhere: bool
):
    """127.0.0.2 is this machine, too, but another address than the one it serves by default."""
    process = runs.start("demo_app", f"--workdir={finished}", "--aligned", "--port=0", *flags)
    lines: list[str] = []
    for line in cast(IO[str], process.stdout):
        lines.append(line)
        if "Ctrl-C" in line:
            break
    told = "".join(lines)
    ((host, port),) = re.findall(r"http://([\d.]+):(\d+) ", told)
    assert host == ("0.0.0.0" if elsewhere else "127.0.0.1")
    assert ("others on the network can use this page" in told) == elsewhere
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
        assert b"</html>" in page.read()
    with contextlib.ExitStack() as stack:
        if not elsewhere:
            stack.enter_context(pytest.raises(ConnectionRefusedError))
        socket.create_connection(("127.0.0.2", int(port)), timeout=30).close()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in output) == (0, False)
