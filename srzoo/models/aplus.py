"""A+: a linear regressor for each of 1,024 kinds of patches, learnt in closed form; the best before networks.

Paper: Timofte, De Smet, Van Gool, "A+: Adjusted Anchored Neighborhood Regression for Fast Super-Resolution", ACCV 2014,
    https://doi.org/10.1007/978-3-319-16817-3_8
Reference code: the authors' MATLAB code, http://www.vision.ee.ethz.ch/~timofter/ACCV2014_ID820_SUPPLEMENTARY/
    (behaviour, not copied).
Differences: the luma is mirrored past its edges, so that patches cover all of it; the authors leave a border out.
    Neighbours are found by the size of the correlation, as atoms are chosen, where the authors take the distance, and
    count by their contrast (`APlusSettings.weight_power`). The anchors are centres of k-means, not atoms of K-SVD:
    K-SVD learns atoms that add up to a patch, a few at a time, and A+ takes one alone. Nothing is rounded on the way.
"""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from srzoo.architecture import Architecture, Draw, Fit, Fitted, Report, SRModel, Weights
from srzoo.blocks import BicubicUpsampler, LumaUpsampler
from srzoo.color import rgb_to_y
from srzoo.resize import pad_symmetric

SIDE = 3
"""Side of a patch in LR pixels."""
ATOMS_AT_ONCE = 128
DRAWN_SIDE, DRAWN_AT_ONCE = 24, 64
"""LR pixels of a crop that is sampled, and crops to a batch."""
SAMPLED_SHARE = 0.5
LEAST_LENGTH = 0.1
"""Flatter patches are left out: they are rounding, not structure."""
REFINEMENTS = 5
ANCHORS_AT_ONCE = 16


