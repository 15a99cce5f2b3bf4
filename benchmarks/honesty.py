"""How often tailor's statistics are wrong: simulated comparisons whose truth is known.

    python benchmarks/honesty.py            # everything, a few minutes on one core
    python benchmarks/honesty.py --times 100 --only claims

Written as one JSON line per row; docs/statistics.md has the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

import numpy as np

from tailor.grading import (
    Difference,
    Point,
    bootstrap,
    learning_curve,
    mcnemar,
    minimum_detectable,
    minimum_detectable_mean,
    no_worse,
    paired_difference,
    paired_differences,
    power_of,
    repeated_difference,
    wilson,
)

Row = dict[str, Any]
Random = np.random.Generator


def row(what: str, hits: int, times: int, promised: str, **more: Any) -> Row:
    interval = wilson(hits, times)
    return {
        "what": what,
        "share": hits / times,
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "times": times,
        "promised": promised,
        **more,
    }


def is_claim(difference: Difference) -> bool:
    """What every verdict of tailor's calls better or worse: the test and the interval agree."""
    return difference.p < 0.05 and not difference.low <= 0 <= difference.high


def is_better(difference: Difference) -> bool:
    return is_claim(difference) and difference.mean > 0


def pairs(random: Random, items: int, difference: float, discordance: float) -> tuple[list[bool], list[bool]]:
    """Pass or fail before and after, with that true difference and share of changes."""
    kind = random.random(items)
    fixed, broken = (discordance + difference) / 2, (discordance - difference) / 2
    passed = random.random(items) < 0.7
    before = np.where(kind < fixed, False, np.where(kind < fixed + broken, True, passed))
    after = np.where(kind < fixed, True, np.where(kind < fixed + broken, False, passed))
    return before.tolist(), after.tolist()


def same_model(random: Random, items: int, arms: int = 1) -> list[list[bool]]:
    """A model asked several times, at a temperature: items differ in how hard they are, answers by luck."""
    easy = random.beta(0.6, 0.4, items)
    return [(random.random(items) < easy).tolist() for _ in range(arms + 1)]


def claims(times: int) -> Iterator[Row]:
    """A model against itself: whatever is claimed is wrong."""
    for items in (30, 120, 1_000):
        random = np.random.default_rng(items)
        found = [paired_difference(*same_model(random, items)) for _ in range(times)]
        told = f"A/A, pass or fail, {items} items"
        yield row(f"{told}: better", sum(map(is_better, found)), times, "<= 5 %")
        yield row(f"{told}: better or worse", sum(map(is_claim, found)), times, "<= 5 %")
    for items in (12, 60):
        random = np.random.default_rng(items)
        found = []
        for _ in range(times):
            before = random.gamma(2.0, 1.0, items)
            found.append(
                paired_difference(before.tolist(), (before * random.lognormal(-0.02, 0.2, items)).tolist())
            )
        yield row(f"A/A, losses, {items} items: better or worse", sum(map(is_claim, found)), times, "<= 5 %")
    random = np.random.default_rng(8)
    hits = 0
    for _ in range(times):
        before, *arms = same_model(random, 200, 8)
        found = list(paired_differences(before, dict(zip("abcdefgh", arms, strict=True))).values())
        hits += any(map(is_claim, found))
    yield row("A/A, 8 arms, 200 items: any better or worse", hits, times, "<= 5 %")
    random = np.random.default_rng(9)
    hits = 0
    for _ in range(times):
        easy = random.normal(0.5, 1.5, 150)
        before, *runs = (
            (random.random(150) < 1 / (1 + np.exp(-easy - random.normal(0, 0.25) * (run > 0)))).tolist()
            for run in range(4)
        )
        # The recipe's runs vary about the baseline; on average it gains next to nothing.
        hits += is_claim(repeated_difference(before, runs))
    yield row("A/A, 3 training runs that vary, 150 items: better or worse", hits, times, "<= 5 %")


