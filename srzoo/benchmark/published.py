"""Figures that papers and other projects published, as data, each with its source."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Source:
    """Where a figure was published."""

    title: str
    where: str
    """Table or section."""
    address: str
    protocol: str
    """How it was measured, in words."""
    ssim_comparable: bool = True
    """Whether its SSIM is the quantity that srzoo measures."""
    own: tuple[str, ...] = ()
    """Methods of its authors; the figures of any other are quoted."""


_OWN = (
    "SRResNet (L2 loss)", "SRResNet (L1 loss)", "EDSR baseline", "MDSR baseline", "EDSR", "MDSR", "EDSR+", "MDSR+",
)  # fmt: skip
EDSR_PAPER = Source(
    "Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017",
    "table 3",
    "https://arxiv.org/abs/1707.02921",
    "Y of BT.601 and `scale` pixels cut",
    own=_OWN,
)
EDSR_PAPER_DIV2K = replace(
    EDSR_PAPER,
    protocol="DIV2K (0801 to 0900): RGB, 6 + `scale` pixels cut; SSIM by MATLAB's `ssim` of the RGB array as a volume, "
    "which is another quantity: the difference leaves it out",
    ssim_comparable=False,
)
EDSR_PAPER_TABLE_2 = replace(EDSR_PAPER_DIV2K, where="table 2")
EDSR_README = Source(
    "EDSR-PyTorch, the authors' code",
    "README",
    "https://github.com/sanghyun-son/EDSR-PyTorch",
    "DIV2K (0801 to 0900): RGB; the README says 2 + `scale` pixels cut, the code cuts 6 + `scale`",
    own=_OWN,
)
TORCHSR = Source(
    "torchSR, which runs the authors' weights",
    "README",
    "https://github.com/Coloquinte/torchSR",
    "Y of BT.601 and `scale` pixels cut",
)
CARN_PAPER = Source(
    "Ahn et al., Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network, ECCV 2018",
    "table of PSNR and SSIM",
    "https://arxiv.org/abs/1803.08664",
    "Y of BT.601 and `scale` pixels cut",
    own=("CARN",),
)
FSRCNN_PAPER = Source(
    "Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016",
    "table 4",
    "https://arxiv.org/abs/1608.00367",
    "Y, along the luma path",
    own=("FSRCNN",),
)
ESPCN_PAPER = Source(
    "Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural "
    "Network, CVPR 2016",
    "table of PSNR, trained on ImageNet; no x2",
    "https://arxiv.org/abs/1609.05158",
    "Y and `scale` pixels cut",
    own=("ESPCN",),
)
APLUS_PAPER = Source(
    "Timofte et al., A+: Adjusted Anchored Neighborhood Regression for Fast Super-Resolution, ACCV 2014",
    "table of PSNR",
    "https://doi.org/10.1007/978-3-319-16817-3_8",
    "Y, along the luma path",
    own=("A+",),
)
SRCNN_PAPER = Source(
    "Dong et al., Image Super-Resolution Using Deep Convolutional Networks, TPAMI 2016",
    "tables of Set5 and Set14",
    "https://arxiv.org/abs/1501.00092",
    "Y, along the luma path",
    own=("SRCNN",),
)
VDSR_PAPER = Source(
    "Kim et al., Accurate Image Super-Resolution Using Very Deep Convolutional Networks, CVPR 2016",
    "table 3",
    "https://arxiv.org/abs/1511.04587",
    "Y, along the luma path",
    own=("VDSR",),
)
SRRESNET_PAPER = Source(
    "Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR 2017",
    "table of PSNR and SSIM",
    "https://arxiv.org/abs/1609.04802",
    "Y and 4 pixels cut; SSIM by another program, which is not compared",
    ssim_comparable=False,
    own=("SRResNet",),
)


@dataclass(frozen=True)
class Published:
    """One published figure: mean PSNR in dB, and mean SSIM where it was given, of a method on a set at a scale."""

    method: str
    set: str
    scale: int
    psnr: float
    ssim: float | None
    source: Source

    @property
    def is_quoted(self) -> bool:
        """Whether others than the method's authors told the figure; bicubic is nobody's."""
        return self.method != "Bicubic" and self.method not in self.source.own

    def __str__(self) -> str:
        return f"{self.psnr:.2f}" if self.ssim is None else f"{self.psnr:.2f} / {self.ssim:.4f}"


METHODS = ("Bicubic", "A+", "SRCNN", "VDSR", "SRResNet", "EDSR", "MDSR", "EDSR+", "MDSR+")
"""Columns of the paper's table 3; the + is the mean over eight flips and rotations, `tta="x8"`."""

