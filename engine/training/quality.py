"""quality_score = min(P, D, B): how near a student's samples are to its teacher's, in [0, 1].

NumPy only. Samples are read in blocks, so that no more of them is in memory than a block.

P, paired fidelity: 1 = identical to the teacher from the same noise, 0 = as far away as another
seed. D, distribution: 1 = the same distribution, by the squared Frechet distance above the
teacher's own floor. B, band energy: 1 = as much energy in every band of detail; falls for blur,
shrinkage and added noise. Each comes with a one-sided 95 % lower bound. docs/method.md says why
these three, with measured limits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.records import Bound, Quality
from engine.training.features import Features

FEWEST_FOR_DISTRIBUTION = 64
_BLOCKS = 8  # of the jackknife
_ONE_SIDED_95 = 1.645
_VARIANCE_FLOOR = (
    0.05  # share of the teacher's variance below which another seed's distance is not taken
)
_ROUNDING = 1e-12  # share of the energy below which a variance is float32 noise
_EMPTY_BAND = 1e-8  # share of the teacher's total variance below which a band carries nothing


class UndefinedScoreError(ValueError):
    """The teacher's samples do not vary, so nothing can be measured against them."""


@dataclass(frozen=True)
class Components:
    """The teacher's leading principal directions, fitted on samples that are not scored.

    (mean (D,), basis (D, k)).
    """

    mean: np.ndarray
    basis: np.ndarray

    @classmethod
    def fit(cls, samples: np.ndarray | Features, scored_count: int) -> "Components":
        """Return the first k principal directions of `samples` (n, H, W, C).

        k = min(dimension, n/10 of the smaller set). Features must be made number by number, as
        those of pictures that lie decoded are.
        """
        samples = Features.plain(samples)
        dimension = int(np.prod(samples.shape))
        k = max(1, min(dimension, min(scored_count, len(samples)) // 10))
        if not samples.is_one_block:
            return cls(*_leading_directions(samples, dimension, k))
        flat = samples.of(samples.samples).reshape(len(samples), -1)
        mean = flat.mean(0)
        _, _, directions = np.linalg.svd(flat - mean, full_matrices=False)
        return cls(mean, directions[:k].T.copy())

    def project(self, samples: np.ndarray) -> np.ndarray:
        """Return (n, k) coordinates of samples (n, H, W, C)."""
        return (samples.reshape(len(samples), -1).astype(np.float64) - self.mean) @ self.basis


class QualityScorer:
    """Scores students against one fixed set of teacher samples.

    Everything about the teacher is computed once.

    `teacher` and `other_seed` are (n, H, W, C), pixels in [0, 1] or latents as `mode` says: the
    same conditions, from the scored noise and from fresh noise. `components` must be fitted on
    other samples.
    """

    def __init__(
        self,
        teacher: np.ndarray | Features,
        other_seed: np.ndarray | Features,
        components: Components,
        *,
        resamples: int = 1000,
        seed: int = 0,
        mode: str = "pixels",
    ) -> None:
        self.teacher, others = Features.plain(teacher), Features.plain(other_seed)
        self.count = len(self.teacher)
        self.resamples, self.seed, self.mode = resamples, seed, mode
        self._components = components
        # What is small enough for one block is taken apart once and kept.
        self._kept_bands: list[np.ndarray] | None = None
        if self.teacher.is_one_block:
            self._kept_bands = laplacian_bands(self.teacher.of(self.teacher.samples))
        variances, energy = self._variances_and_energy()
        # Equal pictures have a variance of rounding errors, not of 0.
        if variances.sum() <= _ROUNDING * energy.mean(1).sum():
            raise UndefinedScoreError(
                "the teacher's samples are all the same picture; there is nothing to score"
            )
        self._kept = [i for i, v in enumerate(variances) if v > _EMPTY_BAND * variances.sum()]
        self._floor = _VARIANCE_FLOOR * 2 * variances[self._kept]  # for each sample
        self._energy = energy[self._kept]  # (bands, n)
        self._spread, _, self._reference = self._against_teacher(others)
        self._projected = np.concatenate(
            [components.project(values) for _, values in self.teacher.blocks()]
        )

    def score(self, student: np.ndarray | Features) -> Quality:
        """Return the quality of `student` (n, H, W, C), in the scorer's mode.

        It was sampled from the same noise and conditions as the teacher.
        """
        student = Features.plain(student)
        if len(student) != self.count:
            raise ValueError(f"{len(student)} samples to score against {self.count}")
        error, energy, projected = self._against_teacher(student)
        everyone = np.arange(self.count)[None, :]
        draws = np.random.default_rng(self.seed).integers(
            0, self.count, (self.resamples, self.count)
        )
        fidelity = Bound(
            float(self._fidelity(error, everyone)[0]),
            float(np.quantile(self._fidelity(error, draws), 0.05)),
        )
        band_energy = Bound(
            float(self._band_energy(energy, everyone)[0]),
            float(np.quantile(self._band_energy(energy, draws), 0.05)),
        )
        return Quality(
            fidelity,
            self._distribution(projected),
            band_energy,
            self.count,
            self._components.basis.shape[1],
            self.mode,
        )

    def _teacher_bands(self) -> Iterator[list[np.ndarray]]:
        """Yield the teacher's bands, a block after the other."""
        if self._kept_bands is not None:
            yield self._kept_bands
            return
        for _, values in self.teacher.blocks():
            yield laplacian_bands(values)

    def _variances_and_energy(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (bands,), the teacher's variance, and (bands, n), the squares of each sample.

        Sums run over samples one by one, so that the cut into blocks does not show in a digit.
        """
        sums, energy = [], []
        for bands in self._teacher_bands():
            energy.append(np.stack([_squares(band) for band in bands]))
            sums = sums or [np.zeros(band.shape[1:]) for band in bands]
            for total, band in zip(sums, bands, strict=True):
                for one in band:
                    total += one
        means = [total / self.count for total in sums]
        spreads = [np.zeros_like(mean) for mean in means]
        for bands in self._teacher_bands():
            for total, band, mean in zip(spreads, bands, means, strict=True):
                for one in band:
                    total += (one - mean) ** 2
        variances = np.array([(total / self.count).sum() for total in spreads])
        return variances, np.concatenate(energy, axis=1)

    def _against_teacher(self, samples: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what a score needs of samples.

        Squared distance to the teacher's and own squares, each (kept bands, n), and coordinates
        (n, k).
        """
        error, energy, projected = [], [], []
        for (_, values), teacher in zip(samples.blocks(), self._teacher_bands(), strict=True):
            bands = laplacian_bands(values)
            error.append(np.stack([_squares(bands[k] - teacher[k]) for k in self._kept]))
            energy.append(np.stack([_squares(bands[k]) for k in self._kept]))
            projected.append(self._components.project(values))
        return np.hstack(error), np.hstack(energy), np.concatenate(projected)

    def _fidelity(self, error: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Return P for each row of sample indices.

        Mean over bands of 1 - |S - T|^2 / |T' - T|^2, (rows,).
        """
        parts = []
        for band in range(len(self._kept)):
            spread = np.maximum(
                self._spread[band][draws].sum(1), self._floor[band] * draws.shape[1]
            )
            parts.append(1 - error[band][draws].sum(1) / spread)
        return np.clip(np.mean(parts, axis=0), 0, 1)

    def _band_energy(self, energy: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Return B for each row of sample indices.

        The worst band's min(r, 1/r), r the ratio of rms, (rows,).
        """
        worst = np.ones(draws.shape[0])
        for band in range(len(self._kept)):
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.sqrt(energy[band][draws].sum(1) / self._energy[band][draws].sum(1))
                worst = np.minimum(worst, np.nan_to_num(np.minimum(ratio, 1 / ratio)))
        return worst

    def _distribution(self, projected: np.ndarray) -> Bound | None:
        """Return D of coordinates (n, k) with a delete-one-block jackknife bound.

        A percentile bootstrap of a distance would be invalid.
        """
        if self.count < FEWEST_FOR_DISTRIBUTION:
            return None
        estimate = self._distribution_on(projected, np.ones(self.count, bool))
        block = np.random.default_rng(self.seed).permutation(self.count) % _BLOCKS
        deleted = np.array([self._distribution_on(projected, block != b) for b in range(_BLOCKS)])
        error = np.sqrt((_BLOCKS - 1) / _BLOCKS * ((deleted - deleted.mean()) ** 2).sum())
        return Bound(
            float(np.clip(estimate, 0, 1)),
            float(np.clip(min(estimate, 1.0) - _ONE_SIDED_95 * error, 0, 1)),
        )

    def _distribution_on(self, projected: np.ndarray, chosen: np.ndarray) -> float:
        """Return D before clipping; student, teacher and reference keep the same samples."""
        reference, teacher = self._reference[chosen], self._projected[chosen]
        floor = squared_frechet(teacher, reference)
        excess = max(0.0, squared_frechet(projected[chosen], reference) - floor)
        return 1 - excess / float(np.trace(np.atleast_2d(np.cov(teacher.T))))


def _leading_directions(
    samples: Features, dimension: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (D,) and the first principal directions (D, count), read by columns.

    From the samples' scalar products (n, n), whose eigenvectors combine samples to directions:
    what a singular value decomposition of all of them gives, without all of them in memory.
    """
    mean, products = np.empty(dimension), np.zeros((len(samples), len(samples)))
    for part, values in samples.columns():
        mean[part] = values.mean(0)
        away = values - mean[part]
        products += away @ away.T
    variances, vectors = np.linalg.eigh(products)  # rising
    leading = slice(None, -count - 1, -1)
    weights = vectors[:, leading] / np.sqrt(np.maximum(variances[leading], np.finfo(float).tiny))
    basis = np.empty((dimension, count))
    for part, values in samples.columns():
        basis[part] = (values - mean[part]).T @ weights
    return mean, basis


def laplacian_bands(images: np.ndarray) -> list[np.ndarray]:
    """Return the details lost by each halving, finest first, then the residual.

    A Laplacian pyramid by 2x2 means and nearest upsampling, down to 2x2 or as small as it gets; odd
    sides are edge-replicated. `images` is (n, H, W, C).
    """
    bands, current = [], images.astype(np.float64)
    while min(current.shape[1:3]) > 2:
        height, width = current.shape[1:3]
        even = np.pad(current, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        n, rows, columns, channels = even.shape
        small = even.reshape(n, rows // 2, 2, columns // 2, 2, channels).mean((2, 4))
        large = small.repeat(2, 1).repeat(2, 2)[:, :height, :width]
        bands.append(current - large)
        current = small
    return [*bands, current]


def squared_frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Return the squared Frechet distance of two Gaussians fitted to rows, float64.

    Dowson & Landau 1982.
    """
    cov_a, cov_b = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # tr sqrt(A B) by the symmetric root(A) B root(A), whose eigenvalues are the same and never
    # complex.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    return float(
        ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    )


def blurred(images: np.ndarray, sigma_pixels: float) -> np.ndarray:
    """Return images (n, H, W, C) under a Gaussian blur with replicated edges.

    The anchor that must fail.
    """
    radius = max(1, int(np.ceil(3 * sigma_pixels)))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_pixels) ** 2)
    kernel /= kernel.sum()
    out = images.astype(np.float64)
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (radius, radius)
        padded = np.pad(out, pad, mode="edge")
        positions = np.arange(out.shape[axis])
        out = np.zeros_like(out)
        for k, weight in enumerate(kernel):
            out += weight * np.take(padded, positions + k, axis=axis)
    return out


def to_unit_range(samples: np.ndarray) -> np.ndarray:
    """Return pixels in [0, 1] from samples in [-1, 1], clipped as every viewer clips them."""
    return np.clip(samples.astype(np.float64) / 2 + 0.5, 0, 1)


def _squares(band: np.ndarray) -> np.ndarray:
    return (band.reshape(len(band), -1) ** 2).sum(1)
