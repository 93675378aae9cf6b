"""Do the nearest patches of authentic bags add to the view model's score, and do they show where a bag is odd?

    OMP_NUM_THREADS=1 python -m benchmarks.bag_patches [FOLDER]     # of a trained version; without it a small one is trained first

A patch is one of 8 x 8 cells of what the encoder's stem and block see, averaged with its neighbours; or that of the block alone, through the layer
that was taught to read traits of whole photos. Banks hold patches of authentic bags of one brand and category, or of one view as well, which is
the trait whose query looks at the photo; the farthest-first choice of them, or a random one. A photo is as odd as
its farthest patch, or its farthest eight, standardised by view on authentic bags; an item as its two oddest photos. An earlier part of the bags
teaches a logistic regression, with and without that number beside the score, and says which way of comparing to believe; a later part judges
all of them. In brackets: standard errors of the difference, of 100 redraws of both parts. Decision 76 has the figures.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from torch.nn import functional

from benchmarks.bag_encoders import own
from domains.authentication.features import BRANDS, CATEGORIES, SIDE, encode
from domains.authentication.synthetic import Stock, photos, stock
from hallmark.decision.calibrate import rising
from hallmark.decision.economics import automatic, by_person
from hallmark.declaration.decision import DecisionCosts, Node
from hallmark.declaration.domain import load
from hallmark.features import image
from hallmark.features.arrays import objects
from hallmark.learners.photo_set_network import PhotoSetNetwork, light
from synthetic import bag_photos
from synthetic.bag_photos import Camera
from synthetic.bags import DECLARED, TOLERANCE, TRAITS, chance
from synthetic.chance import generator

CELLS, FARTHEST, DRAWS, BATCH = 8, 8, 100, 50
AT_MOST, ALTERED, TOUCHED = 0.01, 3.5, 6.0
"""Share of counterfeits among the accepted; tolerances from which a trait counts as altered (a maker's work adds one or so to the four at least);
grey levels by which a cell differs where an alteration is."""
Floats = NDArray[np.float64]
Key = tuple[int, int]
"""A slice and a view; -1 for all of its views."""
Bank = tuple[bool, bool, bool]
"""The first three of a `Way`."""


class Sizes(NamedTuple):
    """How many bags are drawn for what, and how many patches a bank keeps.

    each: authentic bags of a slice, at most.   candidates, kept: patches of a bank, before and after the choice.
    """

    references: int = 1500
    each: int = 150
    earlier: int = 2000
    later: int = 4000
    wave: int = 1000
    touched: int = 300
    candidates: int = 10_000
    kept: int = 900


class Way(NamedTuple):
    """One way of comparing.

    taught: patches through the taught layer.   by_view: a bank a view.   coreset: the farthest-first patches, not random ones.   mean: of the farthest eight.
    """

    taught: bool
    by_view: bool
    coreset: bool
    mean: bool

    def __str__(self) -> str:
        return ", ".join((
            "taught" if self.taught else "plain",
            "by view" if self.by_view else "slice",
            "coreset" if self.coreset else "random",
            "mean of 8" if self.mean else "farthest",
        ))  # fmt: skip


BANKS = tuple(
    (taught, view, coreset)
    for taught, coreset in ((False, True), (False, False), (True, True))
    for view in (False, True)
)
WAYS = tuple(Way(*bank, mean) for bank in BANKS for mean in (False, True))


class Seen(NamedTuple):
    """What a network makes of bags.

    kind, logit, odd: (n,), (n,), (n, traits) slices; logits; deviations of each reading from what is declared.
    of, view: (m,) whose each photo is, and its view as the network tells it.   patches: (m, 64, features), the plain ones and the taught.
    """

    kind: NDArray[np.int64]
    logit: NDArray[np.float32]
    odd: NDArray[np.float32]
    of: NDArray[np.int64]
    view: NDArray[np.int64]
    patches: NDArray[np.float32]


def patches(network: PhotoSetNetwork, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoded photos (m, dim) and their patches (m, 64, features)."""
    stem = network.stem(light(pixels).contiguous(memory_format=torch.channels_last))
    maps = network.blocks(stem)
    encoded = network.flat(torch.cat((maps.mean((2, 3)), maps.amax((2, 3))), 1))
    both = torch.cat([functional.adaptive_avg_pool2d(each, CELLS) for each in (stem, maps)], 1)
    near = functional.avg_pool2d(both, 3, stride=1, padding=1, count_include_pad=False).flatten(2).transpose(1, 2)
    block = near[..., stem.shape[1] :]
    return encoded, torch.cat((near, network.flat(torch.cat((block, block), 2))), 2)


def views(network: PhotoSetNetwork, encoded: torch.Tensor) -> torch.Tensor:
    """(m,) the trait whose query would rather look at a photo than at nothing; the number of traits where none does."""
    told = encoded + network.view(encoded).softmax(-1) @ network.views
    looks = torch.cat((network.keys(told) @ network.queries.T - network.nothing, encoded.new_zeros(len(encoded), 1)), 1)
    return looks.argmax(1)


def seen(network: PhotoSetNetwork, offered: Stock, files: list[list[bytes]]) -> Seen:
    """Of all bags."""
    bags = offered.bags
    given = encode({
        "photos": objects(files),
        "brand": objects([BRANDS[each] for each in bags.brand]),
        "category": objects([CATEGORIES[each] for each in bags.category]),
        "price": bags.price,
    })  # fmt: skip
    pixels, there, facts = (torch.from_numpy(given[name]) for name in ("photos", "there", "facts"))
    with torch.inference_mode():
        encoded, found = patches(network, pixels[there > 0])
        whole = encoded.new_zeros(*there.shape, encoded.shape[1])
        whole[there > 0] = encoded
        logit, read, unsure, _ = network.items(whole, there, facts)
        _, _, declared, spread, _, _ = network.compared(read, unsure, facts)
        odd = (read - declared).abs() / (spread**2 + torch.exp(2 * unsure)).sqrt()
        view = views(network, encoded)
    kind = bags.brand * len(CATEGORIES) + bags.category
    made = (logit / network.temperature, odd, torch.nonzero(there)[:, 0], view, found)
    return Seen(kind, *(each.numpy() for each in made))


def parts(count: int, *, name: str, wave: bool = False) -> Iterator[tuple[Stock, np.random.Generator]]:
    """Bags as they come, `BATCH` at a time; says how far it is."""
    random, began = generator(3, f"patches {name}"), time.monotonic()
    for start in range(0, count, BATCH):
        yield stock(min(BATCH, count - start), random, wave=wave), random
        print(f"\r{name}: {start} of {count}, {time.monotonic() - began:.0f} s ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def farthest_first(among: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """`count` of them, each the farthest from those before it."""
    lengths = (among * among).sum(1)
    chosen, away = [0], np.full(len(among), np.inf, dtype=np.float32)
    while len(chosen) < min(count, len(among)):
        last = chosen[-1]
        away = np.minimum(away, lengths - 2.0 * among @ among[last] + lengths[last])
        chosen.append(int(away.argmax()))
    return among[chosen]


class Banks:
    """Patches of authentic bags, an index for each slice, or for each slice and view."""

    def __init__(self, network: PhotoSetNetwork, sizes: Sizes) -> None:
        held: dict[Key, list[NDArray[np.float32]]] = {}
        taken: dict[int, int] = {}
        for offered, random in parts(sizes.references, name="references"):
            found = seen(network, offered, photos(offered, random))
            for row in np.nonzero(~offered.bags.counterfeit)[0]:
                kind = int(found.kind[row])
                taken[kind] = taken.get(kind, 0) + 1
                if taken[kind] <= sizes.each:
                    for photo in np.nonzero(found.of == row)[0]:
                        held.setdefault((kind, int(found.view[photo])), []).append(found.patches[photo])
        whole = {key: np.concatenate(each) for key, each in held.items()}
        self.scale = np.concatenate(list(whole.values())).std(0) + 1e-6
        self.plain = len(self.scale) - network.queries.shape[1]
        self._choose(whole, sizes)

    def _part(self, found: NDArray[np.float32], taught: bool) -> NDArray[np.float32]:
        """The plain features, or the taught ones, each in its standard deviations."""
        part = slice(self.plain, None) if taught else slice(self.plain)
        return np.ascontiguousarray(found[..., part] / self.scale[part], dtype=np.float32)

    def _choose(self, whole: dict[Key, NDArray[np.float32]], sizes: Sizes) -> None:
        import faiss

        random, self.indices = np.random.default_rng(1), dict[tuple[bool, bool, bool, Key], Any]()
        for by_view in (False, True):
            kept, candidates = (each // (3 if by_view else 1) for each in (sizes.kept, sizes.candidates))
            for key in sorted({key if by_view else (key[0], -1) for key in whole}):
                mine = np.concatenate([each for at, each in whole.items() if key in (at, (at[0], -1))])
                mine = mine[random.permutation(len(mine))[:candidates]]
                for taught, _, coreset in (each for each in BANKS if each[1] == by_view):
                    some = self._part(mine, taught)
                    index = faiss.IndexFlatL2(some.shape[1])
                    index.add(farthest_first(some, kept) if coreset else some[:kept])
                    self.indices[taught, by_view, coreset, key] = index

    def distances(self, found: Seen, bank: Bank) -> Floats:
        """(m, 64) of each patch to the nearest in its bank; NaN where there is none."""
        taught, by_view, coreset = bank
        made, asked = np.full(found.patches.shape[:2], np.nan), self._part(found.patches, taught)
        kind = found.kind[found.of]
        view = found.view if by_view else np.full_like(found.view, -1)
        for key in set(zip(kind.tolist(), view.tolist(), strict=True)):
            index, rows = self.indices.get((taught, by_view, coreset, key)), (kind == key[0]) & (view == key[1])
            if index is not None:
                near = index.search(asked[rows].reshape(-1, asked.shape[2]), 1)[0]
                made[rows] = np.sqrt(near.clip(min=0.0)).reshape(int(rows.sum()), -1)
        return made


class Judged(NamedTuple):
    """Bags and how odd their photos are.

    labels, price, best, altered, super_fake: (n,); best is the best possible answer, altered how many traits are.   trait: (n,) the first that is.
    photos: by way, (m,) logarithms of how far a photo is.   shown: (m,) what each shows.
    """

    seen: Seen
    labels: NDArray[np.int64]
    price: Floats
    best: Floats
    altered: NDArray[np.int64]
    trait: NDArray[np.int64]
    shown: NDArray[np.int64]
    photos: dict[Way, Floats]


def _photo_scores(banks: Banks, found: Seen) -> dict[Way, Floats]:
    made = {}
    for bank in BANKS:
        far = np.sort(banks.distances(found, bank), axis=1)
        made[Way(*bank, mean=False)] = np.log(far[:, -1] + 1e-6)
        made[Way(*bank, mean=True)] = np.log(far[:, -FARTHEST:].mean(1) + 1e-6)
    return made


def judged(network: PhotoSetNetwork, banks: Banks, count: int, *, name: str) -> Judged:
    """Newly drawn bags."""
    whole: list[Judged] = []
    for offered, random in parts(count, name=name):
        found = seen(network, offered, photos(offered, random))
        bags, off = offered.bags, np.abs(offered.bags.off)
        trait = off.argmax(1)
        shown = bags.counterfeit & offered.seen[np.arange(len(bags)), trait]
        whole.append(
            Judged(
                found._replace(patches=found.patches[:0]),
                bags.counterfeit.astype(np.int64),
                bags.price,
                chance(bags, offered.seen),
                np.where(shown, (off >= ALTERED).sum(1), 0),
                trait,
                offered.views,
                _photo_scores(banks, found),
            )
        )
    return _together(whole)


def _together(whole: list[Judged]) -> Judged:
    """Batches as one, photos numbered by the items of all."""
    starts = np.cumsum([0, *(len(each.labels) for each in whole[:-1])])
    found = [one.seen._replace(of=one.seen.of + start) for one, start in zip(whole, starts, strict=True)]
    labels, price, best, altered, trait, shown = (
        np.concatenate([getattr(one, name) for one in whole]) for name in Judged._fields[1:-1]
    )
    both = {way: np.concatenate([one.photos[way] for one in whole]) for way in WAYS}
    all_seen = Seen(*(np.concatenate(each) for each in zip(*found, strict=True)))
    return Judged(all_seen, labels, price, best, altered, trait, shown, both)


class Standard:
    """What is usual of authentic bags' photos in a view, by one way of comparing."""

    def __init__(self, way: Way, usual: Judged) -> None:
        self.way = way
        true = usual.labels[usual.seen.of] == 0
        self.places = {}
        for view in np.unique(usual.seen.view):
            values = usual.photos[way][true & (usual.seen.view == view)]
            values = values[np.isfinite(values)]
            self.places[int(view)] = (values.mean(), values.std() + 1e-6) if len(values) > 1 else (0.0, np.inf)

    def photos(self, view: NDArray[np.int64], far: Floats) -> Floats:
        """(m,) standard deviations from the usual."""
        mean, spread = np.array([self.places.get(int(each), (0.0, np.inf)) for each in view]).T
        return np.asarray(np.nan_to_num((far - mean) / spread))

    def items(self, found: Seen, far: Floats) -> Floats:
        """(n,) mean of an item's two oddest photos; of one that has a single photo, that."""
        odd = self.photos(found.view, far)
        return np.array([np.sort(odd[found.of == row])[-2:].mean() for row in range(len(found.kind))])


class Answer(NamedTuple):
    """Of later bags, (n,) each.   score: which grows with the risk.   chance: of a counterfeit, as thresholds are given it (hallmark.decision.calibrate)."""

    score: Floats
    chance: Floats

    @classmethod
    def learnt(cls, taught: Floats, labels: NDArray[np.int64], asked: Floats) -> Answer:
        """By a logistic regression on columns of earlier bags, and the shares of counterfeits among those by what it answers."""
        mean, spread = taught.mean(0), taught.std(0) + 1e-9
        fitted = LogisticRegression(C=10, max_iter=1000).fit((taught - mean) / spread, labels)
        before, now = (fitted.predict_proba((each - mean) / spread)[:, 1] for each in (taught, asked))
        knots, shares = rising(before, labels > 0)
        return cls(now, np.interp(now, knots, shares))


def accepted(labels: NDArray[np.int64], score: Floats) -> float:
    """Largest share, the surest first, of which at most one in a hundred is a counterfeit."""
    share = np.cumsum(labels[np.argsort(score, kind="stable")]) / np.arange(1, len(labels) + 1)
    kept = np.nonzero(share <= AT_MOST)[0]
    return float(kept[-1] + 1) / len(labels) if len(kept) else 0.0


def spent(best: Floats, price: Floats, likely: Floats) -> Floats:
    """(n,) EUR that each item costs where it is accepted or goes to a person, whichever costs less if `likely` is right.

    best: (n,) the chance of a counterfeit to one who knows all, by which it is counted: a label would add its own luck, and one bag of 20,000 EUR decides then.
    """
    costs, person = _declared()
    accepting = automatic(costs, "accept", chance=1.0, price=1.0)
    minutes = by_person(costs, person, chance=0.0, price=0.0)
    mistakes = [by_person(costs, person, chance=each, price=1.0) - minutes for each in (0.0, 1.0)]

    def taken(risk: Floats) -> Floats:
        return accepting * risk * price

    def looked(risk: Floats) -> Floats:
        return minutes + ((1 - risk) * mistakes[0] + risk * mistakes[1]) * price

    return np.where(taken(likely) <= looked(likely), taken(best), looked(best))


@cache
def _declared() -> tuple[DecisionCosts, Node]:
    """The domain's costs, and its experts."""
    declared = load("authentication").decision
    if declared is None:
        raise SystemExit("expected domains/authentication/domain.yaml to declare a decision, got none")
    return declared.costs, declared.nodes["expert"]


class Compared(NamedTuple):
    """What a score is worth, and how far that is from the model's alone: (draws, measures) of redraws, the first row the bags as they are."""

    measures: Floats

    @classmethod
    def of(cls, earlier: Judged, later: Judged, columns: tuple[Floats, Floats] | None = None) -> Compared:
        """The same redraws of both parts each time: average precision, log loss, EUR an item, share accepted, and average precision where one trait is altered.

        columns: of the earlier bags, which teach, and of the later; the best possible answer without.
        """
        random, made = np.random.default_rng(2), []
        for draw in range(DRAWS + 1):
            taught, rows = (
                random.integers(0, n, n) if draw else np.arange(n) for n in (len(earlier.labels), len(later.labels))
            )
            answer = Answer(later.best[rows], later.best[rows])
            if columns is not None:
                answer = Answer.learnt(columns[0][taught], earlier.labels[taught], columns[1][rows])
            labels, few = later.labels[rows], (later.labels[rows] == 0) | (later.altered[rows] == 1)
            made.append((
                average_precision_score(labels, answer.score),
                log_loss(labels, answer.score),
                spent(later.best[rows], later.price[rows], answer.chance).mean(),
                accepted(labels, answer.score),
                average_precision_score(labels[few], answer.score[few]),
            ))  # fmt: skip
        return cls(np.array(made))

    def against(self, plain: Compared) -> str:
        """A line of the table."""
        off = self.measures - plain.measures
        error = off[1:].std(0)
        return "".join(
            f"{value:{width}.{digits}f} ({change:+.{digits}f} +- {each:.{digits}f})"
            for value, change, each, (width, digits) in zip(
                self.measures[0], off[0], error, ((8, 4), (8, 4), (8, 3), (8, 3), (8, 4)), strict=True
            )
        )


def only(offered: Stock, rows: NDArray[np.int64]) -> Stock:
    """Some of the items, with their photos."""
    bags = replace(offered.bags, **{each.name: getattr(offered.bags, each.name)[rows] for each in fields(offered.bags)})
    kept = np.isin(offered.photos_of, rows)
    return Stock(bags, offered.seen[rows], np.searchsorted(rows, offered.photos_of[kept]), offered.views[kept])


def scores(
    network: PhotoSetNetwork, banks: Banks, standard: Standard, offered: Stock, files: list[list[bytes]]
) -> Floats:
    """(n, 2) logits and how odd the patches are."""
    found = seen(network, offered, files)
    return np.stack((found.logit, standard.items(found, _photo_scores(banks, found)[standard.way])), 1)


def told_apart(those: Floats, others: Floats) -> str:
    """Chance that one of those is odder than one of the others, by the model and by patches."""
    labels = np.repeat((1, 0), (len(those), len(others)))
    both = np.concatenate((those, others))
    return "  ".join(f"{roc_auc_score(labels, both[:, way]):.3f}" for way in range(2))


def studio(network: PhotoSetNetwork, banks: Banks, standard: Standard, later: Judged, count: int) -> None:
    """Print how super-fakes look, and authentic bags with the same photos under the same light."""
    fakes: list[Floats] = []
    twins: list[Floats] = []
    for offered, random in parts(count, name="wave", wave=True):
        wave = only(offered, np.nonzero(offered.bags.super_fake)[0])
        if len(wave.bags):
            made = DECLARED[0, 0] + TOLERANCE * random.standard_normal((len(wave.bags), len(TRAITS)))
            twin = replace(wave, bags=replace(wave.bags, traits=made))
            for offer, into in ((wave, fakes), (twin, twins)):
                into.append(scores(network, banks, standard, offer, photos(offer, random)))
    true = (later.labels == 0) & (later.seen.kind == 0)
    usual = np.stack((later.seen.logit, standard.items(later.seen, later.photos[standard.way])), 1)[true]
    of, light_ = np.concatenate(fakes), np.concatenate(twins)
    print(
        f"{len(of)} super-fakes, as many authentic bags in the same light with as many photos: area under the curve, model and patches"
    )
    print(f"  super-fakes, and authentic bags in any light    {told_apart(of, usual)}")
    print(f"  authentic in that light, and in any light       {told_apart(light_, usual)}")
    print(f"  super-fakes, and authentic ones in that light   {told_apart(of, light_)}")


def wider(data: bytes, by: float) -> bytes:
    """A photo whose rows are set farther apart, and as blurred as the others."""
    photo = Image.open(io.BytesIO(data)).resize((SIDE, round(SIDE * 1.4)), Image.Resampling.BICUBIC)
    photo = photo.resize((SIDE, round(SIDE * by)), Image.Resampling.BICUBIC)
    up, stream = (photo.height - SIDE) // 2, io.BytesIO()
    photo.crop((0, up, SIDE, up + SIDE)).save(stream, "JPEG", quality=90, subsampling=0)
    return stream.getvalue()


def unmeasured(network: PhotoSetNetwork, banks: Banks, standard: Standard, count: int) -> None:
    """Print what is seen of an alteration that no sheet has: rows of stitches that are farther apart, on bags that are authentic otherwise."""
    found: dict[float, list[Floats]] = {1.0: [], 1.1: [], 1.2: [], 1.35: []}
    for offered, random in parts(count, name="unmeasured"):
        some = only(offered, np.nonzero(~offered.bags.counterfeit & offered.seen[:, 0])[0])
        files, shown = photos(some, random), iter((some.views == bag_photos.VIEWS.index("seam")).tolist())
        seams = [[next(shown) for _ in mine] for mine in files]
        for by, into in found.items():
            altered = [
                [wider(each, by) if seam else each for each, seam in zip(mine, which, strict=True)]
                for mine, which in zip(files, seams, strict=True)
            ]
            into.append(scores(network, banks, standard, some, altered))
    usual = np.concatenate(found.pop(1.0))
    print(
        f"{len(usual)} bags whose seams' two rows are set apart, against themselves: area under the curve, model and patches"
    )
    for by, made in found.items():
        print(f"  by {by - 1:.0%}   {told_apart(np.concatenate(made), usual)}")


def which_trait(standard: Standard, later: Judged) -> None:
    """Print how often what is oddest of a counterfeit with one altered trait shows that trait: its oddest photo, and the model's oddest reading."""
    odd = standard.photos(later.seen.view, later.photos[standard.way])
    hits = []
    for row in np.nonzero(later.altered == 1)[0]:
        mine = np.nonzero(later.seen.of == row)[0]
        shows = later.shown[mine] == later.trait[row] + 1
        hits.append((shows[odd[mine].argmax()], shows.mean(), later.seen.odd[row].argmax() == later.trait[row]))
    told, by_chance, model = np.mean(hits, axis=0)
    print(
        f"{len(hits)} counterfeits with one altered trait that a photo shows: the oddest photo shows it in {told:.0%} (any: {by_chance:.0%}),"
        f" the model's oddest reading is of it in {model:.0%}"
    )


def where(network: PhotoSetNetwork, banks: Banks, standard: Standard, count: int) -> None:
    """Print whether the farthest patch lies where pixels differ from the same photo of a bag whose trait is not altered."""
    print("farthest patch where the alteration is: of the altered photo, of its twin without, and cells touched")
    for trait, name in enumerate(TRAITS):
        random, view = generator(4, f"patches {name}"), bag_photos.VIEWS[trait + 1]
        true = DECLARED[0, 0] + TOLERANCE * random.standard_normal((count, len(TRAITS)))
        altered, hide = true.copy(), random.integers(0, 64, count)
        altered[:, trait] += random.choice([-1, 1], count) * random.uniform(4, 10, count) * TOLERANCE
        both, cells = [], []
        for traits in (altered, true):
            camera = Camera(studio=np.zeros(count, dtype=np.bool_), random=generator(4, f"patches camera {name}"))
            files = bag_photos.drawn(view, traits=traits, category=np.zeros(count, np.int64), hide=hide, camera=camera)
            pixels = np.stack([image.pixels(each, size=(SIDE, SIDE)).transpose(2, 0, 1) for each in files])
            both.append(pixels.astype(np.float32))
            with torch.inference_mode():
                encoded, found = patches(network, torch.from_numpy(pixels))
                shown = views(network, encoded).numpy()
            of = np.arange(count)
            photo = Seen(
                np.zeros(count, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32), of, shown, found.numpy()
            )
            cells.append(np.nan_to_num(banks.distances(photo, standard.way[:3])).argmax(1))
        cut = np.abs(both[0] - both[1]).mean(1).reshape(count, CELLS, SIDE // CELLS, CELLS, SIDE // CELLS).mean((2, 4))
        touched = cut.reshape(count, -1) > TOUCHED
        hit, twin = (touched[np.arange(count), each].mean() for each in cells)
        print(f"  {name:14} {hit:.0%} {twin:.0%} {touched.mean():.0%}")


def study(network: PhotoSetNetwork, sizes: Sizes) -> None:
    """Print all tables."""
    banks = Banks(network, sizes)
    earlier, later = (
        judged(network, banks, count, name=name) for name, count in (("earlier", sizes.earlier), ("later", sizes.later))
    )
    agree = sum(np.bincount(later.shown[later.seen.view == view]).max() for view in np.unique(later.seen.view))
    print(
        f"earlier {len(earlier.labels)} bags, {earlier.labels.sum()} counterfeits; later {len(later.labels)}, {later.labels.sum()}; {agree / len(later.shown):.0%} of photos in the view that most of their kind are in"
    )
    logits = [each.seen.logit[:, None].astype(np.float64) for each in (earlier, later)]
    plain = Compared.of(earlier, later, (logits[0], logits[1]))
    print(
        f"{'':44}average precision          log loss                  EUR an item             accepted at 1%          precision, one trait"
    )
    print(f"{'best possible':44}{Compared.of(earlier, later).against(plain)}")
    print(f"{'model':44}{plain.against(plain)}")
    liked = {}
    for way in WAYS:
        standard = Standard(way, earlier)
        odd = [standard.items(each.seen, each.photos[way])[:, None] for each in (earlier, later)]
        both = [np.concatenate(each, 1) for each in zip(logits, odd, strict=True)]
        liked[way] = log_loss(earlier.labels, Answer.learnt(both[0], earlier.labels, both[0]).score)
        alone = Compared.of(earlier, later, (odd[0], odd[1]))
        print(f"{str(way) + ', alone':44}{alone.against(plain)}", flush=True)
        beside = Compared.of(earlier, later, (both[0], both[1]))
        print(f"{str(way) + ', beside':44}{beside.against(plain)}", flush=True)
    standard = Standard(min(liked, key=lambda way: liked[way]), earlier)
    print(f"the earlier part likes best: {standard.way}")
    which_trait(standard, later)
    where(network, banks, standard, sizes.touched)
    studio(network, banks, standard, later, sizes.wave)
    unmeasured(network, banks, standard, sizes.wave // 3)


def main() -> None:
    """Print the tables of a trained version."""
    torch.set_num_threads(1)
    study(own(sys.argv[1] if len(sys.argv) > 1 else None).network, Sizes())


if __name__ == "__main__":
    main()
