"""The demo's page as an ASGI application: a page, its two files, and POST /faces.

A server that any page in the user's browser can reach is asked by them, too: this one answers to
its own page only, by the headers Host (against DNS rebinding) and Origin.
"""

import asyncio
import html
import ipaddress
import json
import logging
import string
import threading
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ifgan_jax import page
from ifgan_jax.data.align import GIVEN
from ifgan_jax.data.vendor.pictures import FORMATS, MOST_PIXELS
from ifgan_jax.web.answers import MAX_BYTES, Answerer, RefusedError

LOGGER = logging.getLogger(__name__)

UPLOADS = 4  # at once, in memory
UPLOAD_SECONDS = 30.0  # for the whole of an upload
HEADERS = {
    "cache-control": "no-store",
    "connection": "close",  # a next request comes over a next one, which has its own time
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
WITHOUT = {
    (True, True): "",
    (True, False): "This run has no attention, so no map can be drawn.",
    (False, False): "This run is the baseline: it looks at the input alone, and has neither a "
    "generated face nor attention.",
}
RENDERED = (
    "It has learned from rendered faces: on real ones it shows the way, not the method's best."
)

Message = dict[str, Any]


class Reply(NamedTuple):
    """What is sent for a request."""

    status: int
    kind: str  # content type
    body: bytes


class App:
    """ASGI: `await app(scope, receive, send)`. One for all threads and event loops.

    any_host: whether other names than those of the loopback are answered to. Errors are JSON,
    {"error": one line}, with a 4xx or 5xx status.
    """

    def __init__(self, answer: Answerer, *, any_host: bool) -> None:
        self._answer, self._any_host = answer, any_host
        self._places = threading.BoundedSemaphore(UPLOADS)
        self._files = {
            "/": Reply(200, "text/html; charset=utf-8", _page(answer).encode()),
            "/page.css": Reply(
                200, "text/css; charset=utf-8", (page.STYLE + _file("page.css")).encode()
            ),
            "/page.js": Reply(200, "text/javascript; charset=utf-8", _file("page.js").encode()),
        }

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        try:
            reply = await self._reply(scope, receive)
        except RefusedError as error:
            reply = _json(error.status, {"error": str(error)})
        except Exception:
            LOGGER.exception("a request failed")
            reply = _json(500, {"error": "this failed; the program's own output says why"})
        headers = {**HEADERS, "content-type": reply.kind, "content-length": str(len(reply.body))}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: Message, receive: Callable[[], Awaitable[Message]]) -> Reply:
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._any_host and not is_loopback(_name(host)):
            raise RefusedError(403, "this page answers to 127.0.0.1 and localhost only")
        if origin is not None and _place(origin) != host:
            raise RefusedError(403, "this page answers to itself only, not to other pages")
        path, method = scope["path"], scope["method"]
        if path != "/faces" and path not in self._files:
            raise RefusedError(404, "no such page")
        if method not in (("POST",) if path == "/faces" else ("GET", "HEAD")):
            raise RefusedError(405, f"{path} does not take {method}")
        if path in self._files:
            return self._files[path]
        if not self._places.acquire(blocking=False):
            raise RefusedError(503, "too many pictures at once: try again")
        try:
            content = await _body(receive)
            return _json(200, await asyncio.to_thread(self._answer, content))
        finally:
            self._places.release()


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    """The whole of an upload. One that is too large is read to its end but not kept: a browser that
    is still sending would not see the reply."""
    body, size, more = bytearray(), 0, True
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "the upload broke off")
                part, more = message.get("body", b""), message.get("more_body", False)
                size += len(part)
                if size <= MAX_BYTES:
                    body += part
    except TimeoutError as error:
        told = f"the upload took longer than {UPLOAD_SECONDS:g} seconds"
        raise RefusedError(408, told) from error
    if size > MAX_BYTES:
        raise RefusedError(413, f"the file is larger than {MAX_BYTES / 2**20:g} MiB: shrink it")
    return bytes(body)


def _place(url: str) -> str:
    """Host and port of a URL, "" where it has none."""
    try:
        return urlsplit(url).netloc
    except ValueError:  # such as a bracket that is not closed
        return ""


def _name(host: str) -> str | None:
    """A Host header without its port, None where it is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def is_loopback(name: str | None) -> bool:
    """Whether this is a name or an address of the machine for itself."""
    try:
        return name == "localhost" or ipaddress.ip_address(name or "").is_loopback
    except ValueError:
        return False


def _json(status: int, content: Message) -> Reply:
    return Reply(status, "application/json", json.dumps(content).encode())


def _file(name: str) -> str:
    return (resources.files("ifgan_jax.web") / name).read_text(encoding="utf-8")


def _page(answer: Answerer) -> str:
    """The HTML, with what is known of the run."""
    config = answer.predictor.config
    aligned = answer.alignment == GIVEN
    rendered = config.data.name.startswith("synthetic_faces")
    facts = {
        "without": WITHOUT[answer.has_generator, answer.has_attention],
        "run": f"{answer.predictor.workdir.name}, method {config.method}, trained on "
        f"{config.data.name}, {config.data.crop} × {config.data.crop} pixels",
        "caution": RENDERED if rendered else "",
        "takes": "a face that is aligned already" if aligned else "a photograph with faces",
        "formats": ", ".join(FORMATS),
        "accept": ",".join(f"image/{kind.lower()}" for kind in FORMATS),
        "max_bytes": str(MAX_BYTES),
        "limits": f"up to {MAX_BYTES / 2**20:g} MiB and {MOST_PIXELS / 1e6:.0f} million pixels",
    }
    escaped = {name: html.escape(fact) for name, fact in facts.items()}
    return string.Template(_file("page.html")).substitute(escaped)