_Cell = tuple[float, float] | None
# fmt: off
_TABLE_3: dict[tuple[str, int], tuple[_Cell, ...]] = {  # columns as METHODS
    ("Set5", 2): (
        (33.66, 0.9299), (36.54, 0.9544), (36.66, 0.9542), (37.53, 0.9587), None,
        (38.11, 0.9601), (38.11, 0.9602), (38.20, 0.9606), (38.17, 0.9605),
    ),
    ("Set5", 3): (
        (30.39, 0.8682), (32.58, 0.9088), (32.75, 0.9090), (33.66, 0.9213), None,
        (34.65, 0.9282), (34.66, 0.9280), (34.76, 0.9290), (34.77, 0.9288),
    ),
    ("Set5", 4): (
        (28.42, 0.8104), (30.28, 0.8603), (30.48, 0.8628), (31.35, 0.8838), (32.05, 0.8910),
        (32.46, 0.8968), (32.50, 0.8973), (32.62, 0.8984), (32.60, 0.8982),
    ),
    ("Set14", 2): (
        (30.24, 0.8688), (32.28, 0.9056), (32.42, 0.9063), (33.03, 0.9124), None,
        (33.92, 0.9195), (33.85, 0.9198), (34.02, 0.9204), (33.92, 0.9203),
    ),
    ("Set14", 3): (
        (27.55, 0.7742), (29.13, 0.8188), (29.28, 0.8209), (29.77, 0.8314), None,
        (30.52, 0.8462), (30.44, 0.8452), (30.66, 0.8481), (30.53, 0.8465),
    ),
    ("Set14", 4): (
        (26.00, 0.7027), (27.32, 0.7491), (27.49, 0.7503), (28.01, 0.7674), (28.53, 0.7804),
        (28.80, 0.7876), (28.72, 0.7857), (28.94, 0.7901), (28.82, 0.7876),
    ),
    ("B100", 2): (
        (29.56, 0.8431), (31.21, 0.8863), (31.36, 0.8879), (31.90, 0.8960), None,
        (32.32, 0.9013), (32.29, 0.9007), (32.37, 0.9018), (32.34, 0.9014),
    ),
    ("B100", 3): (
        (27.21, 0.7385), (28.29, 0.7835), (28.41, 0.7863), (28.82, 0.7976), None,
        (29.25, 0.8093), (29.25, 0.8091), (29.32, 0.8104), (29.30, 0.8101),
    ),
    ("B100", 4): (
        (25.96, 0.6675), (26.82, 0.7087), (26.90, 0.7101), (27.29, 0.7251), (27.57, 0.7354),
        (27.71, 0.7420), (27.72, 0.7418), (27.79, 0.7437), (27.78, 0.7425),
    ),
    ("Urban100", 2): (
        (26.88, 0.8403), (29.20, 0.8938), (29.50, 0.8946), (30.76, 0.9140), None,
        (32.93, 0.9351), (32.84, 0.9347), (33.10, 0.9363), (33.03, 0.9362),
    ),
    ("Urban100", 3): (
        (24.46, 0.7349), (26.03, 0.7973), (26.24, 0.7989), (27.14, 0.8279), None,
        (28.80, 0.8653), (28.79, 0.8655), (29.02, 0.8685), (28.99, 0.8683),
    ),
    ("Urban100", 4): (
        (23.14, 0.6577), (24.32, 0.7183), (24.52, 0.7221), (25.18, 0.7524), (26.07, 0.7839),
        (26.64, 0.8033), (26.67, 0.8041), (26.86, 0.8080), (26.86, 0.8082),
    ),
    ("DIV2K", 2): (
        (31.01, 0.9393), (32.89, 0.9570), (33.05, 0.9581), (33.66, 0.9625), None,
        (35.03, 0.9695), (34.96, 0.9692), (35.12, 0.9699), (35.05, 0.9696),
    ),
    ("DIV2K", 3): (
        (28.22, 0.8906), (29.50, 0.9116), (29.64, 0.9138), (30.09, 0.9208), None,
        (31.26, 0.9340), (31.25, 0.9338), (31.39, 0.9351), (31.36, 0.9346),
    ),
    ("DIV2K", 4): (
        (26.66, 0.8521), (27.70, 0.8736), (27.78, 0.8753), (28.17, 0.8841), None,
        (29.25, 0.9017), (29.26, 0.9016), (29.38, 0.9032), (29.36, 0.9029),
    ),
}
_TABLE_2: dict[tuple[str, int], tuple[_Cell, ...]] = {  # columns as _TABLE_2_METHODS
    ("DIV2K", 2): (
        (34.40, 0.9662), (34.44, 0.9665), (34.55, 0.9671), (34.60, 0.9673), (35.03, 0.9695), (34.96, 0.9692),
    ),
    ("DIV2K", 3): (
        (30.82, 0.9288), (30.85, 0.9292), (30.90, 0.9298), (30.91, 0.9298), (31.26, 0.9340), (31.25, 0.9338),
    ),
    ("DIV2K", 4): (
        (28.92, 0.8960), (28.92, 0.8961), (28.94, 0.8963), (28.95, 0.8962), (29.25, 0.9017), (29.26, 0.9016),
    ),
}
_README: dict[str, tuple[float, float, float]] = {  # DIV2K at x2, x3, x4
    "EDSR baseline": (34.61, 30.92, 28.95),
    "MDSR baseline": (34.63, 30.94, 28.97),
    "EDSR": (35.03, 31.26, 29.25),
    "MDSR": (34.92, 31.22, 29.24),
}
_TORCHSR: dict[tuple[str, str], tuple[tuple[float, float | None], ...]] = {  # at x2, x3, x4
    ("EDSR baseline", "Set5"): ((37.98, 0.9604), (34.37, 0.9270), (32.09, 0.8936)),
    ("EDSR baseline", "Set14"): ((33.57, None), (30.28, None), (28.58, None)),
    ("EDSR baseline", "B100"): ((32.15, None), (29.08, None), (27.56, None)),
    ("EDSR baseline", "Urban100"): ((31.98, None), (28.15, None), (26.03, None)),
    ("EDSR", "Set5"): ((38.19, 0.9609), (34.68, 0.9293), (32.48, 0.8985)),
    ("EDSR", "Set14"): ((33.95, None), (30.53, None), (28.81, None)),
    ("EDSR", "B100"): ((32.35, None), (29.26, None), (27.72, None)),
    ("EDSR", "Urban100"): ((32.97, None), (28.81, None), (26.65, None)),
}
_OTHERS: dict[Source, dict[tuple[str, str], tuple[_Cell, ...]]] = {  # at x2, x3, x4; 0.0: no SSIM was given
    CARN_PAPER: {
        ("FSRCNN", "Set5"): ((37.00, 0.9558), (33.16, 0.9140), (30.71, 0.8657)),
        ("FSRCNN", "Set14"): ((32.63, 0.9088), (29.43, 0.8242), (27.59, 0.7535)),
        ("FSRCNN", "B100"): ((31.53, 0.8920), (28.53, 0.7910), (26.98, 0.7150)),
        ("FSRCNN", "Urban100"): ((29.88, 0.9020), (26.43, 0.8080), (24.62, 0.7280)),
    },
    FSRCNN_PAPER: {
        ("FSRCNN", "Set5"): ((37.00, 0.0), (33.16, 0.0), (30.71, 0.0)),
        ("FSRCNN", "Set14"): ((32.63, 0.0), (29.43, 0.0), (27.59, 0.0)),
    },
    ESPCN_PAPER: {
        ("ESPCN", "Set5"): (None, (33.13, 0.0), (30.90, 0.0)),
        ("ESPCN", "Set14"): (None, (29.49, 0.0), (27.73, 0.0)),
    },
    APLUS_PAPER: {
        ("A+", "Set5"): ((36.55, 0.0), (32.59, 0.0), (30.29, 0.0)),
        ("A+", "Set14"): ((32.28, 0.0), (29.13, 0.0), (27.33, 0.0)),
    },
    SRCNN_PAPER: {
        ("SRCNN", "Set5"): ((36.66, 0.9542), (32.75, 0.9090), (30.49, 0.8628)),
        ("SRCNN", "Set14"): ((32.45, 0.9067), (29.30, 0.8215), (27.50, 0.7513)),
    },
    VDSR_PAPER: {
        ("VDSR", "Set5"): ((37.53, 0.9587), (33.66, 0.9213), (31.35, 0.8838)),
        ("VDSR", "Set14"): ((33.03, 0.9124), (29.77, 0.8314), (28.01, 0.7674)),
        ("VDSR", "B100"): ((31.90, 0.8960), (28.82, 0.7976), (27.29, 0.7251)),
        ("VDSR", "Urban100"): ((30.76, 0.9140), (27.14, 0.8279), (25.18, 0.7524)),
    },
    SRRESNET_PAPER: {
        ("SRResNet", "Set5"): (None, None, (32.05, 0.9019)),
        ("SRResNet", "Set14"): (None, None, (28.49, 0.8184)),
        ("SRResNet", "B100"): (None, None, (27.58, 0.7620)),
    },
}
# fmt: on
_TABLE_2_METHODS = ("SRResNet (L2 loss)", "SRResNet (L1 loss)", "EDSR baseline", "MDSR baseline", "EDSR", "MDSR")


