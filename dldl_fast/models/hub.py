"""Models on the Hugging Face Hub, where the package huggingface_hub is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dldl_fast.data.base import MissingExtraError
from dldl_fast.models.checkpoint import CONFIG_NAME, WEIGHTS_NAME, CheckpointError

_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")


def _missing(purpose: str) -> MissingExtraError:
    return MissingExtraError(
        f"{purpose} needs the package 'huggingface_hub'; run: pip install 'dldl_fast[hub]'"
    )


class LocalFoldersOnly:
    """Stands in for PyTorchModelHubMixin where huggingface_hub is not installed."""

    def save_pretrained(self, save_directory: Path | str, **options: Any) -> str | None:
        """Raise MissingExtraError: only options for the hub come here."""
        raise _missing("save_pretrained with options for the hub")

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Raise MissingExtraError."""
        raise _missing("push_to_hub")


if TYPE_CHECKING:
    HubMixin = LocalFoldersOnly
else:
    # A base class has to be there when the class is made.
    try:
        from huggingface_hub import PyTorchModelHubMixin
    except ImportError:
        HubMixin = LocalFoldersOnly
    else:

        class HubMixin(PyTorchModelHubMixin, library_name="dldl_fast"):
            """PyTorchModelHubMixin, with the name of this library in its model card."""


def local_folder(path: Path | str, **options: Any) -> Path:
    """The folder of a checkpoint; one on the hub is downloaded first, as two files.

    Args:
        path: an existing folder, or the name of a repository, such as ``"owner/name"``.
        options: for `huggingface_hub.snapshot_download`: ``revision``, ``token``, ``cache_dir``,
            ``force_download``, ``local_files_only``.

    Raises:
        CheckpointError: if it is neither.
        MissingExtraError: for a repository, if huggingface_hub is not installed.
    """
    folder = Path(path)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(
            f"{path}: a file; expected the folder that save_pretrained wrote, with {WEIGHTS_NAME} "
            f"and {CONFIG_NAME}. Files of pickled weights are never unpickled; "
            "dldl_fast.models.importers reads those of known programs"
        )
    if isinstance(path, Path) or not _REPOSITORY.fullmatch(path):
        raise CheckpointError(f"{path}: no such folder, and not the name of a repository")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise _missing(f"{path}: no such folder; loading it from the hub") from error
    # Only these, whatever else the repository holds: above all no pickles.
    return Path(
        snapshot_download(repo_id=path, allow_patterns=[CONFIG_NAME, WEIGHTS_NAME], **options)
    )
