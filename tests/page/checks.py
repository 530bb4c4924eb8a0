"""What the page of a model shows, and how its codes are compared with Python's."""

import torch

from vqvae.tensors import images_from_pixels

ENCODE = """vqvaePage.state.examples.slice(0, 64).map((pixels) =>
    Array.from(vqvaePage.tokenizer.encode(vqvaePage.imagesOf(pixels, [1, 3, 32, 32])).data))"""


def check_codes(page, tokenizer, images, *, most_ties):
    """The page encodes its images to the exact codes, but for a few near-ties."""
    exact = tokenizer.encode_exact(images_from_pixels(images)).codes
    found = torch.tensor(page.run(ENCODE)).view(exact.shape)
    with torch.no_grad():
        z_e = tokenizer.encoder(images_from_pixels(images))
    ambiguous = tokenizer.quantizer.is_ambiguous(z_e, 1e-5 * z_e.square().sum(1).flatten(1).mean(1).sqrt())
    differs = (found != exact).any(3)
    assert not (differs & ~ambiguous).any()
    assert differs.sum() <= most_ties


def codes_shown(page):
    return torch.tensor(page.run("Array.from(vqvaePage.state.codes)")).view(8, 8, 1)


def pixels_shown(page, name):
    return torch.tensor(page.run(f"Array.from(vqvaePage.state.{name})"), dtype=torch.int).view(3, 32, 32)


def samples_drawn(page):
    return torch.tensor(page.run("vqvaePage.state.samples.map((codes) => Array.from(codes))"))


def message(page):
    return page.run("document.querySelector('#message').textContent")