def _all() -> list[Published]:
    """Every figure; of a method, set and scale the one that is shown comes first."""
    rows = [
        Published(method, name, scale, *cell, on_div2k if name == "DIV2K" else source)
        for table, methods, source, on_div2k in (
            (_TABLE_3, METHODS, EDSR_PAPER, EDSR_PAPER_DIV2K),
            (_TABLE_2, _TABLE_2_METHODS, EDSR_PAPER_TABLE_2, EDSR_PAPER_TABLE_2),
        )
        for (name, scale), cells in table.items()
        for method, cell in zip(methods, cells, strict=True)
        if cell is not None
    ]
    rows += [
        Published(method, "DIV2K", scale, psnr, None, EDSR_README)
        for method, figures in _README.items()
        for scale, psnr in zip((2, 3, 4), figures, strict=True)
    ]
    rows += [
        Published(method, name, scale, *cell, TORCHSR)
        for (method, name), cells in _TORCHSR.items()
        for scale, cell in zip((2, 3, 4), cells, strict=True)
    ]
    rows += [
        Published(method, name, scale, cell[0], cell[1] or None, source)
        for source, figures in _OTHERS.items()
        for (method, name), cells in figures.items()
        for scale, cell in zip((2, 3, 4), cells, strict=True)
        if cell is not None
    ]
    return rows


PUBLISHED: tuple[Published, ...] = tuple(_all())
"""All figures: the paper's tables 3 and 2, what the authors' code and torchSR report, the papers of other methods."""


def find_published(method: str, set_name: str, scale: int) -> Published | None:
    """The figure of a method on a set at a scale, from the first source that has one.

    Examples:
        >>> print(find_published("EDSR+", "Set5", 4))
        32.62 / 0.8984
    """
    return next((row for row in PUBLISHED if (row.method, row.set, row.scale) == (method, set_name, scale)), None)
