"""The demo's page, started as a user starts it (test_demo_app asks it in its own process)."""

import asyncio
import contextlib
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from ifgan_jax.data import align
from ifgan_jax.web import connection
from ifgan_jax.web.answers import Answerer
from ifgan_jax.web.app import App
from tests import runs, untrained


@contextlib.contextmanager
def served(*flags: str) -> Iterator[tuple[str, str, int]]:
    """What the script says when it is ready, and the host and port that it serves; then SIGTERM."""
    process = runs.start("demo_app", "--port=0", *flags)
    assert process.wait_for(lambda: "Ctrl-C" in process.said()), process.end().output
    told = process.said()
    ((host, port),) = re.findall(r"http://([\d.]+):(\d+) ", told)
    try:
        yield told, host, int(port)
    finally:
        process.send(signal.SIGTERM)
        told_to_end = time.monotonic()
        status, output = process.end()
    assert time.monotonic() - told_to_end < 60
    assert (status, "Traceback" in output) == (0, False)


@pytest.mark.parametrize(("flags", "elsewhere"), [((), False), (("--host=0.0.0.0",), True)])
def test_the_script_serves_this_machine_alone_unless_told(
    finished: Path, flags: tuple[str, ...], elsewhere: bool
):
    """127.0.0.2 is this machine, too, but another address than the one it serves by default."""
    with served(f"--workdir={finished}", "--aligned", *flags) as (told, host, port):
        assert host == ("0.0.0.0" if elsewhere else "127.0.0.1")
        assert ("others on the network can use this page" in told) == elsewhere
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
            assert b"</html>" in page.read()
        with contextlib.ExitStack() as stack:
            if not elsewhere:
                stack.enter_context(pytest.raises(ConnectionRefusedError))
            socket.create_connection(("127.0.0.2", port), timeout=30).close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a"])
def test_who_asks_for_nothing_is_let_go(sent: bytes, monkeypatch: pytest.MonkeyPatch):
    """And who asks is answered, with the silent ones still there."""
    monkeypatch.setattr(connection, "ASK_WITHIN", 1.0)
    answerer = Answerer(untrained.predictor(untrained.NO_ATTENTION), align.GIVEN)
    whole = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def asked() -> tuple[bytes, bytes]:
        config = uvicorn.Config(
            App(answerer, any_host=False), http=connection.PromptConnection, ws="none"
        )
        server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        silent, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(sent)
        page, other = await asyncio.open_connection(*listener.getsockname())
        other.write(whole)
        told = [await asyncio.wait_for(side.read(), 20) for side in (page, silent)]
        server.should_exit = True
        await serving
        return told[0], told[1]

    with ThreadPoolExecutor(1) as thread:  # here a browser test may hold a loop
        page, nothing = thread.submit(asyncio.run, asked()).result()
    assert page.startswith(b"HTTP/1.1 200")
    assert page.endswith(b"</html>\n")
    assert nothing == b""


def test_who_has_gone_is_forgotten():
    """Else a page that is asked often keeps everybody for END_WITHIN."""
    made: list[asyncio.TimerHandle] = []

    async def come_and_gone() -> None:
        loop = asyncio.get_running_loop()
        later = loop.call_later

        def call_later(seconds: float, *rest: Any) -> asyncio.TimerHandle:
            handle = later(seconds, *rest)
            if seconds in (connection.ASK_WITHIN, connection.END_WITHIN):
                made.append(handle)
            return handle

        config = uvicorn.Config(lambda: None, lifespan="off")
        config.load()
        protocol = connection.PromptConnection(config, ServerState(), {}, loop)
        loop.call_later = call_later  # type: ignore[method-assign]
        server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.close()
        await writer.wait_closed()
        while len(made) < 2 or protocol.connections:
            await asyncio.sleep(0.01)
        server.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, asyncio.wait_for(come_and_gone(), 20)).result()
    assert [handle.cancelled() for handle in made] == [True, True]


def test_who_does_not_read_the_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch):
    """Nor does uvicorn's `close` end it: that waits for all to be read."""
    monkeypatch.setattr(connection, "END_WITHIN", 1.0)

    async def large(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % 2**26), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(2**26)})

    async def left() -> tuple[int, int]:
        config = uvicorn.Config(
            large, http=connection.PromptConnection, ws="none", lifespan="off", log_level="critical"
        )
        server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        with socket.create_connection(listener.getsockname()) as unread:
            unread.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            counts = []
            for seconds in (0.5, 2.0):
                await asyncio.sleep(seconds)
                counts.append(len(server.server_state.connections))
        server.should_exit = True
        await asyncio.wait_for(serving, 20)
        return counts[0], counts[1]

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(asyncio.run, left()).result() == (1, 0)
