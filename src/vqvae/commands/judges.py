"""The networks that judge images, kept apart from those that trained the models."""

from vqvae.commands.resolve import TokenizerRun
from vqvae.errors import UserError
from vqvae.features import FeatureNetwork, network_named


def judge_of(run: TokenizerRun, name: str, option: str = "--features") -> FeatureNetwork:
    """Make the feature network that judges a run's tokenizer, on the run's device.

    Args:
        run: the tokenizer.
        name: as ``vqvae.features.network_named`` takes it.
        option: the option that named it, for messages.

    Raises:
        UserError: for an unknown network, and one that took part in the tokenizer's training.
    """
    network = network_named(name)
    if network.digest in run.tokenizer.card.trained_with:
        raise UserError(
            f"{option} {name}: it took part in the training of {run.path} and cannot judge it: choose another "
            "network"
        )
    return network.to(run.device)
