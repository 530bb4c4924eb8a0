"""The page computes what Python computes, and people can use every part of it."""

import dataclasses
from math import log

import pytest
import torch
from PIL import Image
from tests.page.checks import check_codes, codes_shown, message, pixels_shown

from vqvae.commands.page import page_of_run
from vqvae.commands.resolve import load_for
from vqvae.data.resize import Crop
from vqvae.sampling import Controls, inpaint, labels_in_turn, sample
from vqvae.tensors import pixels_from_images

pytestmark = pytest.mark.filterwarnings("default")  # of the exporter's own
PASTE = """((numbers) => {
  const data = new DataTransfer(), file = new File([new Uint8Array(numbers)], "nine.png", {type: "image/png"});
  data.items.add(file);
  document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
})"""


@pytest.fixture(scope="module")
def images(opened_run):
    return load_for(opened_run, "shapes:1300", "validation")[0].pixels[:64]


def save(pixels, path):
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return path


def test_the_page_encodes_64_images_to_the_codes_of_python_but_for_near_ties(page, opened_run, images):
    check_codes(page, opened_run.tokenizer.model, images, most_ties=4)


def test_drawing_with_a_seed_gives_the_codes_of_vqvae_sample(page, opened_run):
    prior = opened_run.prior.model
    page.fill("#seed", 7)
    page.click("#draw")
    page.wait("vqvaePage.state.samples.length === 8")
    drawn = torch.tensor(page.run("vqvaePage.state.samples.map((codes) => Array.from(codes))"))
    expected = sample(prior, 8, seed=7, labels=labels_in_turn(range(8), prior.num_classes))
    assert torch.equal(drawn, expected.flatten(1))
    assert page.run("document.querySelectorAll('#samples canvas').length") == 8
    shown = float(page.run("document.querySelector('#sample-bits').textContent").split(" bits")[0])
    assert shown == pytest.approx(float(-prior.log_prob(expected[:1], [0]).detach()) / log(2), abs=0.06)


def test_the_controls_of_drawing_are_those_of_vqvae_sample(page, opened_run):
    settings = {"seed": 3, "num": 5, "temperature": 0.8, "top-k": 9, "top-p": 0.9, "guidance": 2, "label": 2}
    for field, value in settings.items():
        page.fill(f"#{field}", value)
    page.run("document.querySelector('#watch').checked = false")
    page.click("#draw")
    page.wait("vqvaePage.state.samples.length === 5")
    drawn = torch.tensor(page.run("vqvaePage.state.samples.map((codes) => Array.from(codes))"))
    expected = sample(opened_run.prior.model, 5, seed=3, controls=Controls(0.8, 9, 0.9, 2.0), labels=2)
    assert torch.equal(drawn, expected.flatten(1))


def test_the_page_begins_with_the_settings_of_the_model_for_samples_and_not_for_holes(
    browser, opened_run, tmp_path
):
    run = dataclasses.replace(opened_run, controls=Controls(0.8, 9, None, 2.0))
    file = tmp_path / "tuned.html"
    page_of_run(run, file, data="shapes:1300")
    browser.open(file)
    fields = ("temperature", "top-k", "top-p", "guidance", "fill-temperature")
    shown = [browser.run(f"document.querySelector('#{field}').value") for field in fields]
    assert shown == ["0.8", "9", "", "2", "1"]
    browser.click("#draw")
    browser.wait("vqvaePage.state.samples.length === 8")
    found = torch.tensor(browser.run("vqvaePage.state.samples.map((codes) => Array.from(codes))"))
    labels = labels_in_turn(range(8), run.prior.model.num_classes)
    expected = sample(run.prior.model, 8, controls=run.controls, labels=labels)
    assert torch.equal(found, expected.flatten(1))


def test_a_brushed_hole_is_filled_as_vqvae_inpaint_fills_it(page, opened_run):
    codes = codes_shown(page)
    first, last = page.middle("#hole button:nth-child(19)"), page.middle("#hole button:nth-child(22)")
    page.mouse("mousePressed", *first)
    page.mouse("mouseMoved", (first[0] + last[0]) / 2, first[1])
    page.mouse("mouseMoved", *last)
    page.mouse("mouseReleased", *last)
    cells = "[...document.querySelectorAll('#hole button')]"
    keep = torch.tensor(page.run(f"{cells}.map((cell) => cell.ariaPressed !== 'true')"))
    assert 2 <= (~keep).sum() <= 4
    page.fill("#fills", 3)
    page.fill("#candidates", 4)
    page.click("#fill-hole")
    page.wait("vqvaePage.state.fills")
    found = torch.tensor(page.run("vqvaePage.state.fills.map((codes) => Array.from(codes))"))
    expected = inpaint(opened_run.prior.model, codes.expand(3, -1, -1, -1), keep.view(8, 8), seed=0, candidates=4)
    assert torch.equal(found, expected.flatten(1))
    page.click("#fills-shown button:nth-child(2)")
    assert torch.equal(codes_shown(page).flatten(), found[1].int())


