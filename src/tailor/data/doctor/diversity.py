"""What a file is about: groups of like examples, near-empty ones, and examples unlike all others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tailor.data.doctor.columns import Columns
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.duplicates import signed_text
from tailor.data.doctor.findings import Evidence, Figure, advice, counted, finding
from tailor.data.doctor.options import Options

MAPPED: Final = 10_000
"""Examples that are grouped at most: a seeded sample of a larger file."""

_PLOTTED: Final = 1_500
_DIMENSIONS: Final = 48
_LEAST: Final = 60
_MOST_GROUPS: Final = 18
_THIN: Final = 0.25
"""A group with less than this share of the usual size is thin."""


@dataclass(frozen=True, slots=True)
class _Groups:
    places: Columns
    """The examples that were grouped."""
    vectors: Columns
    """One unit vector each."""
    of: Columns
    """The group of each."""
    words: list[str]
    """What each group is about: its most telling words."""


def find_groups(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Groups of like examples; those with few examples, and examples that are in none."""
    if len(corpus) < _LEAST:
        return
    groups = _grouped(corpus, options.seed)
    if groups is None:
        return
    sizes = np.bincount(groups.of, minlength=len(groups.words))
    spots = _map(groups)
    shown = np.sort(np.random.default_rng(options.seed).permutation(len(groups.places))[:_PLOTTED])
    yield Figure(
        name="map",
        data={
            "groups": [[words, int(size)] for words, size in zip(groups.words, sizes, strict=True)],
            "points": [
                [round(float(x), 3), round(float(y), 3), int(group), line]
                for (x, y), group, line in zip(
                    spots[shown], groups.of[shown], corpus.lines(groups.places[shown]), strict=True
                )
            ],
            "num_grouped": len(groups.places),
        },
    )
    usual = float(np.median(sizes))
    thin = [group for group in np.argsort(sizes).tolist() if sizes[group] < max(_THIN * usual, 3)]
    lines = {group: corpus.lines(groups.places[groups.of == group]) for group in thin}
    in_sample = " in the sample" if len(groups.places) < len(corpus) else ""
    remedy = "If users will ask such things, add examples of them; else leave them out."
    yield from finding(
        [
            advice(
                min(lines[group]),
                "thin_region",
                f"{counted(int(sizes[group]), 'example')} about '{groups.words[group]}'{in_sample}, "
                f"where {usual:.0f} are usual.",
                remedy,
            )
            for group in thin
        ],
        title="Thin regions",
        message=f"{counted(len(thin), 'group')} of {len(sizes)} with few examples: "
        + "; ".join(f"'{groups.words[group]}' ({int(sizes[group])})" for group in thin[:4])
        + ".",
        why="The model has hardly seen such questions and answers them like the nearest large group.",
        remedy=remedy,
        total=len(corpus),
        lines=[line for group in thin for line in lines[group]],
    )
    yield from _loners(corpus, groups)


def _loners(corpus: Corpus, groups: _Groups) -> Iterator[Evidence]:
    """Examples unlike all others: often rubbish that slipped in, sometimes the rare case worth more of."""
    if len(corpus) < 5 * _LEAST:
        return
    nearest = _nearest(groups.vectors)
    typical = float(np.median(nearest))
    spread = float(np.median(np.abs(nearest - typical))) or 1e-6
    lonely = np.flatnonzero((nearest < typical - 8 * spread) & (nearest < 0.35))
    if len(lonely) > 0.02 * len(groups.places):
        return  # where everything differs nobody is lonely
    lonely = lonely[np.argsort(nearest[lonely], kind="stable")]
    places = groups.places[lonely]
    said = "nothing else in the file is like this example."
    remedy = "Read it: leave it out if it slipped in, add more like it if it is a case that counts."
    yield from finding(
        [advice(line, "loner", said, remedy) for line in corpus.lines(places)],
        title="Unlike all others",
        message=f"{counted(len(places), 'example')} that nothing else in the file is like.",
        why="One example of its kind teaches little, and may be here by mistake.",
        remedy=remedy,
        total=len(corpus),
        badness=1,
    )


