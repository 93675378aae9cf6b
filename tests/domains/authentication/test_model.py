"""The view model: any order, any number of photos, what is missing left out, and one ONNX that answers as the network does."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from PIL import Image

from domains.authentication import model
from domains.authentication.features import FIELDS
from domains.authentication.synthetic import items
from hallmark.artifacts import bundle, references
from hallmark.artifacts import folder as folders
from hallmark.artifacts.folder import REFERENCES
from hallmark.artifacts.thresholds import SliceThreshold, Thresholds
from hallmark.decision import unit
from hallmark.decision.record import DecisionRecord, Part
from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError, ModelRefused
from hallmark.learners.model import Examples, columns, examples, spec
from hallmark.learners.photo_set import TrainedPhotoSet
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue
from hallmark.training.export import export
from hallmark.ui.review import app
from inference_services.crops import Crops
from inference_services.decision import messages, server
from inference_services.runtime.model import Model
from tests.inference_services.decision.deciding import ToyNode
from tests.inference_services.reviewer.reviewing import Reviewing

START = datetime(2026, 3, 1, tzinfo=UTC)


def stock(days: int, *, after: int = 0) -> pd.DataFrame:
    start = START + timedelta(days=after)
    return items(start, start + timedelta(days=days), seed=5, per_day=30)


def drawn(days: int, *, after: int = 0) -> Examples:
    return examples("authentication", stock(days, after=after))


@pytest.fixture(scope="module")
def held() -> Examples:
    return drawn(1, after=9)


@pytest.fixture(scope="module")
def trained(held: Examples) -> TrainedPhotoSet:
    return model.fit(drawn(3), held, seed=5, quick=True, epochs=1)


@pytest.fixture(scope="module")
def folder(trained: TrainedPhotoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sealed model folder, with its references."""
    folder, test = tmp_path_factory.mktemp("model") / "model", stock(1, after=9)
    export(domains.load("authentication"), trained, folder, test=test, reference=test, training=stock(3))
    return folder


def test_the_order_of_photos_does_not_matter(trained: TrainedPhotoSet, held: Examples) -> None:
    turned = {**held.named, "photos": held.named["photos"][:, ::-1], "there": held.named["there"][:, ::-1]}
    assert np.allclose(trained.predict(turned), trained.predict(held.named), atol=1e-5)


def test_places_without_a_photo_say_nothing(trained: TrainedPhotoSet, held: Examples) -> None:
    photos, there = held.named["photos"], held.named["there"]
    noise = np.random.default_rng(1).integers(0, 256, (len(photos), 2, *photos.shape[2:]), dtype=np.uint8)
    wider = {
        **held.named,
        "photos": np.concatenate((photos, noise), axis=1),
        "there": np.concatenate((there, np.zeros((len(there), 2), np.float32)), axis=1),
    }
    assert np.allclose(trained.predict(wider), trained.predict(held.named), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "views"), [(1, 1), (1, 8), (5, 3)])
def test_onnx_takes_any_number_of_items_and_photos_and_answers_as_torch_does(
    trained: TrainedPhotoSet, folder: Path, held: Examples, count: int, views: int
) -> None:
    running = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    part = {name: values[:count] for name, values in held.named.items()}
    part["photos"] = np.resize(part["photos"], (count, views, *part["photos"].shape[2:]))
    part["there"] = np.resize(part["there"], (count, views)).astype(np.float32)
    score, embedding = running.run(["score", "embedding"], part)
    assert np.abs(score - trained.predict(part)).max() < 1e-4
    assert np.abs(embedding - trained.embed(part)).max() < 1e-4
    assert np.linalg.norm(embedding, axis=1) == pytest.approx(np.ones(count), abs=1e-4)


