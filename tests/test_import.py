import json
import subprocess
import sys

HEAVY = {
    "torchvision", "timm", "skimage", "scipy", "matplotlib", "huggingface_hub", "rich", "openvino", "onnx",
    "onnxruntime", "onnxscript", "ray", "tifffile", "imagecodecs", "datasets", "tensorboard", "pandas",
}  # fmt: skip


def test_importing_srzoo_imports_no_optional_or_heavy_package(tmp_path):
    code = (
        "import sys, json, torch; before = set(sys.modules); import srzoo;"
        "print(json.dumps([sorted(sys.modules), sorted(set(sys.modules) - before)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    every, own = json.loads(done.stdout)
    assert "srzoo.registry" in own
    assert not HEAVY & {name.partition(".")[0] for name in every}
    assert not [name for name in own if name.startswith(("srzoo.models.", "srzoo.train", "srzoo.cli"))]
    engines = {"torch_engine", "engine", "choosing"}
    found = {name.rpartition(".")[2] for name in own if name.startswith("srzoo.upscaling.engines.")}
    assert found <= engines
