"""Models of the Hugging Face Hub: downloaded once, then read from the cache; and uploaded."""

# Parts of huggingface_hub's interface have no types.
# pyright: reportUnknownVariableType=false

import re
from pathlib import Path
from typing import NamedTuple

from vqvae.errors import UserError
from vqvae.hub_client import in_one_line, network_errors
from vqvae.run_directory import RunDirectory

_SPEC = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_HERE = RunDirectory(Path())
_FILES = [str(path) for path in (_HERE.model, _HERE.tokenizer, _HERE.published, _HERE.card)]


class _Spec(NamedTuple):
    repo: str
    revision: str | None


def model_snapshot(spec: str) -> Path:
    """Return the folder of a model of the Hub, downloaded if it is not in the cache.

    Honours HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE. Without a network, the newest revision in the cache
    is taken.

    Args:
        spec: OWNER/NAME, with @REVISION for a branch, a tag or a commit.

    Raises:
        UserError: when there is no such model or revision, it has no model file of this program, or the Hub cannot
            be reached and the model is not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    repo, revision = _parsed(spec)
    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=_FILES))
    except HFValidationError as error:
        raise _not_a_name(spec) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"no model {repo} on the Hub; if it is private or gated, set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise UserError(f"hf:{repo} has no revision {revision}") from error
    except network_errors() as error:
        raise UserError(f"cannot get hf:{spec} from {in_one_line(error)}; it is not in the cache") from error
    if not RunDirectory(folder).model.is_file():
        raise UserError(f"hf:{spec} has no {_HERE.model}: not a model that vqvae push uploaded")
    return folder


def upload(folder: Path, repo: str, *, private: bool = False, message: str) -> str:
    """Upload the folder of a published model; make the repository if there is none.

    Args:
        folder: the folder.
        repo: OWNER/NAME.
        private: whether a repository that is made is private.
        message: of the commit.

    Returns:
        The commit, 40 hexadecimal digits.

    Raises:
        UserError: for another form of name, without permission, and when the Hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    check_repo(repo)
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(folder_path=folder, repo_id=repo, commit_message=message).oid)
    except HFValidationError as error:
        raise _not_a_name(repo) from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        advice = "; log in with a token that may write: hf auth login, or HF_TOKEN" if code in (401, 403) else ""
        raise UserError(f"cannot push to {repo}: {in_one_line(error)}{advice}") from error
    except (*network_errors(), RuntimeError) as error:  # RuntimeError: one of several uploads failed
        raise UserError(f"cannot push to {repo}: {in_one_line(error)}") from error


def check_repo(repo: str) -> None:
    """Refuse what is not the name of a repository.

    Raises:
        UserError: for another form than OWNER/NAME.
    """
    if _parsed(repo).revision is not None:
        raise UserError(f"'{repo}': a push makes a new commit on the main branch; write OWNER/NAME")


def _parsed(spec: str) -> _Spec:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise _not_a_name(spec)
    return _Spec(match["repo"], match["revision"])


def _not_a_name(spec: str) -> UserError:
    return UserError(
        f"'{spec[:80]}' is no model of the Hub: write OWNER/NAME or OWNER/NAME@REVISION, after hf: to load it"
    )
