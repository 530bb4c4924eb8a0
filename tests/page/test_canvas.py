"""The larger canvas of the page, and its brush."""

import pytest
import torch
from tests.page.checks import codes_shown, message, pixels_shown

from vqvae.sampling import Controls, Windowed, outpaint, sample
from vqvae.tensors import images_from_pixels

pytestmark = pytest.mark.filterwarnings("default")  # of the exporter's own
WORDS = "document.querySelector('#canvas-words').textContent"


def draw_canvas(page):
    page.click("#canvas-draw")
    page.wait("vqvaePage.larger.codes")
    return torch.tensor(page.run("Array.from(vqvaePage.larger.codes)"))


def test_codes_around_an_image_are_drawn_as_python_draws_them(page, opened_run):
    page.fill("#canvas-rows", 10)
    page.fill("#canvas-columns", 13)
    page.click("#canvas-cells button:nth-child(73)")  # row 6, column 8: the middle of the image
    assert page.run("vqvaePage.larger.at") == [1, 3]
    assert page.run(WORDS) == "52\N{MULTIPLICATION SIGN}40 pixels; 66 of 130 positions to draw"
    assert page.run("document.querySelectorAll('#canvas-cells [aria-pressed=true]').length") == 64
    page.fill("#seed", 5)
    page.fill("#canvas-candidates", 2)
    found = draw_canvas(page)
    prior = Windowed(opened_run.prior.model, (10, 13))
    expected = outpaint(prior, codes_shown(page)[None], (10, 13), at=(1, 3), seed=5, candidates=2)
    assert torch.equal(found, expected.flatten())
    assert page.run("(canvas => [canvas.width, canvas.height])(document.querySelector('#canvas'))") == [52, 40]
    assert "66 of 130 codes drawn" in page.run(WORDS)


def test_a_whole_canvas_is_drawn_as_vqvae_sample_draws_it_in_windows(page, opened_run):
    page.click("#canvas-keep")
    page.fill("#canvas-rows", 9)
    page.fill("#canvas-columns", 11)
    for field, value in {"seed": 3, "temperature": 0.9, "guidance": 2, "label": 1}.items():
        page.fill(f"#{field}", value)
    found = draw_canvas(page)
    prior = Windowed(opened_run.prior.model, (9, 11))
    expected = sample(prior, 1, seed=3, controls=Controls(0.9, None, None, 2.0), labels=1)
    assert torch.equal(found, expected.flatten())
    assert not page.run("document.querySelector('#canvas-save').disabled")


def test_a_canvas_of_a_wrong_size_is_refused_in_words(page):
    page.fill("#canvas-rows", 7)
    assert message(page) == "Rows: must be a whole number from 8 to 32"
    page.fill("#code", 3)  # the rest of the page goes on
    assert codes_shown(page).flatten()[36] == 3
    page.fill("#canvas-rows", 8)
    page.fill("#canvas-columns", 8)
    assert page.run(WORDS).endswith("0 of 64 positions to draw")
    assert page.run("document.querySelector('#canvas-draw').disabled")


def test_another_image_takes_its_place_on_the_canvas(page):
    picture = "document.querySelector('#canvas').toDataURL()"
    before = page.run(picture)
    page.run("document.querySelector('#examples button:nth-child(3)').click()")
    assert page.run(picture) != before


def test_strokes_of_the_brush_are_encoded_as_python_encodes_them(page, opened_run):
    before = pixels_shown(page, "pixels")
    x, y = page.middle("#original")
    page.mouse("mousePressed", x, y)  # the brush is off
    page.mouse("mouseReleased", x, y)
    assert torch.equal(pixels_shown(page, "pixels"), before)
    page.click("#paint")
    page.click("#paint-blank")
    assert (pixels_shown(page, "pixels") == 255).all()
    page.run("document.querySelector('#brush-colour').value = '#0000ff'")
    x, y = page.middle("#original")
    page.mouse("mousePressed", x - 40, y - 40)
    for step in range(1, 9):
        page.mouse("mouseMoved", x - 40 + 10 * step, y - 40 + 10 * step)
    page.mouse("mouseReleased", x + 40, y + 40)
    painted = pixels_shown(page, "pixels")
    assert painted[:, 16, 16].tolist() == [0, 0, 255] and painted[:, 2, 28].tolist() == [255, 255, 255]
    tokenizer = opened_run.tokenizer.model
    assert torch.equal(codes_shown(page), tokenizer.encode(images_from_pixels(painted[None].to(torch.uint8)))[0])
    page.click("#paint-back")
    assert torch.equal(pixels_shown(page, "pixels"), before)
    assert page.run("document.querySelector('#paint-back').disabled")
