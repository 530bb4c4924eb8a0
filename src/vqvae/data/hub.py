"""Image data sets of the Hugging Face Hub: their parquet files, downloaded once and checked every time."""

# Parts of huggingface_hub's interface have no types.
# pyright: reportUnknownVariableType=false

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vqvae.data.archives import one_set, sets_of
from vqvae.data.labels import BY_RULE, Columns
from vqvae.data.parquet import parquet_files
from vqvae.data.splits import DataSet
from vqvae.errors import UserError
from vqvae.hub_client import in_one_line, network_errors

# The branch that the Hub fills itself for data sets of other formats.
_CONVERTED = "refs/convert/parquet"
_SPEC = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<config>[\w./+ -]+))?(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Listing:
    """The parquet files of one commit of a data set."""

    repo: str
    commit: str
    files: tuple[str, ...]


def hub_files(spec: str, columns: Columns = BY_RULE) -> DataSet:
    """Return the splits of a data set on the Hub.

    Honours HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE. What was loaded before loads again without network.

    Args:
        spec: OWNER/NAME, OWNER/NAME:CONFIG for one configuration of several, and either with @REVISION for a
            branch, a tag or a commit.
        columns: what is asked for by name.

    Raises:
        UserError: when the data set is not there, is not of images, is damaged, or cannot be reached.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UserError(
            f"'hf:{spec}' is no Hub data set: write hf:OWNER/NAME, hf:OWNER/NAME:CONFIG or "
            "hf:OWNER/NAME@REVISION, such as hf:uoft-cs/cifar10"
        )
    repo, config = match["repo"], match["config"]
    listing = _listing(repo, config, match["revision"])
    where = f"hf:{spec}"
    found = one_set(listing.files, where, lambda name: f"pass hf:{repo}:{name or 'CONFIG'}", asked=config)
    fetch = partial(_fetch, listing)
    data = parquet_files(found.names, fetch=fetch, where=where, columns=columns, left_out=found.left_out)
    return replace(data, is_remote=True)


def _listing(repo: str, config: str | None, revision: str | None) -> _Listing:
    """List a data set's files, or recall the list where the Hub cannot be reached."""
    from huggingface_hub.errors import RepositoryNotFoundError

    memo = _memo(repo, config, revision)
    try:
        listing = _ask(repo, config, revision)
    except RepositoryNotFoundError as error:
        raise UserError(f"no data set {repo} on the Hub; if it is private or gated, set HF_TOKEN") from error
    except network_errors() as error:
        recalled = _recall(repo, memo)
        if recalled is None:
            raise _out_of_reach(repo, error) from error
        return recalled
    _remember(listing, memo)
    return listing


def _ask(repo: str, config: str | None, revision: str | None) -> _Listing:
    """Return the first listing that has the configuration: of the files themselves, or of those that the Hub made.

    Where neither has it, return the first one with any files.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    first = None
    for name in (None, _CONVERTED) if revision is None else (revision,):
        try:
            info = HfApi().dataset_info(repo, revision=name)
        except RevisionNotFoundError:
            continue
        names = [sibling.rfilename for sibling in info.siblings or ()]
        files = tuple(sorted(name for name in names if name.endswith(".parquet")))
        if files and info.sha:
            listing = _Listing(repo, info.sha, files)
            if config is None or config in sets_of(files):
                return listing
            first = first or listing
    if first is None:
        at = f" at {revision}" if revision else ""
        raise UserError(f"hf:{repo} has no parquet files{at}: download it, then pass its folder")
    return first


def _fetch(listing: _Listing, name: str) -> Path:
    """Return the path of one file, downloading it with a progress bar where it is not in the cache yet."""
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(listing.repo, name, repo_type="dataset", revision=listing.commit))
    except network_errors() as error:
        raise _out_of_reach(listing.repo, error) from error
    _verify(listing, name, path)
    return path


def _verify(listing: _Listing, name: str, path: Path) -> None:
    """Check a file's size and SHA-256 against what the Hub announces; without network, trust the cache."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(listing.repo, name, repo_type="dataset", revision=listing.commit)
    try:
        announced = get_hf_file_metadata(url)
    except network_errors():
        return
    # Large files are tagged with their SHA-256, small ones with git's hash, which covers more than the content.
    tag = announced.etag if announced.etag and _SHA256.fullmatch(announced.etag) else None
    blob = path.resolve()  # deleting the link alone would leave the damaged file in the cache
    with blob.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if announced.size not in (None, blob.stat().st_size) or tag not in (None, digest):
        raise UserError(f"{name} of hf:{listing.repo} is damaged: delete {blob} and try again")


def _out_of_reach(repo: str, error: Exception) -> UserError:
    files = "cifar-10-binary.tar.gz or the parquet files" if repo == "uoft-cs/cifar10" else "the parquet files"
    return UserError(
        f"cannot get hf:{repo} from {in_one_line(error)}; without network, download {files} elsewhere, then pass "
        "their folder"
    )


def _memo(repo: str, config: str | None, revision: str | None) -> Path:
    """Return where the list of files is kept; a configuration may be on another branch than the others."""
    from huggingface_hub import constants

    name = repo + (f":{config}" if config else "") + (f"@{revision}" if revision else "")
    return Path(constants.HF_HOME) / "vqvae" / f"{name.replace('/', '--')}.json"


def _remember(listing: _Listing, memo: Path) -> None:
    """Keep the list of files: the cache holds files alone, so offline one could not tell a split is missing."""
    beside = memo.with_suffix(f".{os.getpid()}.tmp")
    # A cache that cannot be written costs the offline start and nothing else.
    with suppress(OSError):
        memo.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w") as file:
            json.dump({"commit": listing.commit, "files": listing.files}, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(memo)


def _recall(repo: str, memo: Path) -> _Listing | None:
    try:
        kept: dict[str, Any] = json.loads(memo.read_text())
        return _Listing(repo, str(kept["commit"]), tuple(kept["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