def _grouped(corpus: Corpus, seed: int) -> _Groups | None:
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    places = np.sort(np.random.default_rng(seed).permutation(len(corpus))[:MAPPED])
    vectorizer = TfidfVectorizer(
        sublinear_tf=True,
        token_pattern=r"(?u)[^\W\d_]{2,}",  # noqa: S106 - no password
        min_df=2,
        max_df=0.5,
        max_features=20_000,
        dtype=np.float32,
        stop_words=sorted(_STOP_WORDS),
    )
    try:
        words = vectorizer.fit_transform(signed_text(corpus, place)[:2_000] for place in places.tolist())
    except ValueError:  # no word stands in two examples
        return None
    dimensions = min(_DIMENSIONS, words.shape[1] - 1)
    if dimensions < 4:
        return None
    vectors = normalize(TruncatedSVD(dimensions, random_state=seed).fit_transform(words))
    number = int(np.clip(np.sqrt(len(places) / 8), 4, _MOST_GROUPS))
    of = KMeans(number, n_init=2, max_iter=50, random_state=seed).fit_predict(vectors)
    used, of = np.unique(of, return_inverse=True)
    names = vectorizer.get_feature_names_out()
    everywhere = np.asarray(words.mean(axis=0)).ravel()
    titles = []
    for group in range(len(used)):
        telling = np.asarray(words[of == group].mean(axis=0)).ravel() - everywhere
        titles.append(" ".join(names[word] for word in np.argsort(-telling)[:3]))
    return _Groups(places, vectors, of, titles)


def _map(groups: _Groups) -> Columns:
    """A spot in the plane for each example: groups apart by their likeness, members around the middle."""
    from sklearn.manifold import TSNE

    number = len(groups.words)
    middles = np.stack([groups.vectors[groups.of == group].mean(axis=0) for group in range(number)])
    plane = TSNE(
        2, perplexity=min(8, (number - 1) / 3), init="pca", random_state=0, max_iter=500, learning_rate=20
    ).fit_transform(middles.astype(np.float64))
    # Half by rank: one group far from all others would press the rest into a corner.
    ranks = plane.argsort(axis=0).argsort(axis=0) / max(number - 1, 1)
    plane = plane - plane.min(axis=0)
    plane = (plane / np.maximum(plane.max(axis=0), 1e-9) + ranks) / 2
    sizes = np.bincount(groups.of, minlength=number)
    reach = 0.24 * np.sqrt(sizes / sizes.sum())
    plane = _apart(plane, reach)
    spots = np.empty((len(groups.vectors), 2))
    for group in range(number):
        mine = groups.of == group
        around = groups.vectors[mine] - middles[group]
        _, _, axes = np.linalg.svd(around, full_matrices=False)
        flat = around @ axes[:2].T if len(axes) > 1 else np.zeros((mine.sum(), 2))
        usual = np.maximum(np.percentile(np.abs(flat), 90, axis=0), 1e-9)
        flat = flat / usual
        far = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
        spots[mine] = plane[group] + flat * np.tanh(far) / far * reach[group]
    spots -= spots.min(axis=0)
    found: Columns = spots / np.maximum(spots.max(axis=0), 1e-9)
    return found


def _apart(plane: Columns, reach: Columns) -> Columns:
    """The middles, pushed apart until their groups do not cover each other."""
    plane = plane.copy()
    wanted = 1.15 * (reach[:, None] + reach[None, :])
    for _ in range(200):
        between = plane[:, None] - plane[None, :]
        distance = np.sqrt((between**2).sum(axis=2)) + np.eye(len(plane))
        push = np.maximum(wanted - distance, 0) / distance
        np.fill_diagonal(push, 0)
        plane += 0.25 * (between * push[:, :, None]).sum(axis=1)
    return plane


def _nearest(vectors: Columns) -> Columns:
    """How like each vector its nearest neighbour is, block by block."""
    found = np.empty(len(vectors), dtype=np.float32)
    vectors = vectors.astype(np.float32)
    for start in range(0, len(vectors), 2_000):
        block: Any = vectors[start : start + 2_000] @ vectors.T
        block[np.arange(len(block)), start + np.arange(len(block))] = -1
        found[start : start + len(block)] = block.max(axis=1)
    return found


_STOP_WORDS: Final = frozenset(
    """
    about after all also am an and any are as at be because been but by can could did do does doing don
    for from get got had has have he her him his how if in into is it its just let like me more my need
    no not of on one or our out please she should so some than that the their them then there they this
    to up us use want was we were what when where which who why will with would you your
    """.split()  # noqa: SIM905 - reads better than a list
)
