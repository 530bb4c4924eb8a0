"""The models of a compressed file, found by hash: in the file, named by the user, in the cache, in the package."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vqvae.coding import BlockCoder, ContainerReader
from vqvae.errors import FormatError, UserError
from vqvae.files import write_atomically
from vqvae.model_io import ModelFile, Opened, open_prior, open_tokenizer, parse_model, read_model, read_tokenizer
from vqvae.model_place import shipped_models
from vqvae.models import VQVAE
from vqvae.priors import Prior
from vqvae.training.code_cache import cache_folder


@dataclass(frozen=True)
class CodingModels:
    """The models that code images, on the CPU: there alone do they compute the same numbers each time.

    Attributes:
        tokenizer: the tokenizer.
        prior: the prior over its codes; None for the uniform prior.
        files: their model files: of the tokenizer, and of the prior.
    """

    tokenizer: Opened[VQVAE]
    prior: Opened[Prior] | None
    files: tuple[ModelFile, ...]

    def coder(self, *, exact: bool, lossless: bool) -> BlockCoder:
        """Return what codes blocks with these models; the arguments and errors are those of ``BlockCoder``."""
        prior = self.prior and self.prior.model
        return BlockCoder(self.tokenizer.model, prior, exact=exact, lossless=lossless)


def models_of_run(path: str) -> CodingModels:
    """Open the prior of a run with its tokenizer; or a tokenizer, whose codes are then coded by the uniform prior.

    Raises:
        UserError: when there is no run or model at the path.
    """
    file = read_model(path)
    if file.card.stage == "prior":
        return _opened((read_tokenizer(path), file))
    return _opened((file,))


def keep_models(models: CodingModels) -> bool:
    """Copy the model files into the cache, named by their hashes; say whether they are there now."""
    folder = _folder()
    if folder is None:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in models.files:
            if not (folder / f"{file.hash}.safetensors").exists():
                write_atomically(folder / f"{file.hash}.safetensors", file.content)
    except OSError:
        return False
    return True


def models_of_file(reader: ContainerReader, named: str | None) -> CodingModels:
    """Open the models of a compressed file.

    Args:
        reader: the file.
        named: a run or a model file of the user's; None looks in the file, in the cache and in the package.

    Raises:
        UserError: when a model is not found.
        FormatError: when the models in the file are not the ones that its header names.
    """
    header = reader.header
    wanted = [digest.hex() for digest in (header.tokenizer, header.prior) if digest is not None]
    found: dict[str, ModelFile] = {}
    for file in _candidates(reader, named, wanted):
        found[file.hash] = file
        if found.keys() >= set(wanted):
            break
    stages = zip(("tokenizer", "prior"), wanted, strict=False)
    missing = [f"the {stage} {digest[:12]}..." for stage, digest in stages if digest not in found]
    if missing:
        where = f"{named} is another" if named else "neither the file nor the cache nor this package has it"
        raise UserError(f"{reader.path}: needs {' and '.join(missing)}; {where}: pass --model RUN")
    return _opened(tuple(found[digest] for digest in wanted))


def _candidates(reader: ContainerReader, named: str | None, wanted: list[str]) -> Iterator[ModelFile]:
    for number, digest in enumerate(wanted if reader.header.embedded else ()):
        file = parse_model(reader.chunk(number), reader.path)
        if file.hash != digest:
            raise reader.damaged("a model in it is not the one that its header names")
        yield file
    if named is not None:
        yield read_tokenizer(named)
        yield read_model(named)
        return
    folder = _folder()
    if folder is not None:
        for digest in wanted:
            with suppress(UserError):  # a damaged copy is no copy
                yield read_model(folder / f"{digest}.safetensors")
    for place in shipped_models().values():
        yield read_tokenizer(place)
        yield read_model(place)


def _opened(files: tuple[ModelFile, ...]) -> CodingModels:
    tokenizer = open_tokenizer(files[0])
    prior = open_prior(files[1]) if len(files) > 1 else None
    if prior is not None and prior.card.tokenizer != tokenizer.card.identity:
        raise FormatError(f"{prior.path}: models the codes of another tokenizer than {tokenizer.path}")
    return CodingModels(tokenizer, prior, files)


def _folder() -> Path | None:
    cache = cache_folder()
    return None if cache is None else cache / "models"
