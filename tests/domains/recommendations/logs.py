"""A log of interactions as sparse as those of a large shop: five or more an item and a member, few far more popular, some that follow each other."""

from __future__ import annotations

import numpy as np
import pandas as pd


def log(members: int = 20_000, items: int = 12_000, *, seed: int = 0, mean: float = 9.0) -> pd.DataFrame:
    """Columns user, item, time (seconds since 1970), in no order; of what is next a part hangs on the last items, a part on taste."""
    random = np.random.default_rng(seed)
    popular = 1 / (30 + np.arange(items)) ** 0.8
    group = random.integers(0, max(4, items // 60), items)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 2))
    following = np.empty((items, 8), dtype=np.int64)
    for item in range(items):
        mine = order[starts[group[item]] : starts[group[item] + 1]]
        following[item] = random.choice(mine, 8)
    lengths = np.clip(5 + random.geometric(1 / (mean - 4), members) - 1, 5, 200)
    tastes = random.integers(0, group.max() + 1, (members, 3))
    draws = np.cumsum(popular / popular.sum())
    weight = 0.6 ** np.arange(8)
    weight /= weight.sum()
    rows_user, rows_item, rows_time = [], [], []
    for member in range(members):
        seen: list[int] = []
        start = random.integers(1_200_000_000, 1_400_000_000)
        while len(seen) < lengths[member]:
            u = random.random()
            if seen and u < 0.28:
                back = seen[-1] if random.random() < 0.7 else seen[-min(len(seen), 2)]
                item = int(following[back, random.choice(8, p=weight)])
            elif u < 0.5:
                mine = order[starts[t := tastes[member, random.integers(3)]] : starts[t + 1]]
                item = int(mine[int(len(mine) * random.random() ** 2)]) if len(mine) else 0
            else:
                item = int(np.searchsorted(draws, random.random()))
            if item not in seen or random.random() < 0.02:
                seen.append(item)
        times = start + np.cumsum(random.integers(60, 3_000_000, len(seen)))
        rows_user += [member] * len(seen)
        rows_item += seen
        rows_time += times.tolist()
    frame = pd.DataFrame({"user": rows_user, "item": rows_item, "time": rows_time}).drop_duplicates(["user", "item"])
    while True:  # five or more of each
        kept = frame[
            (frame.groupby("item").user.transform("size") >= 5) & (frame.groupby("user").item.transform("size") >= 5)
        ]
        if len(kept) == len(frame):
            break
        frame = kept
    frame["user"], frame["item"] = "A" + frame.user.astype(str), "B" + frame.item.astype(str)
    return frame.sample(frac=1.0, random_state=seed).reset_index(drop=True)
