"""What a quantizer holds: a codebook that was given stays, and a state that was loaded is the whole state."""

import pytest
import torch
from torch import nn

from tests.quantizers.kinds import kinds, variants
from vqvae.quantizers import FSQ, CosineQuantizer, EMAQuantizer, GumbelQuantizer, VectorQuantizer
from vqvae.quantizers.codebook import CodebookQuantizer

GRID = (3, 5)
WITH_A_CODEBOOK = [name for name, config in variants().items() if isinstance(config.build(), CodebookQuantizer)]


@pytest.fixture(params=WITH_A_CODEBOOK)
def quantizer(request):
    torch.manual_seed(0)
    return variants()[request.param].build()


def learn(quantizer, *batches):
    for z_e in batches:
        quantizer(z_e)
        quantizer.update()


def test_a_codebook_that_is_set_is_the_start(quantizer, randn):
    codebook = 5 * randn(1, *quantizer.codebook.shape)
    quantizer.set_codebook(codebook)
    expected = quantizer.codebook.clone()
    cosine = isinstance(quantizer, CosineQuantizer)
    torch.testing.assert_close(expected, codebook / codebook.norm(dim=1, keepdim=True) if cosine else codebook)
    out = quantizer(randn(2, 3, quantizer.channels, *GRID))  # the first training batch
    assert torch.equal(quantizer.codebook, expected)
    assert torch.equal(quantizer.embed(out.codes), out.z_q)


def test_training_goes_on_from_a_codebook_that_is_set_as_if_it_had_started_there(quantizer, randn):
    if not isinstance(quantizer, EMAQuantizer):
        pytest.skip("the running means are the case")
    learn(quantizer, *(randn(seed, 3, quantizer.channels, *GRID) for seed in range(3)))
    codebook = randn(9, *quantizer.codebook.shape)
    quantizer(randn(4, 3, quantizer.channels, *GRID))  # noted, then forgotten
    quantizer.set_codebook(codebook)
    assert torch.equal(quantizer.counts, torch.ones(quantizer.num_codes))
    assert torch.equal(quantizer.sums, codebook)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    assert quantizer.update() == {}
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())


@pytest.mark.parametrize("shape", [(11, 4), (12, 5), (12,)], ids=str)
def test_a_codebook_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"codebook .*: expected \[12, 4\]"):
        EMAQuantizer(12, 4).set_codebook(torch.zeros(shape))


def test_a_codebook_from_elsewhere_that_is_loaded_is_the_start(quantizer, randn):
    codebook = randn(1, *quantizer.codebook.shape)
    wrapped = nn.Sequential(quantizer)
    wrapped.load_state_dict({"0.codebook": codebook}, strict=False)
    loaded = quantizer.codebook.clone()
    quantizer(randn(2, 3, quantizer.channels, *GRID))
    assert torch.equal(quantizer.codebook, loaded)
    if isinstance(quantizer, EMAQuantizer):
        assert torch.equal(quantizer.sums, codebook)


def test_an_untrained_quantizer_that_is_saved_still_starts_from_its_first_batch(quantizer, randn):
    quantizer.load_state_dict(quantizer.state_dict())
    before = quantizer.codebook.detach().clone()
    quantizer(randn(2, 3, quantizer.channels, *GRID))
    assert not torch.equal(quantizer.codebook, before)


@pytest.mark.parametrize("name", variants())
def test_a_loaded_state_forgets_what_was_noted_before(name, randn):
    torch.manual_seed(0)
    quantizer, other = (variants()[name].build() for _ in range(2))
    other.load_state_dict(quantizer.state_dict())
    learn(quantizer, randn(1, 3, quantizer.channels, *GRID))
    state = {key: value.clone() for key, value in quantizer.state_dict().items()}
    other(50 + randn(2, 3, quantizer.channels, *GRID))  # noted by another codebook's life
    other.load_state_dict(state)
    assert other.update() == {}
    assert all(torch.equal(state[key], value) for key, value in other.state_dict().items())


@pytest.mark.parametrize("kind", kinds())
def test_a_quantizer_built_on_meta_is_the_loaded_one(kind, randn):
    torch.manual_seed(0)
    original = kinds()[kind].build()
    learn(original, randn(1, 3, original.channels, *GRID))
    with torch.device("meta"):
        copy = kinds()[kind].build()
    copy.to_empty(device="cpu")
    copy.load_state_dict(original.state_dict())
    z_e = randn(2, 3, original.channels, *GRID)
    left, right = original.eval()(z_e), copy.eval()(z_e)
    assert torch.equal(left.codes, right.codes) and torch.equal(left.z_q, right.z_q)


def test_fsq_moved_without_values_has_its_levels():
    quantizer = FSQ((7, 5, 3)).to_empty(device="cpu")
    assert quantizer.num_levels.tolist() == [7, 5, 3] and quantizer.places.tolist() == [1, 7, 35]


@pytest.mark.parametrize("make", [VectorQuantizer, EMAQuantizer, CosineQuantizer, GumbelQuantizer])
def test_a_state_of_other_sizes_is_refused(make):
    with pytest.raises(RuntimeError, match="size mismatch"):
        make(12, 4).load_state_dict(make(13, 4).state_dict())
