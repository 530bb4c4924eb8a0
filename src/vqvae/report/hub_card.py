"""The model card of a published model: ``README.md`` as the Hugging Face Hub reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from vqvae.metrics import METRICS, described
from vqvae.model_card import ModelCard
from vqvae.published import Figures, measured
from vqvae.sampling import PLAIN, Controls
from vqvae.tensors import CodeSpec
from vqvae.version import VERSION

_NO_FIGURES = "Not measured yet: `vqvae evaluate RUN --data SPEC`, then publish again.\n"


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a model card says.

    Attributes:
        name: ``hf:OWNER/NAME`` or the name of a model in this package; it loads the model.
        card: of the model's file.
        codes: the codes of an image of the training's size.
        parameters: number of parameters and buffers, by stage: tokenizer, prior.
        data: the name of the training's images, empty if they have no public name.
        sampling: how ``vqvae sample`` draws from the prior.
        figures: what was measured; None if nothing was.
        recipe: the command or the recipe that trained it; empty if it is not known.
        license: SPDX identifier, such as ``mit``; empty if none was named.
        picture: the file of a picture in the folder; empty if there is none.
    """

    name: str
    card: ModelCard
    codes: CodeSpec
    parameters: Mapping[str, int]
    data: str
    sampling: Controls = PLAIN
    figures: Figures | None
    recipe: str = ""
    license: str = ""
    picture: str = ""


def card_text(facts: CardFacts) -> str:
    """Return the model card, in Markdown after a header of YAML."""
    parts = [
        f"---\n{yaml.safe_dump(_header(facts), sort_keys=False)}---\n",
        f"# {facts.name.removeprefix('hf:')}\n",
        _about(facts),
        f"![{_shown(facts)}]({facts.picture})\n" if facts.picture else "",
        _use(facts),
        f"## Figures\n\n{_figures(facts.figures)}",
        _training(facts),
        _intended(facts),
    ]
    return "\n".join(part for part in parts if part)


def _is_prior(facts: CardFacts) -> bool:
    return facts.card.stage == "prior"


def _header(facts: CardFacts) -> dict[str, Any]:
    own = facts.card.build.get("model") or {}
    kinds = [str(own[key]["kind"]) for key in ("network", "quantizer") if isinstance(own.get(key), dict)]
    kinds += [str(own["kind"])] if "kind" in own else []
    found: dict[str, Any] = {
        "library_name": "vqvae",
        "pipeline_tag": "unconditional-image-generation" if _is_prior(facts) else "image-feature-extraction",
        "tags": ["vqvae", "vq-vae", "image-tokenizer", "discrete-latents", *kinds],
    }
    if facts.license:
        found["license"] = facts.license
    if facts.data.startswith("hf:"):
        found["datasets"] = [facts.data.removeprefix("hf:").partition("@")[0].partition(":")[0]]
    return found


def _about(facts: CardFacts) -> str:
    height, width = facts.codes.grid
    size = "x".join(map(str, facts.card.image_shape[1:]))
    several = f" of {facts.codes.codes_per_position}" if facts.codes.codes_per_position > 1 else ""
    kind = "colour" if facts.card.image_shape[0] == 3 else "grey"
    count = height * width * facts.codes.codes_per_position
    text = (
        f"A VQ-VAE ([arXiv 1711.00937](https://arxiv.org/abs/1711.00937)): it maps a {kind} image of {size} to "
        f"{height}x{width} positions{several}, {count} codes of {facts.codes.num_codes:,}, and codes back to an "
        "image."
    )
    if _is_prior(facts):
        text += " A prior, a model of the codes, draws new images."
    if facts.card.classes:
        names = ", ".join(facts.card.classes[:20]) + (", ..." if len(facts.card.classes) > 20 else "")
        text += f" Classes: {names}."
    sizes = ", ".join(f"{stage} {count:,}" for stage, count in facts.parameters.items())
    return f"{text}\n\nParameters: {sizes}. Files: safetensors; nothing is pickled.\n"


def _shown(facts: CardFacts) -> str:
    return "Samples" if _is_prior(facts) else "Images above their reconstructions"


def _use(facts: CardFacts) -> str:
    name = facts.name
    lines = [
        "import vqvae",
        "",
        f'tokenizer = vqvae.load_tokenizer("{name}")',
        "codes = tokenizer.encode(images)  # float32 [B, C, H, W] in [-1, 1] to int64 [B, h, w, n]",
        "images = tokenizer.decode(codes)",
    ]
    height, width = facts.card.image_shape[1:]
    size = f"{height}" if height == width else f"{height}x{width}"
    words = [f"vqvae reconstruct {name} photo.png --data.size {size} --data.fit crop --out reconstruction.png"]
    if _is_prior(facts):
        lines += ["", f'prior = vqvae.load_prior("{name}")', "codes = prior.sample(16, seed=0)"]
        words.append(f"vqvae sample {name} --num 16 --out samples.png")
    python, shell = "\n".join(lines), "\n".join(words)
    own = facts.sampling.words() if _is_prior(facts) else ""
    drawn = f"\n`vqvae sample` draws with {own}; `prior.sample` draws from the prior itself.\n" if own else ""
    return f"## Use\n\n```python\n{python}\n```\n\n```sh\n{shell}\n```\n{drawn}"


def _figures(figures: Figures | None) -> str:
    if figures is None:
        return _NO_FIGURES
    rows = ["| metric | value | unit | meaning |", "|---|---|---|---|"]
    for name, value in measured(figures).items():
        if name in METRICS and name != "images":
            metric = described(name, figures.protocol)
            rows.append(f"| `{name}` | {value:.5g} | {metric.unit} | {_in_cell(metric.meaning)} |")
    protocol = figures.protocol
    of = f"{figures.values.get('images')} images of {protocol.get('data')}, split {protocol.get('split')}"
    versions = ", ".join(f"{name} {version}" for name, version in (protocol.get("versions") or {}).items())
    size = "x".join(map(str, protocol.get("size") or ()))
    how = f"Measured by `vqvae evaluate` on {of}, {size}, fit {protocol.get('crop')}; {versions}."
    return "\n".join([*rows, "", how, ""])


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|")  # a bare bar would begin the next cell of the table


def _training(facts: CardFacts) -> str:
    images = f"on {facts.data}" if facts.data else "on images that have no public name"
    recipe = f", by\n\n```text\n{facts.recipe}\n```\n" if facts.recipe else ".\n"
    return f"## Training\n\nTrained {images} for {facts.card.step:,} steps with vqvae {VERSION}{recipe}"


def _intended(facts: CardFacts) -> str:
    license = f"Licence of the weights: {facts.license}." if facts.license else "No licence was named."
    return (
        "## Intended use\n\n"
        "Compressing images to codes, training models of codes, drawing images, teaching, and comparing methods. "
        "Images unlike the training images are reconstructed less well: measure on your own images first. The "
        f"model reproduces the biases of its training images. {license}\n"
    )
