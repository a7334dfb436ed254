"""How other projects name the tensors of networks: those that become ours, and those that cannot, with the reason."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

PROJECTS = {
    "edsr-pytorch": "EDSR-PyTorch",
    "torchsr": "torchSR",
    "basicsr": "BasicSR",
    "mmagic": "mmagic",
    "super-image": "super-image",
    "pytorch-vdsr": "pytorch-vdsr",
}
"""Names that `srzoo convert --from` takes, and how the projects spell themselves."""
Rename = str | Callable[[re.Match[str]], str]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A network of another project that ours can represent exactly."""

    projects: tuple[str, ...]
    """Who writes it, the first one first."""
    family: str
    """The family of ours."""
    has: tuple[str, ...]
    """Each of these patterns fits a key of every such checkpoint."""
    renames: Mapping[str, Rename]
    """Pattern of a key -> ours; `{end}` stands for the number of blocks, `{0}` for the first scale."""
    shift: tuple[str, ...]
    """Keys of the mean, which our models have built in."""
    image_range: float | None = 255.0
    """What white is to the network's features, where the mean's tensors do not tell; None: as to ours."""
    biases: bool = True
    """Whether its convolutions have them; ours are zero if not."""


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A network that cannot become one of ours."""

    what: str
    has: tuple[str, ...]
    reason: str = "srzoo has no such network"


_OFFICIAL: dict[str, Rename] = {
    r"head\.0\.(.+)": r"head.\1",
    r"body\.(\d+)\.body\.0\.(.+)": r"body.\1.conv1.\2",
    r"body\.(\d+)\.body\.2\.(.+)": r"body.\1.conv2.\2",
    r"body\.(\d+)\.(weight|bias)": r"body.\1.\2",
}
_FIRST_LAST: dict[str, Rename] = {
    r"conv_first\.(.+)": r"head.\1",
    r"body\.(\d+)\.(conv[12]\..+)": r"body.\1.\2",
    r"conv_after_body\.(.+)": r"body.{end}.\1",
    r"conv_last\.(.+)": r"tail.\1",
}
OFFICIAL_SHIFT = ("sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias")

LAYOUTS = (
    Layout(
        projects=("edsr-pytorch",),
        family="mdsr",
        has=(r"head\.0\.weight", r"pre_process\.\d+\.\d+\.body\.\d+\.weight"),
        renames={
            **_OFFICIAL,
            r"pre_process\.(\d+)\.(\d+)\.body\.0\.(.+)": r"pre.branches.{\1}.\2.conv1.\3",
            r"pre_process\.(\d+)\.(\d+)\.body\.2\.(.+)": r"pre.branches.{\1}.\2.conv2.\3",
            r"upsample\.(\d+)\.(\d+)\.(.+)": r"upsample.branches.{\1}.\2.\3",
            r"tail\.0\.(.+)": r"tail.\1",
        },
        shift=OFFICIAL_SHIFT,
    ),
    Layout(
        projects=("edsr-pytorch", "torchsr"),
        family="edsr",
        has=(r"head\.0\.weight", r"body\.\d+\.body\.0\.weight"),
        renames={**_OFFICIAL, r"tail\.0\.(\d+)\.(.+)": r"upsample.\1.\2", r"tail\.1\.(.+)": r"tail.\1"},
        shift=OFFICIAL_SHIFT,
    ),
    Layout(
        projects=("mmagic",),
        family="edsr",
        has=(r"conv_first\.weight", r"conv_after_body\.weight", r"upsample\.\d+\.upsample_conv\.weight"),
        renames={
            **_FIRST_LAST,
            r"upsample\.(\d+)\.upsample_conv\.(.+)": lambda found: f"upsample.{2 * int(found[1])}.{found[2]}",
        },
        shift=("mean", "std"),
        image_range=1.0,
    ),
    Layout(
        projects=("basicsr",),
        family="edsr",
        has=(r"conv_first\.weight", r"conv_after_body\.weight", r"upsample\.\d+\.weight", r"body\.\d+\.conv1\.weight"),
        renames={**_FIRST_LAST, r"upsample\.(\d+)\.(.+)": r"upsample.\1.\2"},
        shift=("mean",),
    ),
    Layout(
        projects=("pytorch-vdsr",),
        family="vdsr",
        has=(r"input\.weight", r"residual_layer\.\d+\.conv\.weight", r"output\.weight"),
        renames={
            r"input\.weight": "head.weight",
            r"residual_layer\.(\d+)\.conv\.weight": r"body.\1.weight",
            r"output\.weight": "tail.weight",
        },
        shift=(),
        image_range=None,
        biases=False,
    ),
)

SUPER_IMAGE_EDSR = (
    "super-image's EDSR takes images in [0, 1] and never removes the mean, ours removes it before the first "
    "convolution; that one pads with zeros, so the two differ at the borders of every image whatever the weights are"
)
FOREIGN = (
    Foreign(
        what="the MDSR of super-image",
        has=(r"head\.0\.0\.weight", r"pre_process\..+"),
        reason="it is not the paper's network: one scale, 3x3 pre-processing, residuals times 0.1, no mean shift",
    ),
    Foreign(
        what="MSRResNet of BasicSR or mmagic",
        has=(r"conv_first\.weight", r"conv_hr\.weight"),
        reason="it is not EDSR: its activations are leaky, it adds the bilinear image, and has no mean shift",
    ),
    Foreign(
        what="VDSR of EDSR-PyTorch or torchSR",
        has=(r"body\.\d+\.0\.weight", r"sub_mean\.weight"),
        reason="it works on RGB with DIV2K's mean removed, the paper's VDSR and ours on luma",
    ),
    Foreign(
        what="a SRCNN written in PyTorch",
        has=(r"conv1\.weight", r"conv2\.weight", r"conv3\.weight"),
        reason="such networks pad and train each in their own way; srzoo reads the authors' own .mat files",
    ),
    Foreign(what="RCAN", has=(r"body\.\d+\.body\.\d+\.body\.\d+\.weight|body\.\d+\.residual_group\..+",)),
    Foreign(what="RRDBNet (ESRGAN)", has=(r"(body|RRDB_trunk|trunk)\.\d+\.(rdb|RDB)1\..+|(model\.)?1\.sub\..+",)),
    Foreign(what="a transformer such as SwinIR or HAT", has=(r"layers\.\d+\.residual_group\..+",)),
    Foreign(what="RDN", has=(r"SFENet1\..+|sfe1\..+",)),
    Foreign(what="DDBPN", has=(r"(upmodules|initial)\..+",)),
    Foreign(what="FSRCNN", has=(r"first_part\.\d+\.weight", r"last_part\.weight")),
    Foreign(what="a compact Real-ESRGAN network", has=(r"body\.0\.weight", r"body\.1\.weight", r"body\.2\.weight")),
    Foreign(what="SRResNet or SRGAN", has=(r"conv_input\..+|block1\.0\.weight|residual\.\d+\.conv1\.weight",)),
)


def fits(has: Iterable[str], keys: Iterable[str]) -> bool:
    """Whether each pattern fits a key."""
    names = list(keys)
    return all(any(re.fullmatch(pattern, name) for name in names) for pattern in has)


def find_layout(keys: Iterable[str], project: str = "auto") -> Layout:
    """The layout that a checkpoint with these keys is in.

    Args:
        keys: Names of its tensors, without wrappers.
        project: A name of `PROJECTS`, or "auto".

    Raises:
        ValueError: If it is in none, of a network that ours cannot represent, or in another project's than `project`;
            one sentence says what the keys look like.

    Examples:
        >>> find_layout(["conv_first.weight", "conv_after_body.weight", "upsample.0.upsample_conv.weight"]).projects
        ('mmagic',)
    """
    if project != "auto" and project not in PROJECTS:
        raise ValueError(f"project is {project!r}; take auto or one of {', '.join(PROJECTS)}")
    names = sorted(keys)
    for foreign in FOREIGN:
        if fits(foreign.has, names):
            sample = next(name for name in names if re.fullmatch(foreign.has[0], name))
            raise ValueError(f"its keys are those of {foreign.what} (such as {sample}): {foreign.reason}")
    layout = next((layout for layout in LAYOUTS if fits(layout.has, names)), None)
    if layout is None:
        known = "; ".join(
            f"{layout.family.upper()} of {' and '.join(PROJECTS[name] for name in layout.projects)}"
            for layout in LAYOUTS
        )
        raise ValueError(f"its keys are in no layout known here ({known}); its keys begin with {', '.join(names[:5])}")
    wanted = "edsr-pytorch" if project == "super-image" else project
    if wanted != "auto" and wanted not in layout.projects:
        title = PROJECTS[layout.projects[0]]
        raise ValueError(
            f"its keys are those of {layout.family.upper()} in {title}, not in {PROJECTS[project]}; "
            f"name the project {layout.projects[0]} (--from), or leave it to auto"
        )
    return layout


def rename(layout: Layout, key: str) -> str | None:
    """Our name for a key, with its placeholders; None if the layout has no such key."""
    for pattern, ours in layout.renames.items():
        if re.fullmatch(pattern, key):
            return re.sub(pattern, ours, key)
    return None
