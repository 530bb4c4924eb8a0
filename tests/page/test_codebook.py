"""Laws of page/codebook.py: where codes occur, however many codes there are."""

import torch

from vqvae.model_io import build_tokenizer
from vqvae.models import VQVAE
from vqvae.networks import PaperNetwork
from vqvae.page.codebook import MOST_CODES, code_places
from vqvae.quantizers import BSQ, EMAQuantizer

NETWORK = PaperNetwork.Config(width=8, outer_width=8)


def test_a_codes_places_hold_the_code() -> None:
    tokenizer = build_tokenizer(
        VQVAE.Config(network=NETWORK, quantizer=EMAQuantizer.Config(num_codes=5)), channels=3
    )
    codes = torch.randint(5, (7, 3, 4, 1), generator=torch.Generator().manual_seed(0))
    places = code_places(tokenizer, codes)
    assert sorted(places) == list(range(5))
    assert all(codes[image, row, column, 0] == code for code, own in places.items() for image, row, column in own)


def test_two_to_the_36_codes_take_no_memory() -> None:
    tokenizer = build_tokenizer(VQVAE.Config(network=NETWORK, quantizer=BSQ.Config(bits=36)), channels=3)
    assert tokenizer.num_codes == 2**36
    places = code_places(tokenizer, torch.tensor([[[[0], [2**36 - 1]]]]))
    assert len(places) == MOST_CODES and places[0] == [[0, 0, 0]]
