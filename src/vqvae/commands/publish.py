"""Publish a trained model: as a folder that loads anywhere, in this package or on the Hugging Face Hub."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from vqvae.errors import UserError
from vqvae.files import read_json, write_atomically, write_json
from vqvae.hub import check_repo, upload
from vqvae.model_io import ModelFile, Opened, open_prior, open_tokenizer, read_model, read_tokenizer
from vqvae.model_place import model_place
from vqvae.model_save import save_half
from vqvae.models import VQVAE
from vqvae.paths import is_data_name
from vqvae.published import data_settings, description, figures_of, sampling_settings
from vqvae.report.hub_card import CardFacts, card_text
from vqvae.run_directory import RunDirectory
from vqvae.tensors import CodeSpec

_PICTURE = "samples.png"


class Pushed(NamedTuple):
    """A model on the Hub.

    Attributes:
        repo: OWNER/NAME.
        commit: the commit that holds the model, 40 hexadecimal digits.
    """

    repo: str
    commit: str


def push(source: str | Path, repo: str, *, private: bool = False, license: str = "", half: bool = False) -> Pushed:
    """Publish a model on the Hub; make the repository if there is none.

    Args:
        source: the run, or what else ``model_place`` takes. A prior is published with its tokenizer.
        repo: OWNER/NAME.
        private: whether a repository that is made is private.
        license: the licence of the weights, an SPDX identifier such as ``mit``.
        half: as ``publish`` takes it.

    Raises:
        UserError: when there is no model, the name has another form, without permission to write, and when the
            Hub cannot be reached.
    """
    check_repo(repo)
    with tempfile.TemporaryDirectory() as folder:
        published = publish(source, Path(folder) / "model", name=f"hf:{repo}", license=license, half=half)
        step = read_model(published).card.step
        return Pushed(repo, upload(published, repo, private=private, message=f"Model after {step} steps"))


def publish(
    source: str | Path, out: Path, *, name: str, license: str = "", picture: bool = True, half: bool = False
) -> Path:
    """Write the folder of a published model: ``vqvae.load_tokenizer(out)`` and every command take it.

    Args:
        source: the run, or what else ``model_place`` takes. A prior is published with its tokenizer.
        out: the folder to make.
        name: the name by which the model is loaded, such as ``hf:OWNER/NAME``.
        license: the licence of the weights, an SPDX identifier such as ``mit``.
        picture: whether to include the run's newest reconstructions or samples.
        half: whether to store what gives equal codes in half precision; see ``save_half``.

    Returns:
        The folder.

    Raises:
        UserError: when there is no model at the source, a prior's run has no tokenizer, or ``out`` exists.
    """
    place = model_place(source)
    if out.exists():
        raise UserError(f"{out} exists and is not overwritten: choose another folder")
    file, folder = read_model(place), RunDirectory(out)
    tokenizer = _tokenizer_of(file, place)
    data, sampling, figures = data_settings(place), sampling_settings(place), figures_of(place)
    is_prior = file.card.stage == "prior"
    codes = open_prior(file).model.spec if is_prior else _codes(tokenizer)
    sizes = {"tokenizer": _size(read_tokenizer(place))} | ({"prior": _size(file)} if is_prior else {})
    try:
        (folder.tokenizer.parent if is_prior else out).mkdir(parents=True)
        copy = save_half if half else _save_copy
        copy(file, folder.model)
        if is_prior:
            copy(read_model(tokenizer.path), folder.tokenizer)
        shown = _newest_picture(place) if picture else None
        if shown is not None:
            write_atomically(out / _PICTURE, shown.read_bytes())
        write_json(folder.published, description(file.card, _size(file), data, sampling, figures))
        facts = CardFacts(
            name=name,
            card=file.card,
            codes=codes,
            parameters=sizes,
            data=data.spec if data is not None and is_data_name(data.spec) else "",
            sampling=sampling,
            figures=figures,
            recipe=_command(place),
            license=license,
            picture=_PICTURE if shown is not None else "",
        )
        write_atomically(folder.card, card_text(facts).encode())
    except OSError as error:
        raise UserError(f"{out}: cannot write the folder: {error.strerror}") from None
    return out


def _tokenizer_of(file: ModelFile, place: Path) -> Opened[VQVAE]:
    """Open the tokenizer of a model; of a prior, the tokenizer whose codes it models."""
    if file.card.stage == "tokenizer":
        return open_tokenizer(file)
    if not RunDirectory(place).tokenizer.is_file():
        raise UserError(f"{place}: a prior without its tokenizer; give the prior's run directory")
    tokenizer = open_tokenizer(place)
    if tokenizer.card.identity != file.card.tokenizer:
        raise UserError(f"{tokenizer.path}: not the tokenizer whose codes {place} models")
    return tokenizer


def _save_copy(file: ModelFile, path: Path) -> None:
    write_atomically(path, file.content)


def _codes(tokenizer: Opened[VQVAE]) -> CodeSpec:
    return tokenizer.model.code_spec(*tokenizer.card.image_shape[1:])


def _size(file: ModelFile) -> int:
    return sum(tensor.numel() for tensor in file.state.values() if tensor.is_floating_point())


def _newest_picture(place: Path) -> Path | None:
    if not place.is_dir():
        return None
    pictures = sorted(RunDirectory(place).samples.glob("*.png"))
    kept = place / _PICTURE
    return pictures[-1] if pictures else (kept if kept.is_file() else None)


def _command(place: Path) -> str:
    """Return the command that trained a run, with the last part of each path; empty where it is not known."""
    environment = RunDirectory(place).environment
    words = str(read_json(environment).get("command", "")).split() if environment.is_file() else []
    if words[1:2] not in (["train"], ["prior"], ["resume"]):
        return ""
    if "--out" in words:
        at = words.index("--out")
        del words[at : at + 2]
    return " ".join(_without_folders(word) for word in words if not word.startswith("--out="))


def _without_folders(word: str) -> str:
    """Return a word of a command with the last part of its path, also of ``--NAME=PATH``."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return option + equals + (value if value.startswith("hf:") else Path(value).name)
