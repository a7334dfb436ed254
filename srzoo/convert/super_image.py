"""Signs that a file is super-image's, whose EDSR has the same keys as EDSR-PyTorch's and is another function."""

import json
import re
from pathlib import Path


def sign_of_super_image(path: Path) -> str:
    """What tells that a checkpoint is super-image's, in words; empty if nothing does.

    Its files are `pytorch_model_2x.pt` and the like, with a `config.json` beside them.

    Examples:
        >>> sign_of_super_image(Path("pytorch_model_4x.pt"))
        'it is called pytorch_model_4x.pt'
        >>> sign_of_super_image(Path("edsr_baseline_x4.pt"))
        ''
    """
    if re.fullmatch(r"pytorch_model(_\d+x)?\.pt", path.name):
        return f"it is called {path.name}"
    config = path.parent / "config.json"
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type") if config.is_file() else None
    except (OSError, ValueError, AttributeError):
        return ""
    return f"the config.json beside it says model_type {kind}" if kind in ("EDSR", "MDSR") else ""
