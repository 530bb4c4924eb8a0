"""What wakes the codes of each kind of quantizer: words, and options of the command line that its config takes."""

from math import prod

from vqvae.config import (
    BSQConfig,
    CosineQuantizerConfig,
    EMAQuantizerConfig,
    FSQConfig,
    GroupedQuantizerConfig,
    GumbelQuantizerConfig,
    LFQConfig,
    ProjectedQuantizerConfig,
    QuantizerConfig,
    ResidualQuantizerConfig,
    SimVQConfig,
    VectorQuantizerConfig,
)

Remedy = tuple[str, dict[str, str]]
_MADE_OF_OTHERS = (ResidualQuantizerConfig, GroupedQuantizerConfig, ProjectedQuantizerConfig)


def num_codes_of(config: QuantizerConfig) -> int:
    """Return K of the quantizer that a config describes."""
    if isinstance(config, _MADE_OF_OTHERS):
        return num_codes_of(config.inner)
    if isinstance(config, FSQConfig):
        return prod(config.levels)
    return 2**config.bits if isinstance(config, LFQConfig | BSQConfig) else config.num_codes


def code_remedies(config: QuantizerConfig, key: str = "model.quantizer") -> Remedy:
    """Return what makes more codes of use, and the options for it.

    Args:
        config: of the quantizer.
        key: where it stands in the run's config.
    """
    match config:
        case ResidualQuantizerConfig() | GroupedQuantizerConfig() | ProjectedQuantizerConfig():
            return code_remedies(config.inner, f"{key}.inner")
        case VectorQuantizerConfig() | EMAQuantizerConfig() | CosineQuantizerConfig():
            return _of_a_codebook(config, key)
        case GumbelQuantizerConfig():
            return "ask for more even use", {f"{key}.kl_weight": f"{max(1e-3, 4 * config.kl_weight):.3g}"}
        case LFQConfig() | BSQConfig():
            weight = {f"{key}.entropy_weight": f"{max(0.02, 3 * config.entropy_weight):.3g}"}
            return "ask for more even use, or choose fewer bits", weight
        case SimVQConfig():
            return "ask for fewer codes, or train longer", {f"{key}.num_codes": str(max(2, config.num_codes // 2))}
        case FSQConfig():
            fewer = ",".join(str(max(3, level // 2 + 1)) for level in config.levels)
            return "ask for fewer codes, or train longer", {f"{key}.levels": f"[{fewer}]"}


def _of_a_codebook(config: VectorQuantizerConfig | EMAQuantizerConfig | CosineQuantizerConfig, key: str) -> Remedy:
    if not config.revive_every:
        return "revive dead codes", {f"{key}.revive_every": "20"}
    if isinstance(config, VectorQuantizerConfig):
        return "let running means move the codes", {f"{key}.kind": "ema"}
    if config.revive_below < 0.3:
        return "revive codes sooner", {f"{key}.revive_below": "0.3"}
    if config.dim > 8:
        return "compare in fewer dimensions", {f"{key}.dim": str(max(4, config.dim // 4))}
    return "ask for fewer codes", {f"{key}.num_codes": str(max(2, config.num_codes // 2))}
