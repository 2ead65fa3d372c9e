"""Pages in headless Chromium, the system's; without one these tests are skipped, and counted."""

import contextlib
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Browser]]:
    """Flags of Chromium → a browser."""
    if CHROMIUM is None:
        pytest.skip("no Chromium found: install it by the system's package manager")
    with sync_playwright() as playwright:
        # Chromium's sandbox does not start as root, where tests of containers run.
        yield lambda *flags: playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *flags]
        )


@pytest.fixture(scope="session")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    with launch() as started:
        yield started


@pytest.fixture
def camera(launch: Callable[..., Browser]) -> Iterator[Page]:
    """A page of a browser that has a camera, which shows a test pattern."""
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with launch(*flags) as started, without_errors(started.new_page()) as shown:
        yield shown


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new page, `without_errors`."""
    context = browser.new_context(accept_downloads=True)
    with without_errors(context.new_page()) as shown:
        yield shown
        context.close()


@contextlib.contextmanager
def without_errors(shown: Page) -> Iterator[Page]:
    """An error in its console, or a request that leaves here, fails the test."""
    errors: list[str] = []
    requests: list[str] = []
    shown.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.on("request", lambda request: requests.append(request.url))
    yield shown
    assert errors == []
    local = ("file:", "data:", "blob:", "about:", "http://127.0.0.1:", "ws://127.0.0.1:")
    assert [url for url in requests if not url.startswith(local)] == []
