"""The discriminator's two losses are their formulas, and the adaptive weight is the ratio of equation 7."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.losses.kinds import pair
from torch import Tensor, nn

from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.losses import Adversarial
from vqvae.losses.adversarial import adaptive_factor, smallest_side
from vqvae.networks import NetworkConfig
from vqvae.training.checkpoint import checkpoint_path
from vqvae.training.extra_losses import shares
from vqvae.training.last_layer import LastLayer

SMALL: Any = {"width": 8, "layers": 1}


def test_the_two_losses_are_the_hinge_loss() -> None:
    loss, (images, reconstruction) = Adversarial(3, **SMALL).double(), pair()
    real, fake = loss.network(images), loss.network(reconstruction)
    assert loss(images, reconstruction).item() == pytest.approx(-fake.mean().item(), rel=1e-6)
    expected = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    assert loss.own_loss(images, reconstruction).item() == pytest.approx(expected.item(), rel=1e-6)
    right = torch.cat([real > 0, fake < 0]).double().mean()
    assert loss.take_notes()["accuracy"].item() == pytest.approx(right.item())


def test_the_discriminators_loss_reaches_the_discriminator_alone() -> None:
    loss, (images, reconstruction) = Adversarial(3, **SMALL).double(), pair()
    decoder = nn.Conv2d(3, 3, 1).double()
    loss.own_loss(images, decoder(reconstruction).detach()).backward()
    assert all(parameter.grad is not None for parameter in loss.network.parameters())
    assert all(bool(m.weight.grad.any()) for m in loss.network if isinstance(m, nn.Conv2d))
    assert decoder.weight.grad is None


def test_an_answer_depends_on_one_image_alone() -> None:
    loss, (images, _) = Adversarial(3, **SMALL).double(), pair()
    torch.testing.assert_close(loss.network(images)[1:2], loss.network(images[1:2]))


def test_lecam_pulls_answers_towards_the_averages_of_the_other_side() -> None:
    loss, plain = (Adversarial(3, **SMALL, lecam=lecam).double() for lecam in (0.5, 0.0))
    plain.load_state_dict(loss.state_dict())
    loss.real_average.fill_(0.7)
    loss.fake_average.fill_(-0.4)
    images, reconstruction = pair()
    real, fake = loss.network(images), loss.network(reconstruction)
    for step in range(3):
        means = {"real": loss.real_average.clone(), "fake": loss.fake_average.clone()}
        own = loss.own_loss(images, reconstruction) - plain.own_loss(images, reconstruction)
        expected = (real - means["fake"]).square().mean() + (fake - means["real"]).square().mean()
        assert own.item() == pytest.approx(0.5 * expected.item(), rel=1e-4), step
        loss.after_step()
        assert loss.real_average.item() == pytest.approx((0.99 * means["real"] + 0.01 * real.mean()).item())
        assert loss.fake_average.item() == pytest.approx((0.99 * means["fake"] + 0.01 * fake.mean()).item())


def test_a_dropped_step_leaves_the_averages() -> None:
    loss = Adversarial(3, **SMALL)
    images, reconstruction = (each.float() for each in pair())
    loss.own_loss(images * torch.nan, reconstruction)
    loss.drop_step()
    loss.own_loss(images, reconstruction)
    loss.after_step()
    assert 0 < abs(loss.real_average.item()) < 1


def decoder_and_input(kind: str = "paper") -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    settings = {"channels": 3, "latent_channels": 4, "out_channels": 3}
    network = NetworkConfig.kinds()[kind](kind=kind, width=8, outer_width=6).build(**settings)
    return network.decoder.double(), torch.randn(2, 4, 3, 3).double()


@pytest.mark.parametrize("kind", ["paper", "resnet"])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_factor_is_the_ratio_of_gradients_at_the_decoders_last_layer(compiled: bool, kind: str) -> None:
    decoder, z_q = decoder_and_input(kind)
    last = LastLayer(decoder, z_q)
    run: Any = torch.compile(decoder, backend="eager") if compiled else decoder
    output = run(z_q).view(2, 3, 12, 12)
    target = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).double()
    terms = ((output - target).square().mean(), (output * target).sin().mean())
    layers = [module for module in decoder.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    weight = layers[-1].weight
    norms: list[Tensor] = []
    for term in terms:
        (at_output,) = torch.autograd.grad(term, output, retain_graph=True)
        (expected,) = torch.autograd.grad(term, weight, retain_graph=True)
        torch.testing.assert_close(last.weight_gradient(at_output).double(), expected, rtol=1e-5, atol=1e-9)
        norms.append(expected.norm())
    factor = adaptive_factor(*(last.weight_gradient(torch.autograd.grad(t, output, retain_graph=True)[0])
                               for t in terms), limit=1e4)  # fmt: skip
    assert factor.item() == pytest.approx((norms[0] / (norms[1] + 1e-6)).item(), rel=1e-5)
    assert adaptive_factor(torch.ones(3), torch.zeros(3), limit=7.0).item() == 7.0


def test_a_decoder_that_does_not_end_with_a_linear_layer_is_refused() -> None:
    decoder, z_q = decoder_and_input()
    with pytest.raises(UserError, match="set the loss's adaptive to false"):
        LastLayer(nn.Sequential(decoder, nn.Tanh()), z_q)


def test_shares_are_parts_of_the_gradients_norms_and_sum_to_one() -> None:
    gradients = {"a": torch.ones(2, 1, 2, 2), "b": torch.full((2, 1, 2, 2), 3.0)}
    assert shares({"a": 1.0, "b": torch.tensor(2.0)}, gradients) == {
        "a_share": pytest.approx(1 / 7),
        "b_share": pytest.approx(6 / 7),
    }


def _train(run: Any) -> list[dict[str, Any]]:
    return [record for record in read_records(run.metrics) if record["split"] == "train"]


def test_the_weighted_terms_sum_to_the_loss(train_tokenizer: Any, tmp_path: Path) -> None:
    losses = "[{kind: l1, weight: 0.3}, {kind: adversarial, weight: 0.2, start: 2, width: 8}]"
    records = _train(train_tokenizer(tmp_path / "run", training__steps="5", losses=losses))
    assert ["adversarial" in record for record in records] == [False, False, True, True, True]
    for record in records[2:]:
        terms = record["reconstruction"] + record["codebook"] + 0.25 * record["commitment"] + 0.3 * record["l1"]
        adversarial = 0.2 * record["adversarial_factor"] * record["adversarial"]
        assert record["loss"] == pytest.approx(terms + adversarial, rel=1e-4)
        names = ("reconstruction", "l1", "adversarial")
        assert sum(record[f"{name}_share"] for name in names) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize(
    "option",
    ["width: 4", "layers: 1", "learning_rate: 1.0", "adaptive: false", "adaptive_limit: 0.001", "lecam: 1.0"],
)
def test_every_option_changes_the_training(option: str, train_tokenizer: Any, tmp_path: Path) -> None:
    def state(out: Path, more: str) -> dict[str, Tensor]:
        losses = f"[{{kind: adversarial{more}}}]"
        if "width" not in more:
            losses = losses.replace("}", ", width: 8}")
        run = train_tokenizer(out, training__steps="2", training__evaluate_every="2", losses=losses)
        return load_file(checkpoint_path(run.checkpoints, 2))

    plain, changed = state(tmp_path / "plain", ""), state(tmp_path / "changed", f", {option}")
    assert any(
        name not in plain or plain[name].shape != tensor.shape or not torch.equal(plain[name], tensor)
        for name, tensor in changed.items()
    )


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_images_are_refused_exactly_where_the_discriminator_does_not_fit(layers: int) -> None:
    config = Adversarial.Config(width=8, layers=layers)
    least = smallest_side(layers)
    for height, width in ((least, least), (least, 2 * least + 1)):
        loss = config.build(image_shape=(3, height, width))
        assert loss.network(torch.zeros(2, 3, height, width)).numel() >= 2
    for height, width in ((least - 1, least), (least, least - 1)):
        with pytest.raises(RuntimeError, match="Kernel size"):
            Adversarial(3, width=8, layers=layers).network(torch.zeros(2, 3, height, width))
        with pytest.raises(UserError) as error:
            config.build(image_shape=(3, height, width))
        assert str(error.value) == (
            f"losses.adversarial: images of {height}x{width} are too small for layers {layers}: use fewer "
            "--losses.adversarial.layers or a larger --data.size"
        )