def planted(times: int) -> Iterator[Row]:
    """Differences of the size that was stated before the run, rounded up as it was stated."""
    for items, discordance in ((60, 0.4), (120, 0.1), (120, 0.3), (120, None), (500, 0.1), (1_000, 0.2)):
        stated = minimum_detectable(items, discordance=discordance).difference
        if stated is None:
            raise SystemExit(f"{items} items show nothing")
        points = ceil(1_000 * stated) / 1_000
        share = discordance or points
        random = np.random.default_rng(items)
        hits = sum(is_better(paired_difference(*pairs(random, items, points, share))) for _ in range(times))
        told = "none gets worse" if discordance is None else f"{100 * discordance:.0f} % change"
        exact = power_of(items, points, share)
        yield row(
            f"{items} items, {told}: {100 * points:.1f} points found",
            hits,
            times,
            ">= 80 %",
            exact=round(exact, 4),
        )
    for items in (30, 200):
        random = np.random.default_rng(items)
        stated = minimum_detectable_mean(items, 1.0)
        if stated is None:
            raise SystemExit(f"{items} items show nothing")
        hits = 0
        for _ in range(times):
            hits += is_better(paired_difference([0.0] * items, random.normal(stated, 1.0, items).tolist()))
        yield row(f"{items} scores: {stated:.2f} deviations found", hits, times, ">= 80 %")


def gates(times: int) -> Iterator[Row]:
    """A version worse by exactly the margin must not pass as no worse; an equal one should, given items."""
    for items, margin, discordance in ((100, 0.05, 0.1), (300, 0.05, 0.15), (300, 0.02, 0.05)):
        random = np.random.default_rng(items)
        worse = [pairs(random, items, -margin, discordance) for _ in range(times)]
        hits = sum(no_worse(*both, margin=margin).verdict == "no worse" for both in worse)
        told = f"{items} items, {100 * discordance:.0f} % change, margin {100 * margin:.0f} points"
        yield row(f"{told}: worse by it, passed", hits, times, "<= 2.5 %")
        equal = [pairs(random, items, 0.0, discordance) for _ in range(times)]
        hits = sum(no_worse(*both, margin=margin).verdict == "no worse" for both in equal)
        yield row(f"{told}: equal, passed", hits, times, "")
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(times):
        before = random.beta(4, 1, 100)
        after = before - 0.03 + random.normal(0, 0.1, 100)
        hits += no_worse(before.tolist(), after.tolist(), margin=0.03).verdict == "no worse"
    yield row("100 scores, margin 0.03: worse by it, passed", hits, times, "<= 2.5 %")


def f1(expected: Any, answered: Any) -> float:
    return 2 * float((expected * answered).sum()) / max(float(expected.sum() + answered.sum()), 1.0)


def intervals(times: int) -> Iterator[Row]:
    """How often a 95 % interval holds the truth."""
    for items in (50, 200):
        random = np.random.default_rng(items)
        hits = 0
        for _ in range(times):
            expected = (random.random(items) < 0.4).astype(float)
            answered = np.where(random.random(items) < 0.85, expected, 1 - expected)
            found = bootstrap(f1, expected, answered, resamples=999)
            hits += found.low <= 2 * 0.34 / (0.4 + 0.34 + 0.09) <= found.high
        yield row(f"BCa of F1, {items} items", hits, times, "95 %")
    for items in (30, 120):
        random = np.random.default_rng(items)
        found_all = [paired_difference(*pairs(random, items, 0.1, 0.3)) for _ in range(times)]
        hits = sum(found.low <= 0.1 <= found.high for found in found_all)
        yield row(f"difference of pass rates, {items} items", hits, times, "95 %")
        skewed = [
            paired_difference([0.0] * items, random.exponential(1.0, items).tolist()) for _ in range(times)
        ]
        hits = sum(found.low <= 1.0 <= found.high for found in skewed)
        yield row(f"BCa of a mean of skewed differences, {items} items", hits, times, "95 %")


