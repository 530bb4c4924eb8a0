"""Trackers: sinks that send metrics, pictures and histograms to a program that shows many runs."""

# none of these programs is installed by default, so a checker knows no types of theirs
# pyright: reportMissingImports=false

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from vqvae.config import to_mapping
from vqvae.errors import UserError
from vqvae.files import read_json, write_json
from vqvae.screen import say
from vqvae.training.metrics import Sink
from vqvae.training.run import Run

_PROJECT = "vqvae"  # WANDB_PROJECT and TRACKIO_PROJECT name another
_PACKAGES = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}


class Tracker(Sink, Protocol):
    """A sink that also takes pictures and histograms."""

    def picture(self, step: int, name: str, file: Path) -> None:
        """Take a picture, a PNG file, as it was after ``step`` steps."""
        ...

    def histogram(self, step: int, name: str, values: Tensor) -> None:
        """Take the values of a histogram, [N], as they were after ``step`` steps."""
        ...


def check_trackers(names: Sequence[str]) -> None:
    """Check that the packages of trackers are installed.

    Raises:
        UserError: for a package that is missing; the message names the extra.
    """
    for name in names:
        if find_spec(_PACKAGES[name]) is None:
            raise UserError(f"--training.tracker {name} needs an extra: pip install 'vqvae-toolkit[{name}]'")


def make_trackers(names: Sequence[str], run: Run) -> list[Tracker]:
    """Open trackers for a run. A run that resumes goes on in the same run of the tracker.

    Raises:
        UserError: for a package that is missing, and when a tracker refuses to start.
    """
    check_trackers(names)
    made: list[Tracker] = []
    for name in dict.fromkeys(names):
        try:
            made.append(_MAKERS[name](run))
        except Exception as error:  # each program has errors of its own
            for tracker in made:
                tracker.close()
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"--training.tracker {name}: it does not start: {reason}") from error
    return made


class TensorBoard:
    """TensorBoard events, in the run's folder ``tensorboard``."""

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(run.tensorboard)

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """Write each value as a scalar ``split/name``."""
        for name, value in values.items():
            self.writer.add_scalar(f"{split}/{name}", value, step)

    def picture(self, step: int, name: str, file: Path) -> None:
        """Write the picture."""
        with Image.open(file) as picture:
            self.writer.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def histogram(self, step: int, name: str, values: Tensor) -> None:
        """Write the histogram."""
        self.writer.add_histogram(name, values, step)

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()


class WeightsAndBiases:
    """Weights & Biases. ``WANDB_MODE=offline`` keeps everything in the run's folder ``wandb``."""

    def __init__(self, run: Run) -> None:
        import wandb

        self.run: Any = wandb.init(
            project=_from_environment("WANDB_PROJECT"),
            id=_name_in(run, "wandb"),
            name=run.path.name,
            dir=run.path,
            config=_settings(run),
            resume="allow",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        # a run that was killed goes on before the last step that was logged; steps of wandb's own must rise
        self.run.define_metric("*", step_metric="step")
        say(f"wandb: {Path(self.run.dir).parent if self.run.offline else self.run.url}")
        self.kinds: Any = wandb

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """Log each value as ``split/name``."""
        self.run.log({"step": step, **{f"{split}/{name}": value for name, value in values.items()}})

    def picture(self, step: int, name: str, file: Path) -> None:
        """Log the picture."""
        self.run.log({"step": step, name: self.kinds.Image(str(file))})

    def histogram(self, step: int, name: str, values: Tensor) -> None:
        """Log the histogram."""
        self.run.log({"step": step, name: self.kinds.Histogram(values.cpu().numpy())})

    def close(self) -> None:
        """Send what is left, and close."""
        self.run.finish()


class Trackio:
    """Trackio, a local dashboard: ``trackio show``. ``TRACKIO_DIR`` says where it keeps its data."""

    def __init__(self, run: Run) -> None:
        import trackio

        self.trackio: Any = trackio
        name = f"{run.path.name}-{_name_in(run, 'trackio')}"
        project = _from_environment("TRACKIO_PROJECT")
        trackio.init(project=project, name=name, config=_settings(run), resume="allow", embed=False)
        say(f"trackio: run {name} of project {project}; show it with: trackio show --project {project}")

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """Log each value as ``split/name``."""
        self.trackio.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    def picture(self, step: int, name: str, file: Path) -> None:
        """Log the picture."""
        self.trackio.log({name: self.trackio.Image(str(file))}, step=step)

    def histogram(self, step: int, name: str, values: Tensor) -> None:
        """Log the histogram."""
        self.trackio.log({name: self.trackio.Histogram(values.cpu().tolist())}, step=step)

    def close(self) -> None:
        """Write what is left, and close."""
        self.trackio.finish()


_MAKERS: Mapping[str, Callable[[Run], Tracker]] = {
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": WeightsAndBiases,
}


def _settings(run: Run) -> dict[str, Any]:
    return to_mapping(run.read_config())


def _from_environment(variable: str) -> str:
    return os.environ.get(variable, _PROJECT)


def _name_in(run: Run, tracker: str) -> str:
    """Return the run's identifier in a tracker; it is drawn once and kept in the run."""
    kept = read_json(run.trackers) if run.trackers.is_file() else {}
    if tracker not in kept:
        kept[tracker] = secrets.token_hex(4)
        write_json(run.trackers, kept)
    return str(kept[tracker])
