"""Pages in a real browser."""

import pytest
from helpers.chromium import find_chromium
from playwright.sync_api import sync_playwright


@pytest.fixture(scope="session")
def browser():
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium on this machine, and apt-get cannot install one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page that is open, and all that it asked for or complained of."""

    def __init__(self, page):
        self.page, self.requests, self.complaints = page, [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def go(self, file, fragment=""):
        self.page.goto(file.as_uri() + fragment)
        self.page.wait_for_selector("html[data-ready]")

    def traces(self, name):
        """The number of traces of every plot of a name, each brought into view."""
        found = []
        for plot in self.page.query_selector_all(f"[data-plot={name}]"):
            plot.scroll_into_view_if_needed()
            self.page.wait_for_function("plot => plot.data", arg=plot)
            found.append(plot.evaluate("plot => plot.data.length"))
        return found

    def quiet(self):
        """Whether nothing was asked for but the file, and nothing complained of."""
        return [url for url in self.requests if not url.startswith(("file:", "blob:", "data:"))] == [] and (
            self.complaints == []
        )


@pytest.fixture
def opened(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    yield Opened(context.new_page())
    context.close()
