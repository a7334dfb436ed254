"""Where weight files come from: for now, the ones that ship with the package."""

from importlib.resources import files
from pathlib import Path

from srzoo.architecture import Weights
from srzoo.weights import file_sha256

PRETRAINED = Path(__file__).parent / "pretrained"


def find_weights(row: Weights) -> Path:
    """Path of a weight file, its hash checked.

    Raises:
        FileNotFoundError: If the file is not in the package.
        ValueError: If its hash is not the recorded one.
    """
    try:
        path = Path(str(files(row.package) / row.file))
    except ModuleNotFoundError as error:
        raise FileNotFoundError(f"package {row.package} with {row.file} is not installed") from error
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing from the installation; install srzoo again")
    if (found := file_sha256(path)) != row.sha256:
        raise ValueError(f"{path} is damaged: its sha256 is {found}, recorded is {row.sha256}; install srzoo again")
    return path
