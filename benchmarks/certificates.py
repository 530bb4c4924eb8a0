"""Export a tiny trained model of every quantizer kind, and of both priors, and print what the certificates say.

``python benchmarks/certificates.py [--num 1000] [--steps 60] [--kinds ema,fsq]``. Each tokenizer is trained on
the built-in images for some steps, and exported to ONNX with a certificate on ``--num`` validation images. The
priors are trained on the codes of the first kind. Each model gets one row of a table in Markdown.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from vqvae.commands.export import export_run
from vqvae.commands.resolve import open_run
from vqvae.config import load_config
from vqvae.priors import PriorModelConfig
from vqvae.quantizers import QuantizerConfig
from vqvae.training import prior_config, train

TOKENIZER = """
data: {{spec: shapes, validation: {validation}}}
model: {{width: 16, outer_width: 8, residual_width: 8, residual_blocks: 1, quantizer: {{kind: {kind}}}}}
training:
  {{steps: {steps}, batch_size: 64, log_every: 100, evaluate_every: {steps}, compile: false, precision: fp32,
   learning_rate: 3.0e-3}}
"""
PRIOR = """
data: {{limit: 2000}}
classes: true
model: {{kind: {kind}, width: 32, layers: 3, head_width: 64}}
training:
  {{steps: {steps}, batch_size: 32, log_every: 100, evaluate_every: {steps}, compile: false, precision: fp32}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=sorted(QuantizerConfig.kinds()))
    asked = parser.parse_args()
    print("| model | images | codes | near-ties | differing codes | largest difference of the decoder |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in asked.kinds:
            text = TOKENIZER.format(kind=kind, steps=asked.steps, validation=min(0.5, asked.num / 10_000))
            config = load_config(_written(folder / f"{kind}.yaml", text), "tokenizer", {})
            run = train(config, out=str(folder / kind), name=kind)
            print(f"| `{kind}` | {_tokenizer_words(certificate(run.path, asked.num)['tokenizer'])} |", flush=True)
        print("\n| prior | samples | equal samples | largest difference of a logit |")
        print("|---|---|---|---|")
        for kind in sorted(PriorModelConfig.kinds()):
            recipe = _written(folder / f"{kind}.yaml", PRIOR.format(kind=kind, steps=max(1, asked.steps // 3)))
            config = prior_config(str(folder / asked.kinds[0]), recipe, {})
            run = train(config, out=str(folder / f"prior-{kind}"), name=kind)
            print(f"| `{kind}` | {_prior_words(certificate(run.path, asked.num)['prior'])} |", flush=True)


def certificate(run: Path, num: int) -> dict[str, Any]:
    return export_run(open_run(run, device="cpu"), run.with_name(f"{run.name}-onnx"), num=num)


def _written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def _tokenizer_words(facts: dict[str, Any]) -> str:
    counts = (facts["images"], facts["codes"], facts["near_ties"], len(facts["differing_codes"]))
    return " | ".join((*(f"{count:,}" for count in counts), f"{facts['largest_decoder_difference']:.1e}"))


def _prior_words(facts: dict[str, Any]) -> str:
    return f"{facts['samples']} | {facts['equal_samples']} | {facts['largest_logit_difference']:.1e}"


if __name__ == "__main__":
    main()
