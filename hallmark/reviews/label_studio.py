"""Cases as tasks of Label Studio, with verdicts as annotations and what the models saw as a prediction; and the labelling config that reads them.

Format: labelstud.io/guide/task_format. Label Studio shows images by address: a photo's is what `photos` makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hallmark.reviews.case import Case, Given, Photo, Reason, Verdict, Word

CONFIG = f"""<View>
  <Image name="photos" valueList="$photos"/>
  <Text name="told" value="$told"/>
  <Choices name="verdict" toName="photos" choice="single" required="true">
    {" ".join(f'<Choice value="{each}"/>' for each in Word)}
  </Choices>
  <Choices name="reason" toName="photos" choice="single">
    {" ".join(f'<Choice value="{each}"/>' for each in Reason)}
  </Choices>
  <TextArea name="note" toName="photos"/>
</View>
"""
"""The labelling config whose names the tasks use."""


def tasks(verdicts: Iterable[Given], *, photos: Callable[[Photo], str]) -> list[dict[str, Any]]:
    """One task a case with a final verdict, such verdicts as its annotations in the order in which they were given. photos: the address of a photo."""
    found: dict[str, dict[str, Any]] = {}
    for each in verdicts:
        if not each.final:
            continue
        task = found.setdefault(each.case.id, _task(each.case, photos))
        task["annotations"].append(_annotation(each))
    return list(found.values())


def _task(case: Case, photos: Callable[[Photo], str]) -> dict[str, Any]:
    data = {
        "photos": [photos(each) for each in case.evidence.photos],
        "references": [{"id": each.id, "image": photos(each.photo)} for each in case.evidence.references],
        "told": f"{case.item}, {case.price:.2f}",
        **{name: getattr(case, name) for name in ("id", "domain", "item", "price", "source", "inclusion")},
        "request": case.asked,
        "opened": case.opened.isoformat(),
    }
    seen = case.evidence.seen
    score = next(iter(seen.scores.values()), None)
    prediction = {
        "model_version": ", ".join(f"{name} {digest}" for name, digest in seen.digests.items()) or "unknown",
        "result": [],
        **({} if score is None else {"score": score}),
    }
    return {"data": data, "annotations": [], "predictions": [prediction] if seen.scores or seen.digests else []}


def _annotation(given: Given) -> dict[str, Any]:
    return {
        "unique_id": f"{given.case.id}/{given.round}",
        "result": _results(given.verdict, f"{given.case.id}/{given.round}"),
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": given.verdict.seconds,
        "created_at": given.at.isoformat(),
        "created_username": given.who,
    }


def _results(verdict: Verdict, of: str) -> list[dict[str, Any]]:
    chosen = {"verdict": verdict.word, "reason": verdict.reason}
    found: list[dict[str, Any]] = [
        {
            "id": f"{of}/{name}",
            "from_name": name,
            "to_name": "photos",
            "type": "choices",
            "value": {"choices": [str(value)]},
        }
        for name, value in chosen.items()
        if value
    ]
    if verdict.note:
        note = {"type": "textarea", "value": {"text": [verdict.note]}}
        found.append({"id": f"{of}/note", "from_name": "note", "to_name": "photos", **note})
    return found