def test_restored_is_the_same_model_and_other_weights_are_refused(
    trained: TrainedPhotoSet, folder: Path, held: Examples, tmp_path: Path
) -> None:
    assert np.array_equal(model.restore(folder).predict(held.named), trained.predict(held.named))
    (tmp_path / "weights.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelRefused, match="not a model of photo sets"):
        model.restore(tmp_path)


def test_it_answers_the_nearest_authentic_items_of_the_brand_and_category_that_it_learnt_from(folder: Path) -> None:
    served = Model("authentication", bundle.read(folder, expected=None))
    learnt = stock(3)
    found = served.predict(columns(learnt, FIELDS), len(learnt))["items"]
    authentic = learnt[learnt.counterfeit == 0].set_index("item_id")
    kind = list(zip(learnt.brand, learnt.category, strict=True))
    sizes = authentic.groupby(["brand", "category"]).size()
    for row, answer in enumerate(found):
        there = [each for each in answer if each]
        assert len(there) == len(set(there)) == min(4, sizes.get(kind[row], 0))
        assert {(authentic.brand[each], authentic.category[each]) for each in there} <= {kind[row]}
        if learnt.counterfeit[row] == 0:
            assert there[0] == learnt.item_id[row], "nothing is nearer than the item itself"


def test_an_index_of_another_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "model")
    with (other / "features.py").open("a", encoding="utf-8") as code:
        code.write("SIDE = 32\n")
    folders.seal(other)
    with pytest.raises(ModelRefused, match="made by another preprocessing"):
        Model("authentication", bundle.read(other, expected=None))


