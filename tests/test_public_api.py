import importlib
import inspect
import json
from pathlib import Path

import pytest

PUBLIC: dict[str, list[str]] = json.loads((Path(__file__).parent / "public_api.json").read_text())


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PUBLIC.items() for name in names])
def test_a_public_name_stays(module, name):
    found = getattr(importlib.import_module(module), name, None)
    assert found is not None, f"{module}.{name} is gone; users have it in their code"
    assert not inspect.ismodule(found), f"{module}.{name} is now only the file of that name"


def test_the_list_covers_the_public_modules():
    expected = {
        "srzoo",
        *(
            f"srzoo.{part}"
            for part in ("benchmark", "blocks", "convert", "data", "metrics", "report", "train", "tta", "upscaling")
        ),
    }
    assert expected <= set(PUBLIC)
    assert all(PUBLIC.values())
