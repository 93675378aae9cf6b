"""Words for what is sold, as members write them in three languages, and how their fingers slip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synthetic.marketplace import CATEGORIES

LOCALES = ("de", "en", "fr")
KINDS: tuple[tuple[str, tuple[str, str, str]], ...] = (
    ("accessories", ("gürtel", "belt", "ceinture")),
    ("accessories", ("schal", "scarf", "écharpe")),
    ("accessories", ("mütze", "beanie", "bonnet")),
    ("accessories", ("sonnenbrille", "sunglasses", "lunettes de soleil")),
    ("bags", ("handtasche", "handbag", "sac à main")),
    ("bags", ("rucksack", "backpack", "sac à dos")),
    ("bags", ("geldbörse", "wallet", "portefeuille")),
    ("coats", ("mantel", "coat", "manteau")),
    ("coats", ("jacke", "jacket", "veste")),
    ("coats", ("parka", "parka", "parka")),
    ("coats", ("trenchcoat", "trench coat", "trench")),
    ("dresses", ("kleid", "dress", "robe")),
    ("dresses", ("abendkleid", "evening gown", "robe de soirée")),
    ("dresses", ("sommerkleid", "sundress", "robe d'été")),
    ("jeans", ("jeans", "jeans", "jean")),
    ("jeans", ("jeansshorts", "denim shorts", "short en jean")),
    ("jeans", ("jeansrock", "denim skirt", "jupe en jean")),
    ("knitwear", ("pullover", "sweater", "pull")),
    ("knitwear", ("strickjacke", "cardigan", "gilet")),
    ("knitwear", ("rollkragenpullover", "turtleneck", "col roulé")),
    ("shoes", ("turnschuhe", "sneakers", "baskets")),
    ("shoes", ("stiefel", "boots", "bottes")),
    ("shoes", ("sandalen", "sandals", "sandales")),
    ("shoes", ("absatzschuhe", "heels", "escarpins")),
    ("watches", ("armbanduhr", "watch", "montre")),
    ("watches", ("taucheruhr", "diver watch", "montre de plongée")),
)
"""What a garment is, by category, in the order of `LOCALES`."""
COLOURS: tuple[tuple[str, str, str], ...] = (
    ("schwarz", "black", "noir"),
    ("weiß", "white", "blanc"),
    ("grau", "grey", "gris"),
    ("blau", "blue", "bleu"),
    ("dunkelblau", "navy", "bleu marine"),
    ("rot", "red", "rouge"),
    ("weinrot", "burgundy", "bordeaux"),
    ("rosa", "pink", "rose"),
    ("grün", "green", "vert"),
    ("khaki", "khaki", "kaki"),
    ("beige", "beige", "beige"),
    ("braun", "brown", "marron"),
    ("gelb", "yellow", "jaune"),
    ("lila", "purple", "violet"),
)
NEAR = ((3, 4), (5, 6), (6, 7), (8, 9), (10, 11), (0, 4), (1, 10))
"""Colours that pass for one another."""
MATERIALS: tuple[tuple[str, str, str], ...] = (
    ("wolle", "wool", "laine"),
    ("leder", "leather", "cuir"),
    ("baumwolle", "cotton", "coton"),
    ("seide", "silk", "soie"),
    ("leinen", "linen", "lin"),
    ("kaschmir", "cashmere", "cachemire"),
    ("samt", "velvet", "velours"),
    ("stahl", "steel", "acier"),
)
_WORN_OF = {
    "accessories": (0, 1, 2, 3, 5),
    "bags": (1, 2, 6),
    "coats": (0, 1, 2, 5),
    "dresses": (2, 3, 4, 6),
    "jeans": (2,),
    "knitwear": (0, 2, 5),
    "shoes": (1, 2, 6),
    "watches": (1, 7),
}
STYLES: tuple[tuple[str, str, str], ...] = (
    ("vintage", "vintage", "vintage"),
    ("wie neu", "like new", "comme neuf"),
    ("schön", "lovely", "joli"),
    ("lässig", "casual", "décontracté"),
    ("elegant", "elegant", "élégant"),
    ("oversized", "oversized", "oversize"),
)
SIZE_WORD = ("größe", "size", "taille")
GIFT = ("geschenk", "gift", "cadeau")
BRANDS: tuple[tuple[str, int], ...] = (
    *(("norrgard", 0), ("velmora", 0), ("tandy & roe", 0), ("kupferhaus", 0), ("lunette", 0), ("basilo", 0)),
    *(("fjordline", 0), ("maribel", 0), ("ostwind", 0), ("petit orme", 0), ("calder", 0), ("zwirn", 0)),
    *(("aurelio conti", 1), ("maison delvaux-rey", 1), ("harrowgate", 1), ("sorrento & figli", 1), ("vauquelin", 1)),
    *(("brandt studio", 2), ("lindqvist", 2), ("oakham", 2), ("serafine", 2), ("terre brune", 2), ("kestrel", 2)),
    *(("morgenrot", 2), ("ninon", 2), ("handmade", 3), ("no name", 3)),
)
"""Brands with the tier of each (`marketplace.TIERS`); none exists."""
SIZES: dict[str, tuple[str, ...]] = {
    "letters": ("XS", "S", "M", "L", "XL"),
    "shoes": tuple(map(str, range(36, 46))),
    "jeans": tuple(f"W{inches}" for inches in range(26, 37)),
    "none": ("one size",),
}
SYSTEM = tuple(
    {"coats": "letters", "dresses": "letters", "knitwear": "letters", "jeans": "jeans", "shoes": "shoes"}.get(
        each, "none"
    )
    for each in CATEGORIES
)
"""How each category is sized."""
KIND_CATEGORY = np.array([CATEGORIES.index(category) for category, _ in KINDS])
KIND_SHARE = np.array([1.0 / (1 + sum(c == category for c, _ in KINDS[:at])) for at, (category, _) in enumerate(KINDS)])
"""How common a kind is within its category: the first most."""
COLOUR_SHARE = 1.0 / np.sqrt(1 + np.arange(len(COLOURS)))
BRAND_SHARE = np.array([{0: 1.0, 1: 0.35, 2: 0.6, 3: 1.4}[tier] for _, tier in BRANDS])
MATERIAL_OF = np.array([[float(at in _WORN_OF[category]) for at in range(len(MATERIALS))] for category in CATEGORIES])
"""(categories, materials) 1 where a category is made of it."""
NEARNESS = np.eye(len(COLOURS))
for _first, _second in NEAR:
    NEARNESS[_first, _second] = NEARNESS[_second, _first] = 0.6


def slip(word: str, chance: float) -> str:
    """The word with one slip of the finger, which `chance` (0..1) chooses: a letter swapped, left out, or typed twice."""
    if len(word) < 4:
        return word
    how, rest = divmod(chance * 3, 1)
    at = 1 + int(rest * (len(word) - 2))
    if how == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :] if how == 1 else word[: at + 1] + word[at:]


def plain(words: Sequence[str]) -> list[str]:
    """The words without the signs that a hurried hand leaves out: ä as a, é as e, ß as ss."""
    import unicodedata

    found = ("".join(c for c in unicodedata.normalize("NFKD", each) if not unicodedata.combining(c)) for each in words)
    return [each.replace("ß", "ss") for each in found]