def test_every_reference_has_a_picture_of_all_its_photos_and_comes_from_the_version_that_is_named(
    folder: Path, tmp_path: Path
) -> None:
    digest, learnt = folders.verify(folder), stock(3).set_index("item_id")
    crops = Crops(folder, expected=[digest])
    for name, photos in learnt[learnt.counterfeit == 0].photos.items():
        picture = crops.get(str(name))
        assert picture is not None
        with Image.open(io.BytesIO(picture)) as sheet:
            assert sheet.size == (64 * min(4, len(photos)), 64 * -(-len(photos) // 4))
    assert crops.get("stranger") is None and crops.get(str(learnt.index[learnt.counterfeit == 1][0])) is None
    with pytest.raises(ModelRefused, match="not the one that was released"):
        Crops(folder, expected=["sha256:" + "0" * 64])
    name = str(learnt.index[learnt.counterfeit == 0][0])
    opened = Crops(shutil.copytree(folder, tmp_path / "model"), expected=[digest])
    references.write(tmp_path / "model" / REFERENCES, {name: learnt.photos[name][0]})
    assert opened.get(name) is None, "another picture than the one that was checked"
    (tmp_path / "model" / REFERENCES).write_bytes(b"PAR1")
    folders.seal(tmp_path / "model")
    with pytest.raises(ModelRefused, match="cannot be read"):
        Crops(tmp_path / "model")


def test_an_open_bag_ends_at_an_expert_who_sees_its_photos_beside_the_references_that_were_found(
    folder: Path, tmp_path: Path
) -> None:
    """From the model's own answer over the reviewer, who cites what it was shown, to the page on which the expert works."""
    declared = domains.load("authentication")
    assert declared.decision is not None
    slices = (SliceThreshold(values=("Aurelle", "handbag"), threshold=0.0, examples=900, accepted=500, counterfeits=0),)
    limits = Thresholds(
        score="view.score", at_most=0.01, confidence=0.95, fields=("brand", "category"), slices=slices,
        scores=(0.0, 1.0), chances=(0.01, 0.9),
    )  # fmt: skip
    parts = {"view": Part(service="authentication"), "reviewer": Part(service="authentication-reviewer")}
    digest = unit.seal(
        tmp_path / "unit", domain="authentication", decision=declared.decision, thresholds=limits, parts=parts
    )
    bag = stock(3).query("brand == 'Aurelle' and category == 'handbag'").iloc[:1]
    served = Model("authentication", bundle.read(folder, expected=None))
    said = {name: served.predict(columns(bag, FIELDS), 1)[name][0].tolist() for name in ("score", "items")}
    view, reviewing = (
        ToyNode({"score": [said["score"]], "items": said["items"]}),
        Reviewing(tmp_path, name="authentication-reviewer", time=5.0),
    )
    reviewing.crops, queue = Crops(folder), f"sqlite:///{tmp_path / 'reviews.db'}"
    options = server.DecisionOptions(
        name="authentication",
        nodes={"view": [f"http://{view.address}"], "reviewer": [f"http://{reviewing.address}"]},
        records=tmp_path / "records",
        cases=queue,
        photos=tmp_path / "photos",
        crops=Crops(folder),
    )
    made = server.served(options, unit.read(tmp_path / "unit", expected=digest))
    service, clients = made.service, made.clients
    sent = [
        {"name": name, "shape": [1], "datatype": "BYTES", "data": bag[name].tolist()} for name in ("brand", "category")
    ]
    photos = [base64.b64encode(each).decode() for each in bag.photos.iloc[0]]
    sent.append({"name": "photos", "shape": [1, len(photos)], "datatype": "BYTES", "data": photos})
    sent.append({"name": "price", "shape": [1], "datatype": "FP64", "data": bag.price.tolist()})

    async def decided() -> DecisionRecord:
        asked = messages.read(service.unit.decision, json.dumps({"id": "bag-1", "inputs": sent}).encode(), None)
        record, _ = await service.decide(asked, within=20)
        for client in clients:
            client.close()
        return record

    try:
        record = asyncio.run(decided())
    finally:
        view.stop()
        reviewing.stop()
    assert (record.verdict.action, record.verdict.path) == ("person", ("look", "review", "expert"))
    cited = record.given.answers["reviewer"].outputs["cites"]
    assert isinstance(cited, tuple) and cited and {*cited} <= {*said["items"]}, "it cites references of the model"

    async def looked_at() -> tuple[list[str], dict[str, list[bytes]]]:
        page = app(ReviewQueue(connect(queue)), photos=tmp_path / "photos", who="ana")
        host = "http://127.0.0.1"
        async with httpx.AsyncClient(transport=httpx.ASGITransport(page), base_url=host, trust_env=False) as person:
            html = (await person.post("/next", json={}, headers={"x-hallmark-review": "1"})).text
            names = [each for each in said["items"] if each]
            shown = re.findall(r'<button[^>]*><img src="(/photo/\w+/(\w+)/\d+)" alt="([^"]*)"', html)
            cites = re.findall(r'data-cite="(\d+)"', html)
            assert [names[int(each)] for each in cites] == list(cited), "what the reviewer cites leads to its picture"
            assert f"<dd>{record.given.answers['reviewer'].outputs['reason']}</dd>" in html
            got: dict[str, list[bytes]] = {"photo": [], "reference": []}
            for path, kind, _ in shown:
                got[kind].append((await person.get(path)).content)
            return [name for _, kind, name in shown if kind == "reference"], got

    names, got = asyncio.run(looked_at())
    assert names == [each for each in said["items"] if each]
    assert got["photo"] == bag.photos.iloc[0]
    assert got["reference"] == [Crops(folder).get(each) for each in names]


def test_references_of_another_output_or_of_nobodys_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = domains.load("authentication")
    with pytest.raises(DeclarationError, match="decides nothing"):
        spec(declared.model_copy(update={"decision": None}))
    assert model.SPEC.references is not None
    for wrong in ({"vector": "score"}, {"items": "embedding"}):
        others = model.SPEC.references.model_copy(update=wrong)
        monkeypatch.setattr(model, "SPEC", dataclasses.replace(model.SPEC, references=others))
        with pytest.raises(DeclarationError, match="do not fit its outputs"):
            spec(declared)


def test_it_knows_what_authentic_items_of_a_brand_have(trained: TrainedPhotoSet) -> None:
    learnt = drawn(3)
    rows = (learnt.named["facts"][:, 0] == 0) & (learnt.named["facts"][:, 1] == 0) & (learnt.labels == 0)
    known = trained.network.reference[0, 0].numpy()
    assert known == pytest.approx([learnt.outcomes[name][rows].mean() for name in model.LEARNER.traits], abs=1e-3)


def test_without_what_the_expert_measured_it_says_what_is_missing() -> None:
    few = drawn(1)
    bare = Examples(few.inputs, few.labels, named=few.named)
    with pytest.raises(DeclarationError, match="told what an expert measured"):
        model.fit(bare, bare, seed=5, quick=True)
