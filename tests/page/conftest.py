"""A page of the small prior's run, and a browser that has it open."""

import pytest
from tests.page.browser import Browser, chromium

from vqvae.commands.page import page_of_run
from vqvae.commands.resolve import open_prior_run


@pytest.fixture(scope="session")
def opened_run(prior_run):
    return open_prior_run(prior_run.path, device="cpu")


@pytest.fixture(scope="session")
def page_file(opened_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert page_of_run(opened_run, path, data="shapes:1300") == []  # 65 of them are validation images
    return path


@pytest.fixture(scope="session")
def start_browser(tmp_path_factory):
    """Return a function that starts a browser; all of them end with the tests."""
    if chromium() is None:
        pytest.skip("no Chromium or Chrome is installed")
    open_browsers = []

    def start(**how):
        open_browsers.append(Browser(tmp_path_factory.mktemp("profile"), **how))
        return open_browsers[-1]

    yield start
    for browser in open_browsers:
        browser.close()


@pytest.fixture(scope="session")
def browser(start_browser):
    return start_browser()


@pytest.fixture
def page(browser, page_file):
    """Return the browser with the page opened anew; after the test, nothing has failed or left the machine."""
    browser.requests.clear()
    browser.open(page_file)
    yield browser
    assert browser.problems == []
    outside = [url for url in browser.requests if not url.startswith(("data:", "blob:"))]
    assert outside == [page_file.resolve().as_uri()]
