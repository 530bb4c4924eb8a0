"""A page with more codes than can be listed: it starts, its codes are Python's, and they can be changed."""

import pytest
import torch
from tests.page.checks import check_codes
from torch import Tensor, nn

from vqvae.data import load
from vqvae.errors import UserError
from vqvae.models import VQVAE
from vqvae.page.build import PageFacts, build_page
from vqvae.quantizers import BSQ
from vqvae.tensors import images_from_pixels

pytestmark = pytest.mark.filterwarnings("default")  # of the exporter's own
FACTS = PageFacts("signs", "Tokenizer", "bsq")
CODES_SHOWN = "Array.from(vqvaePage.state.codes)"
NEIGHBOURS = "Array.from(document.querySelectorAll('#neighbours b'), (shown) => Number(shown.textContent))"


def tokenizer_of(bits: int) -> VQVAE:
    torch.manual_seed(0)
    return VQVAE(BSQ.Config(bits=bits).build(), width=8, outer_width=4, residual_width=4, residual_blocks=1).eval()


@torch.no_grad()
def spread(tokenizer: VQVAE, images: Tensor) -> None:
    """Move the encoder's last biases so that the bits of these images' codes differ."""
    last = [module for module in tokenizer.encoder.modules() if isinstance(module, nn.Conv2d)][-1]
    assert last.bias is not None
    last.bias -= tokenizer.encoder(images).mean((0, 2, 3))


@pytest.mark.parametrize("bits", [16, 36])
def test_a_page_of_up_to_two_to_the_36_codes_encodes_decodes_and_swaps(bits, browser, tmp_path):
    tokenizer, pixels = tokenizer_of(bits), load("shapes", "test", limit=70).pixels
    spread(tokenizer, images_from_pixels(pixels))
    page = build_page(tokenizer, None, FACTS, size=(32, 32), pixels=pixels)
    (tmp_path / "page.html").write_text(page.html, encoding="utf-8")
    browser.open(tmp_path / "page.html")
    check_codes(browser, tokenizer, pixels[:64], most_ties=2)
    codes = browser.run(CODES_SHOWN)
    others = browser.run(NEIGHBOURS)
    middle = 4 * 8 + 4
    assert len(set(others)) == len(others) == 8 and codes[middle] not in others
    assert bits == 16 or set(others) <= set(codes)
    browser.run("document.querySelector('#neighbours button').click()")
    assert browser.run(CODES_SHOWN) == [*codes[:middle], others[0], *codes[middle + 1 :]]
    swapped = torch.tensor(browser.run(CODES_SHOWN), dtype=torch.int64).view(1, 8, 8, 1)
    own = tokenizer.decode(swapped)
    shown = torch.tensor(browser.run("Array.from(vqvaePage.tokenizer.decode(vqvaePage.tensor('i', [1, 8, 8, 1],"
                                     " Float64Array.from(vqvaePage.state.codes))).data)"))  # fmt: skip
    torch.testing.assert_close(shown.view(own.shape), own.detach(), rtol=0, atol=1e-4)
    assert browser.problems == []


def test_more_codes_than_the_numbers_of_a_page_can_hold_are_refused() -> None:
    with pytest.raises(UserError, match="a page holds codes of up to K = 9,007,199,254,740,992"):
        build_page(tokenizer_of(54), None, FACTS, size=(32, 32), pixels=None)