class APlus(SRModel):
    """Bicubic luma, and to each of its patches what the regressor of the nearest anchor adds (section 3).

    No parameters: `projection`, `anchors` and `regressors` are buffers, which `fit_aplus` learns. A new model has
    random ones.

    Args:
        scale: Upscaling factor, a whole number of 2 or more.
        channels: Image channels: 3 (RGB; Cb and Cr are bicubic) or 1 (luma).
        num_atoms: Anchors, each with a regressor.
        num_components: Principal components of the features of a patch.

    Raises:
        ValueError: If `scale` is below 2, `num_atoms` or `num_components` below 1, or `channels` neither 3 nor 1.
    """

    projection: Tensor
    anchors: Tensor
    regressors: Tensor

    def __init__(self, *, scale: int, channels: int = 3, num_atoms: int = 1024, num_components: int = 32) -> None:
        super().__init__()
        if scale < 2:
            raise ValueError(f"scale is {scale}; A+ upscales by 2 or more")
        if min(num_atoms, num_components) < 1:
            raise ValueError(f"num_atoms is {num_atoms}, num_components {num_components}; both must be at least 1")
        self.scales = (scale,)
        self.channels = channels
        self.upsample = LumaUpsampler(scale, channels)
        num_features = 4 * scale**2 * SIDE**2
        projection = torch.randn(num_components, 4 * scale**2, SIDE, SIDE) / math.sqrt(num_features)
        anchors = F.normalize(torch.randn(num_atoms, num_components), dim=1)
        regressors = torch.randn(num_atoms, num_components, SIDE**2 * scale**2) * 0.001
        self.register_buffer("projection", projection)
        self.register_buffer("anchors", anchors)
        self.register_buffer("regressors", regressors)

    def halo(self, scale: int | None = None) -> int:
        """Five: two pixels to the far end of a patch, one of the gradients, two of the bicubic kernel."""
        return self.upsample.halo(reach=SIDE * self.check_scale(scale))

    def refine(self, y: Float[Tensor, "b 1 H W"]) -> Float[Tensor, "b 1 H W"]:
        """Luma made better, in float32 or float64: what all patches that cover a pixel add to it, averaged."""
        [scale] = self.scales
        x = y.to(torch.promote_types(y.dtype, torch.float32))  # in less, the choice of atoms would be another
        z = F.conv2d(cells_of_gradients(pad_symmetric(x, 3 * scale), scale), self.projection.to(x.dtype))
        b, _, rows, columns = z.shape
        z = z.movedim(1, -1).flatten(0, 2)
        patches = _regress(z, nearest(z, self.anchors.to(x.dtype)), self.regressors.to(x.dtype))
        patches = patches.view(b, rows, columns, SIDE, SIDE, scale**2)
        return (x + F.pixel_shuffle(_overlap(patches), scale)).to(y.dtype)

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` (in [0, 1]); the output is not clamped. Autocast is off inside."""
        self.check_scale(scale)
        with nullcontext() if lr.is_meta else torch.autocast(lr.device.type, enabled=False):
            return self.upsample(lr, self.refine)


def cells_of_gradients(y: Float[Tensor, "b 1 H W"], scale: int) -> Float[Tensor, "b c h w"]:
    """First and second differences of luma over `scale` pixels, both ways: four features a pixel, in cells.

    A cell is an LR pixel's place: its scale x scale pixels with four features each are the channels. The result is
    smaller than `y` by a cell at each edge. No matrix product: equal pixels give equal bits wherever they are.
    """
    before, after = scale // 2, scale - scale // 2
    features = []
    for dim in (-1, -2):
        across = -3 - dim  # of the other axis, the middle alone
        size = y.shape[dim] - 2 * scale
        middle = y.narrow(across, scale, y.shape[across] - 2 * scale)

        def shifted(by: int, dim: int = dim, size: int = size, middle: Tensor = middle) -> Tensor:
            return middle.narrow(dim, scale + by, size)

        features.append(shifted(after) - shifted(-before))
        features.append((shifted(scale) - shifted(0)) * 0.5 - (shifted(0) - shifted(-scale)) * 0.5)
    return F.pixel_unshuffle(torch.cat(features, 1), scale)


def nearest(z: Float[Tensor, "n k"], anchors: Float[Tensor, "a k"]) -> Int[Tensor, " n"]:
    """Which anchor each point has the largest correlation with, of either sign; a few anchors at a time."""
    best, index = z.new_full(z.shape[:1], -1), z.new_zeros(z.shape[:1], dtype=torch.long)
    for start in range(0, len(anchors), ATOMS_AT_ONCE):
        value, at = (z @ anchors[start : start + ATOMS_AT_ONCE].t()).abs().max(1)
        index = torch.where(value > best, at + start, index)
        best = torch.maximum(value, best)
    return index


def _regress(
    z: Float[Tensor, "n k"], atoms: Int[Tensor, " n"], regressors: Float[Tensor, "a k p"]
) -> Float[Tensor, "n p"]:
    """Each point through its atom's regressor; a bag of weighted rows, so that no regressor is copied for a patch."""
    num_components = regressors.shape[1]
    rows = atoms[:, None] * num_components + torch.arange(num_components, device=z.device)
    return F.embedding_bag(rows, regressors.flatten(0, 1), mode="sum", per_sample_weights=z)


def _overlap(patches: Float[Tensor, "b rows columns 3 3 p"]) -> Float[Tensor, "b p h w"]:
    """Mean of the nine patches that cover each cell; there are two patches more than cells along each axis."""
    h, w = patches.shape[1] - 2, patches.shape[2] - 2
    total = patches[:, 2 : 2 + h, 2 : 2 + w, 0, 0]
    for i, j in [(i, j) for i in range(SIDE) for j in range(SIDE)][1:]:
        total = total + patches[:, 2 - i : 2 - i + h, 2 - j : 2 - j + w, i, j]
    return (total / SIDE**2).movedim(-1, 1)


@dataclass(frozen=True, kw_only=True)
class APlusSettings:
    """How A+ is fitted; the defaults are the paper's, but for `weight_power`.

    Raises:
        ValueError: If a value is out of range.
    """

    num_samples: int = 5_000_000
    """Patches the neighbours are looked for among."""
    num_neighbors: int = 2048
    """Samples each regressor is fitted to."""
    ridge: float = 0.1
    """Weight of the size of a regressor against its error (lambda)."""
    energy: float = 0.999
    """Share of the energy of the features that the principal components keep."""
    weight_power: float = 1.0
    """Samples are scaled to length 1 and weighted by this power of the length they had."""
    num_dictionary: int = 100_000
    """Samples the anchors are learnt from."""
    seed: int = 0
    """Of all that is drawn."""

    def __post_init__(self) -> None:
        counts = (self.num_samples, self.num_neighbors, self.num_dictionary)
        if min(counts) < 1 or self.num_samples < self.num_neighbors:
            raise ValueError(
                f"num_samples, num_neighbors and num_dictionary are {counts}; all must be at least 1, and num_samples "
                "not below num_neighbors"
            )
        if not 0 < self.energy <= 1:
            raise ValueError(f"energy is {self.energy}; it is a share, above 0 and at most 1")
        if not 0 < self.ridge < math.inf:
            raise ValueError(f"ridge is {self.ridge}; it must be above 0")
        if not 0 <= self.weight_power <= 4:
            raise ValueError(f"weight_power is {self.weight_power}; it must be between 0 and 4")


def fit_aplus(model: SRModel, draw: Draw, settings: APlusSettings, report: Report) -> Fitted:
    """Learn projection, anchors and regressors (section 3).

    Args:
        model: The `APlus` to fit: its scale, channels and number of atoms.
        draw: Gives the patches.
        settings: How.
        report: Told of progress.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If fewer samples are asked for than there are atoms, or the images are so flat that too few are
            found.
    """
    k_means = _import_k_means()
    assert isinstance(model, APlus)
    [scale] = model.scales
    num_atoms, least = len(model.anchors), min(settings.num_samples, settings.num_dictionary)
    if least < num_atoms:
        counts = f"num_samples is {settings.num_samples}, num_dictionary {settings.num_dictionary}"
        raise ValueError(f"{counts}, but the model has num_atoms={num_atoms}; neither may be below that")
    generator = torch.Generator().manual_seed(settings.seed)
    sampler = _Sampler(scale, draw, generator)
    projection = _principal_components(sampler, settings.energy, report)
    z, residual, length = _collect(sampler, projection, settings.num_samples, report)
    some = torch.randperm(len(z), generator=generator)[: settings.num_dictionary]
    report(0, 1, "anchors")
    anchors = _learn_anchors(k_means, z[some], num_atoms, settings.seed)
    report(1, 1, "anchors")
    regressors = torch.stack(list(_regressors(anchors, z, residual, length, settings, report)))
    spare = len(model.projection) - len(projection)
    if spare > 0:  # components of zeros change nothing, and the model is the one its name stands for
        projection = F.pad(projection, (0, 0) * (projection.dim() - 1) + (0, spare))
        anchors, regressors = F.pad(anchors, (0, spare)), F.pad(regressors, (0, 0, 0, spare))
    return Fitted(
        arguments={"num_components": len(projection)},
        tensors={"projection": projection, "anchors": anchors, "regressors": regressors},
        told={"samples": len(z), "scikit-learn": version("scikit-learn")},
    )


def _import_k_means() -> type:
    """scikit-learn's k-means."""
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise ImportError('A+ is fitted with scikit-learn; pip install "srzoo[aplus]"') from error
    return MiniBatchKMeans


class _Sampler:
    """Random patches as the model sees them: features in cells, and what is to be added to bicubic."""

    def __init__(self, scale: int, draw: Draw, generator: torch.Generator) -> None:
        self.scale = scale
        self.draw = draw
        self.generator = generator
        self.bicubic = BicubicUpsampler(scale)

    @torch.no_grad()
    def cells(self) -> tuple[Tensor, Tensor]:
        """Features and residual of a batch, b c h w of cells that no edge of a crop has touched."""
        lr, hr = self.draw(DRAWN_AT_ONCE, DRAWN_SIDE)
        lr, hr = (x.float() if x.shape[1] == 1 else rgb_to_y(x.float()) for x in (lr, hr))
        y = self.bicubic(lr)
        residual = F.pixel_unshuffle(hr - y, self.scale)[..., 3:-3, 3:-3]
        return cells_of_gradients(y, self.scale)[..., 2:-2, 2:-2], residual


def _patches(cells: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h2 w2 p"]:
    """All patches of 3x3 cells: row, column, channel."""
    h, w = cells.shape[-2] - 2, cells.shape[-1] - 2
    parts = [cells[..., i : i + h, j : j + w] for i in range(SIDE) for j in range(SIDE)]
    return torch.cat(parts, 1).movedim(1, -1)


def _principal_components(sampler: _Sampler, energy: float, report: Report) -> Float[Tensor, "k c 3 3"]:
    """Filters of the largest principal components of the features, not centred; from one patch in nine."""
    total = torch.zeros(())
    rounds = 24
    for i in range(rounds):
        report(i, rounds, "principal components")
        features = _patches(sampler.cells()[0])[:, ::3, ::3].flatten(0, 2).double()
        total = total + features.t() @ features
    report(rounds, rounds, "principal components")
    values, vectors = torch.linalg.eigh(total)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    count = int((values.cumsum(0) / values.sum() < energy).sum()) + 1
    kept = vectors[:, :count].t().float()
    signs = torch.where(kept.gather(1, kept.abs().argmax(1, keepdim=True)) < 0, -1.0, 1.0)  # eigenvectors have none
    return (kept * signs).view(count, SIDE, SIDE, -1).movedim(-1, 1).contiguous()


def _collect(
    sampler: _Sampler, projection: Tensor, count: int, report: Report
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n p"], Float[Tensor, " n"]]:
    """Samples of length 1 with their residuals (float16, scaled alike), and the lengths they had."""
    z = torch.empty(count, len(projection))
    residual = torch.empty(count, SIDE**2 * sampler.scale**2, dtype=torch.float16)
    length = torch.empty(count)
    done, empty = 0, 0
    while done < count:
        features, residuals = sampler.cells()
        points = F.conv2d(features, projection).movedim(1, -1).flatten(0, 2)
        lengths = points.norm(dim=1)
        kept = (lengths > LEAST_LENGTH) & (torch.rand(len(points), generator=sampler.generator) < SAMPLED_SHARE)
        at = kept.nonzero()[: count - done, 0]
        empty = 0 if len(at) else empty + 1
        if empty == 100:
            raise ValueError(f"only {done:,} patches with structure were found; take other images")
        part = slice(done, done + len(at))
        z[part] = points[at] / lengths[at, None]
        residual[part] = _patches(residuals).flatten(0, 2)[at] / lengths[at, None]
        length[part] = lengths[at]
        done += len(at)
        report(done, count, "samples")
    return z, residual, length


def _learn_anchors(k_means: type, z: Float[Tensor, "n k"], num_atoms: int, seed: int) -> Float[Tensor, "a k"]:
    """Unit vectors that stand for all samples: each is near one of them, or near its opposite."""
    upright = z * torch.where(z[:, :1] < 0, -1.0, 1.0)
    found = k_means(num_atoms, batch_size=8192, n_init=1, max_iter=10, random_state=seed).fit(upright.numpy())
    anchors = F.normalize(torch.from_numpy(found.cluster_centers_).float(), dim=1)
    for _ in range(REFINEMENTS):  # k-means knows no signs: a few rounds with them
        score = z @ anchors.t()
        index = score.abs().argmax(1)
        signed = z * score.gather(1, index[:, None]).sign()
        sums = torch.zeros_like(anchors).index_add_(0, index, signed)
        anchors = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=1), anchors)
    return anchors


def _regressors(
    anchors: Tensor, z: Tensor, residual: Tensor, length: Tensor, settings: APlusSettings, report: Report
) -> Iterator[Float[Tensor, "k p"]]:
    """The ridge regressor of each anchor from its nearest samples."""
    weights = length**settings.weight_power
    for start in range(0, len(anchors), ANCHORS_AT_ONCE):
        report(start, len(anchors), "regressors")
        for score in (anchors[start : start + ANCHORS_AT_ONCE] @ z.t()).abs_():
            near = _largest(score, settings.num_neighbors)
            points, weight = z[near].double(), weights[near, None].double()
            weight = weight / weight.mean()
            gram = points.t() @ (points * weight) + settings.ridge * torch.eye(points.shape[1], dtype=torch.float64)
            yield torch.linalg.solve(gram, points.t() @ (residual[near].double() * weight)).float()
    report(len(anchors), len(anchors), "regressors")


def _largest(score: Float[Tensor, " n"], count: int) -> Int[Tensor, " m"]:
    """Where the `count` largest values are; a first sieve by a sample makes it fast."""
    sampled = score[::64]
    rank = count // 64 * 2 + 32
    if rank < len(sampled):
        candidates = (score >= sampled.topk(rank).values[-1]).nonzero()[:, 0]
        if len(candidates) >= count:
            return candidates[score[candidates].topk(count).indices]
    return score.topk(count).indices


ARCH = Architecture(
    family="aplus",
    model=APlus,
    title="A+: a linear regressor for each of 1,024 kinds of patches of bicubic luma, learnt without gradients",
    paper="https://doi.org/10.1007/978-3-319-16817-3_8",
    scales=(2, 3, 4),
    variants={"aplus": {}},
    fit=Fit(run=fit_aplus, settings=APlusSettings, toy={"num_samples": 1000, "num_neighbors": 64}),
    weights=(
        Weights(
            model="aplus_x2",
            tag="photos",
            file="aplus_x2.photos.safetensors",
            sha256="211c3631dd3629df0bc1beef7eebbf670e95c6e64e8eee1e8282a0394e5e3109",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x2": 36.617}, "Set14": {"x2": 32.3527}},
        ),
        Weights(
            model="aplus_x3",
            tag="photos",
            file="aplus_x3.photos.safetensors",
            sha256="702f81a51334f0a91e36448f9f82262ccc92802d6cd4add4dc24b301e3b54869",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x3": 32.6131}, "Set14": {"x3": 29.1659}},
        ),
        Weights(
            model="aplus_x4",
            tag="photos",
            file="aplus_x4.photos.safetensors",
            sha256="1d4455987731db86b73485a3768eee00b612a643ce2a307ad6c637c2cc57170c",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x4": 30.3694}, "Set14": {"x4": 27.3752}},
        ),
    ),
)