def test_a_swapped_code_changes_the_picture_as_python_decodes_it(page, opened_run):
    before = codes_shown(page)
    page.click("#codes button:nth-child(28)")
    wanted = (int(before.flatten()[27]) + 5) % 16
    page.fill("#code", wanted)
    after = codes_shown(page)
    assert int(after.flatten()[27]) == wanted and (after != before).sum() == 1
    expected = pixels_from_images(opened_run.tokenizer.model.decode(after[None])).int()[0]
    assert (pixels_shown(page, "output") - expected).abs().max() <= 1
    page.click("#neighbours button:nth-child(1)")
    assert int(codes_shown(page).flatten()[27]) != wanted
    page.click("#undo")
    page.click("#undo")
    assert torch.equal(codes_shown(page), before)
    page.fill("#code", 99)
    assert "0 to 15" in message(page) and torch.equal(codes_shown(page), before)


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_an_image_that_is_chosen_dropped_or_pasted_is_opened_to_the_pixel(page, images, way, tmp_path):
    path = save(images[9], tmp_path / "nine.png")
    if way == "choose":
        page.choose_file("#file", path)
    elif way == "drop":
        page.drop_file("#drop", path)
    else:
        page.run(PASTE + f"({list(path.read_bytes())})")
    page.wait("document.querySelector('#message').textContent.includes('opened as it is')")
    assert torch.equal(pixels_shown(page, "pixels"), images[9].int())


def test_an_image_of_another_size_is_scaled_and_cropped_as_vqvae_does(page, tmp_path):
    torch.manual_seed(0)
    small = torch.randint(0, 256, (3, 12, 9), dtype=torch.uint8)
    picture = Image.fromarray(small.permute(1, 2, 0).numpy()).resize((77, 101), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "other.png")
    page.choose_file("#file", tmp_path / "other.png")
    page.wait("document.querySelector('#message').textContent.includes('scaled from 77')")
    cut = Crop((32, 32), 4).apply(picture, "other.png")
    expected = torch.frombuffer(bytearray(cut.tobytes()), dtype=torch.uint8).view(32, 32, 3).permute(2, 0, 1)
    assert (pixels_shown(page, "pixels") - expected.int()).abs().max() <= 1


def test_bad_files_get_a_message_and_nothing_breaks(page, tmp_path, images):
    before = codes_shown(page)
    good = save(images[0], tmp_path / "good.png").read_bytes()
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "corrupt.png").write_bytes(good[: len(good) // 3])
    for name in ("notes.txt", "corrupt.png"):
        page.choose_file("#file", tmp_path / name)
        page.wait(f"document.querySelector('#message').textContent.startsWith('{name} is no image')")
        assert torch.equal(codes_shown(page), before)
    Image.new("RGB", (5472, 3648), (200, 120, 40)).save(tmp_path / "photo.jpg")  # 20 megapixels
    page.choose_file("#file", tmp_path / "photo.jpg")
    page.wait("document.querySelector('#message').textContent.includes('shrank it from 5472')")
    assert pixels_shown(page, "pixels").flatten(1).float().std(1).max() < 2
    page.fill("#temperature", -1)
    page.click("#draw")
    page.wait("document.querySelector('#message').textContent.startsWith('temperature')")


def test_the_grid_of_codes_is_walked_with_the_keyboard(page):
    page.run("document.querySelector('#codes button').focus()")
    for name in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.key(name)
    assert page.run("document.querySelector('#where').textContent") == "row 2, column 1"
    page.run("document.querySelector('#hole button').focus()")
    page.key("ArrowRight")
    page.key(" ")
    assert page.run("document.querySelectorAll('#hole button')[1].ariaPressed") == "true"


def test_a_walk_begins_and_ends_with_the_codes_of_its_images(page):
    page.run("document.querySelector('#walk-from button:nth-child(2)').click()")
    page.run("document.querySelector('#walk-to button:nth-child(5)').click()")
    for value, words in ((0, "0 % of the way: 0 of 64"), (100, "100 % of the way")):
        page.run(f"document.querySelector('#walk').value = {value}")
        page.run("document.querySelector('#walk').dispatchEvent(new Event('input'))")
        assert page.run("document.querySelector('#walk-words').textContent").startswith(words)
    last = "document.querySelector('#walk-strip button:last-child canvas').toDataURL()"
    assert page.run(f"{last} === document.querySelector('#walk-image').toDataURL()")


def test_the_path_of_a_position_ends_at_the_nearest_code(page):
    assert page.run("document.querySelector('#path-code').textContent === document.querySelector('#code').value")
    assert page.run("document.querySelector('#path-distances li').className") == "drawn"


@pytest.mark.parametrize("width", [340, 700, 1100])
def test_nothing_is_wider_than_the_screen(page, width):
    page.resize(width, 800, mobile=width < 600)
    try:
        assert page.run("document.documentElement.scrollWidth") <= width
    finally:
        page.resize(1100, 900)


def test_a_dark_system_gets_a_dark_page(start_browser, page_file):
    dark = start_browser(dark=True)
    dark.open(page_file)
    red = dark.run("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").split(",")[0]
    assert int(red) < 60