def mid_p(_: int) -> Iterator[Row]:
    """The greatest chance of a false claim, exactly, over sample sizes and shares that change."""
    from scipy.special import gammaln

    for mid in (False, True):
        worst, where = 0.0, (0, 0.0)
        size = np.zeros(1_001)
        for changed in range(1, 1_001):
            fixed = np.arange(changed + 1)
            few = [one for one in range((changed + 1) // 2) if mcnemar(one, changed - one, mid=mid) < 0.05]
            ways = gammaln(changed + 1) - gammaln(fixed + 1) - gammaln(changed - fixed + 1)
            size[changed] = 2 * np.exp(ways[: len(few)] - changed * np.log(2)).sum()
        for items in (*range(10, 101), *range(110, 1_001, 10)):
            count = np.arange(items + 1)
            ways = gammaln(items + 1) - gammaln(count + 1) - gammaln(items - count + 1)
            for share in np.linspace(0.005, 0.995, 199):
                chance = np.exp(ways + count * np.log(share) + (items - count) * np.log1p(-share))
                total = float((chance * size[: items + 1]).sum())
                worst, where = max((worst, where), (total, (items, float(share))))
        yield {
            "what": f"McNemar, {'mid-p' if mid else 'exact'}: greatest chance of a false claim",
            "share": round(worst, 5),
            "where": where,
            "promised": "<= 5 %",
        }


def curve_kinds(random: Random) -> dict[str, Callable[[float], float]]:
    """Four kinds of true learning curve; the first is of a family that the fit knows, the others are not."""
    top, low = random.uniform(0.6, 0.99), random.uniform(0.0, 0.5)
    by, at = random.uniform(0.25, 1.0), float(np.exp(random.uniform(np.log(20), np.log(400))))
    steep = random.uniform(0.6, 1.8)
    return {
        "shifted power law": lambda size: top - (top - low) * (1 + size / at) ** -by,
        "plain power law": lambda size: max(top - 0.9 * (size / 8) ** -by, 0.0),
        "straight in the logarithm, then flat": lambda size: min(
            low + 0.07 * steep * np.log1p(size / 10), top
        ),
        "sigmoid in the logarithm": lambda size: low + (top - low) / (1 + np.exp(-steep * np.log(size / at))),
    }


def curves(times: int) -> Iterator[Row]:
    """Points at 1/32, 1/16, 1/8 and 1/4 of the data: what is said of all of it, and does it hold?

    Items are shared by all sizes and differ in how hard they are; runs vary by about one point.
    """
    kinds = list(curve_kinds(np.random.default_rng(0)))
    for kind in kinds:
        random = np.random.default_rng(kinds.index(kind))
        held = held_gain = close = told = held_told = 0
        widths = []
        for _ in range(times):
            truth = curve_kinds(random)[kind]
            items, all_of_it = (
                int(random.choice([150, 300, 600])),
                int(random.choice([800, 1_600, 4_000])),
            )
            hard = random.normal(0, 1.2, items)
            sizes = [all_of_it // 2**power for power in range(5, 1, -1)]
            true = {
                size: float(np.clip(truth(size), 0.001, 0.999)) for size in (*sizes, all_of_it, sizes[-1] * 2)
            }
            seen = {size: measured(random, true[size], hard) for size in (*sizes, all_of_it)}
            curve = learning_curve([Point(size=size, quality=seen[size], items=items) for size in sizes])
            found, gain = curve.at(all_of_it, items=items), curve.gain(sizes[-1] * 2)
            held += found.low <= seen[all_of_it] <= found.high
            # As it is said: in whole points.
            spoken = (
                round(100 * part) for part in (gain.low, true[sizes[-1] * 2] - true[sizes[-1]], gain.high)
            )
            least, meant, most = spoken
            is_held = least <= meant <= most
            held_gain += is_held
            if "cannot" not in curve.sentence(2):
                told += 1
                held_told += is_held
            close += abs(found.value - seen[all_of_it]) <= 0.03
            widths.append(found.high - found.low)
        name = f"{kind}, 4 sizes up to 1/4"
        yield row(
            f"{name}: quality at all of it, as measured, in the interval",
            held,
            times,
            "95 %",
            median_width=round(float(np.median(widths)), 3),
            within_3_points=round(close / times, 3),
        )
        yield row(f"{name}: true gain of 2x in the interval, in whole points", held_gain, times, "95 %")
        if told:
            yield row(f"{name}: the same where it said that it can tell", held_told, told, "95 %")


def measured(random: Random, share: float, hard: Any) -> float:
    """A measurement: the share right on items of these difficulties, by a run that varies."""
    # The level at which items this hard are right as often as the truth says.
    low, high = -12.0, 12.0
    grid = np.random.default_rng(0).normal(0, 1.2, 2_000)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp(grid - middle))).mean() < share else (low, middle)
    level = low + random.normal(0, 0.08)
    return float((random.random(len(hard)) < 1 / (1 + np.exp(hard - level))).mean())


PROGRAMMES = {
    "claims": claims,
    "planted": planted,
    "gates": gates,
    "intervals": intervals,
    "mid_p": mid_p,
    "curves": curves,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--times", type=int, default=1_000, help="Simulations of each kind; curves take a fifth."
    )
    parser.add_argument("--only", choices=PROGRAMMES, action="append")
    asked = parser.parse_args()
    for name in asked.only or PROGRAMMES:
        began = time.process_time()
        times = max(asked.times // 5, 10) if name == "curves" else asked.times
        for found in PROGRAMMES[name](times):
            print(json.dumps({"programme": name, **found}), flush=True)
        print(f"{name}: {time.process_time() - began:.0f} s of processor time", file=sys.stderr)


if __name__ == "__main__":
    main()
