"""The page of the CIFAR-10 model in the package, with its transformer, computes what Python computes."""

import pytest
import torch
from tests.page.checks import check_codes, samples_drawn

from vqvae.commands.page import build_page_of_run, page_of_run
from vqvae.commands.resolve import load_for, open_run
from vqvae.commands.sample import sample_pixels
from vqvae.page import Page
from vqvae.sampling import Controls, Windowed, labels_in_turn, outpaint, sample

pytestmark = pytest.mark.filterwarnings("default")  # of the exporter's own


@pytest.fixture(scope="module")
def shipped():
    return open_run("cifar10", device="cpu")


@pytest.fixture(scope="module")
def shipped_page(shipped, browser, tmp_path_factory):
    """Return the browser with the page of the model open; its images are shapes, which need no download."""
    path = tmp_path_factory.mktemp("shipped") / "cifar10.html"
    assert page_of_run(shipped, path, data="shapes:1300") == []
    browser.requests.clear()
    browser.open(path)
    yield browser
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith(("data:", "blob:"))] == [path.as_uri()]


def test_it_encodes_64_images_to_the_codes_of_python_but_for_near_ties(shipped_page, shipped):
    images = load_for(shipped, "shapes:1300", "validation")[0].pixels[:64]
    check_codes(shipped_page, shipped.tokenizer.model, images, most_ties=8)


def test_drawing_with_a_seed_gives_the_codes_of_vqvae_sample(shipped_page, shipped):
    prior = shipped.prior.model
    shipped_page.fill("#seed", 7)
    shipped_page.fill("#num", 4)
    shipped_page.run("document.querySelector('#watch').checked = false")
    shipped_page.click("#draw")
    shipped_page.wait("vqvaePage.state.samples.length === 4")
    labels = labels_in_turn(range(4), prior.num_classes)
    expected = sample(prior, 4, seed=7, labels=labels, controls=shipped.controls)
    assert torch.equal(samples_drawn(shipped_page), expected.flatten(1))


def test_a_larger_canvas_has_the_codes_of_python(shipped_page, shipped):
    codes = torch.tensor(shipped_page.run("Array.from(vqvaePage.state.codes)")).view(1, 8, 8, 1)
    shipped_page.fill("#seed", 7)
    shipped_page.fill("#canvas-rows", 8)
    shipped_page.fill("#canvas-columns", 10)
    shipped_page.fill("#label", 3)
    shipped_page.click("#canvas-draw")
    shipped_page.wait("vqvaePage.larger.codes")
    found = torch.tensor(shipped_page.run("Array.from(vqvaePage.larger.codes)"))
    prior = Windowed(shipped.prior.model, (8, 10))
    guidance = Controls(guidance=shipped.controls.guidance)  # around an image, the temperature is that of a hole
    expected = outpaint(prior, codes, (8, 10), seed=7, labels=3, controls=guidance)
    assert torch.equal(found, expected.flatten())


def test_without_data_its_images_are_samples_and_nothing_is_downloaded(shipped, monkeypatch):
    def no_network(*given, **named):
        raise AssertionError("the network was asked")

    def built(tokenizer, prior, facts, *, size, pixels):
        assert facts.counted == "samples of the prior" and size == (32, 32)
        assert torch.equal(pixels, sample_pixels(shipped, num=32))
        return Page("a page")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("vqvae.commands.page.build_page", built)
    page = build_page_of_run(shipped)
    assert page.html == "a page" and len(page.left_out) == 1
    says = "the page shows samples of the prior for images: --data cifar10 would download"
    assert page.left_out[0].startswith(says)
