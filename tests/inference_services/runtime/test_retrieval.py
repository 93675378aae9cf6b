"""A model that answers with items, as its callers meet it: searched, filtered, ranked, changed while it serves, and refused where its parts do not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import ROOT, Server, free_port
from stock import encoder, items, stock_folder

from hallmark.artifacts import bundle
from hallmark.artifacts.folder import INDEX, seal
from hallmark.errors import ModelRefused
from inference_services.runtime import change_log
from tests.inference_services.decision import deciding

STOCK = items(1500)
CHANGES = {"retrieval": {"fresh": 1.0, "live": 1.0}}


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and its digest."""
    folder = tmp_path_factory.mktemp("stock") / "model"
    return folder, stock_folder(folder, STOCK)


@pytest.fixture(scope="session")
def still(stock: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The model, served, for tests that change nothing."""
    found = served(stock, tmp_path_factory.mktemp("changes"))
    yield found
    assert found.stop() == 0
    assert "Traceback" not in found.errors and "Warning" not in found.errors


@pytest.fixture
def server(stock: tuple[Path, str], tmp_path: Path) -> Iterator[Server]:
    """The model, served, with a log of changes of its own."""
    found = served(stock, tmp_path / "changes")
    yield found
    assert found.stop() == 0
    assert "Traceback" not in found.errors and "Warning" not in found.errors


def served(stock: tuple[Path, str], changes: Path, *flags: str, **config: Any) -> Server:
    env = {"HALLMARK_MODEL_DIGEST": stock[1], "HALLMARK_CHANGES": f"file://{changes}"}
    found = Server(stock[0], "stock", *flags, notice=0, env=env, **CHANGES, **config)
    found.wait_ready()
    return found


def search(server: Server, **asked: Any) -> dict[str, Any]:
    found = server.client.post("/v1/models/stock:predict", json={"instances": [asked]})
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()["predictions"][0]
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [each for each in answer["items"] if each]


def change(server: Server, **asked: Any) -> int:
    found = server.client.post("/v2/models/stock/items", json=asked)
    assert found.status_code == 200, found.text
    return int(found.json()["position"])


def item(name: str, title: str = "red wool coat", **given: Any) -> dict[str, Any]:
    return {"item_id": name, "title": title, "category": "coats", "price": 50.0, "new": True, **given}


def test_an_answer_holds_items_in_order_and_by_which_way_each_came(still: Server) -> None:
    found = search(still, query="red wool coat")
    assert found["found"] == 10 and len(set(ids(found))) == 10
    assert found["scores"] == sorted(found["scores"], reverse=True)
    ranks = list(zip(found["vector_rank"], found["word_rank"], strict=True))
    assert all(vector or word for vector, word in ranks) and any(vector and word for vector, word in ranks)
    titles = {each["item_id"]: each["title"] for each in STOCK}
    assert {"red", "wool", "coat"} <= set(titles[found["items"][0]].split())


def test_filters_leave_only_what_they_say_and_never_fewer_than_match(still: Server) -> None:
    dear = {each["item_id"] for each in STOCK if each["category"] == "bags" and each["price"] >= 480 and each["new"]}
    assert 0 < len(dear) < 10
    found = search(still, query="red wool coat", filter_category=["bags"], filter_price_min=480, filter_new=True)
    assert set(ids(found)) == dear and found["found"] == len(dear)
    assert found["items"][len(dear) :] == [""] * (10 - len(dear))
    several = search(still, query="silk", filter_category=["bags", "jeans"])
    kinds = {each["item_id"]: each["category"] for each in STOCK}
    assert {kinds[each] for each in ids(several)} <= {"bags", "jeans"}
    since = {each["item_id"] for each in STOCK if each["listed_at"] >= "2026-09-01"}
    late = search(still, query="silk", filter_listed_at_min=1788220800)
    assert len(ids(late)) == 10 and set(ids(late)) <= since
    assert search(still, query="silk", filter_price_min=10_000)["found"] == 0


def test_as_a_node_of_a_decision_it_hands_its_items_on_to_the_reviewer(still: Server, tmp_path: Path) -> None:
    """docs/decision.md, "References"."""
    reads = {"view": ["price"], "near": ["query"], "reviewer": ["query", "near.items"]}
    near = {"kind": "retrieve", "service": "stock", "outputs": {"items": "texts"}, "timeout": "4s"}
    nodes = {**deciding.GRAPH["nodes"], "near": near}
    nodes |= {name: {**nodes[name], "reads": given} for name, given in reads.items()}
    steps = {**deciding.GRAPH["steps"], "look": {"ask": ["view", "near"], "routes": [{"to": "review"}]}}
    graph = {**deciding.GRAPH, "nodes": nodes, "steps": steps}
    service = deciding.Deciding(tmp_path, graph=graph, addresses={"near": still.url}, version="")
    facts = {"price": ("FP64", 30.0), "brand": ("BYTES", "Alma"), "query": ("BYTES", "red wool coat")}
    inputs = [{"name": each, "shape": [1], "datatype": kind, "data": [it]} for each, (kind, it) in facts.items()]
    found = deciding.outputs(service.http.post("/v2/models/bags/infer", json={"inputs": inputs}))
    (asked,) = service.nodes["reviewer"].asked
    service.stop()
    seen = json.loads(found["evidence"])["near"]["outputs"]["items"]
    given = {each["name"]: each["data"] for each in json.loads(bytes(asked.body))["inputs"]}
    assert given["near.items"] == seen == ids(search(still, query="red wool coat"))


def test_a_request_may_want_fewer_items_and_many_records_are_answered_as_one_each(still: Server) -> None:
    assert len(ids(search(still, query="navy silk dress", k=3))) == 3
    queries = ["navy silk dress", "rust velvet bag", ""]
    found = still.client.post("/v1/models/stock:predict", json={"instances": [{"query": each} for each in queries]})
    assert found.status_code == 400  # nothing can be told from an empty text: it has no letters
    found = still.client.post("/v1/models/stock:predict", json={"instances": [{"query": each} for each in queries[:2]]})
    assert [ids(each) for each in found.json()["predictions"]] == [
        ids(search(still, query=each)) for each in queries[:2]
    ]


def test_v2_answers_are_tensors_and_its_documents_name_them(still: Server) -> None:
    body = {"inputs": [{"name": "query", "shape": [1], "datatype": "BYTES", "data": ["red wool coat"]}]}
    answer = still.infer(body).json()
    tensors = {each["name"]: each for each in answer["outputs"]}
    assert tensors["items"]["shape"] == [1, 10] and tensors["items"]["datatype"] == "BYTES"
    assert tensors["items"]["data"] == search(still, query="red wool coat")["items"]
    metadata = still.client.get("/v2/models/stock").json()
    assert {"query", "filter_category", "filter_price_max", "k"} <= {each["name"] for each in metadata["inputs"]}
    document = still.client.get("/openapi.json").text
    assert "filter_category" in document and "vector_rank" in document and "/v2/models/stock/items" in document


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"query": "coat", "filter_category": ["hats"]}, "filter_category"),
        ({"query": "coat", "filter_price_min": "cheap"}, "filter_price_min"),
        ({"query": "coat", "filter_colour": ["red"]}, "unknown field"),
        ({"query": "coat", "k": 11}, "k"),
        ({"query": "coat", "filter_listed_at_min": 1e30}, "seconds since 1970"),
        ({"query": "coat" * 100}, "query"),
        ({}, "query"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_that_is_none_is_the_callers_mistake(still: Server, asked: dict[str, Any], said: str) -> None:
    found = still.client.post("/v1/models/stock:predict", json={"instances": [asked]})
    assert found.status_code == 400 and said in found.text


def test_an_item_that_is_put_in_is_found_and_one_that_is_deleted_is_not(server: Server) -> None:
    change(server, put=[item("n1", "camel cashmere cape")])
    assert ids(search(server, query="camel cashmere cape"))[0] == "n1"
    change(server, put=[item("n1", "camel cashmere cape", price=499.0)])
    assert "n1" not in ids(search(server, query="camel cashmere cape", filter_price_max=100))
    change(server, delete=["n1"])
    assert "n1" not in ids(search(server, query="camel cashmere cape"))
    gone = ids(search(server, query="red wool coat"))
    change(server, delete=gone)
    assert not set(gone) & set(ids(search(server, query="red wool coat")))
    assert server.metric("hallmark_items") == len(STOCK) - len(gone)
    assert server.metric("hallmark_item_changes_total", kind="delete") == 1 + len(gone)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "expected items to put"),
        ({"put": [{"item_id": "x"}]}, "title"),
        ({"put": [item("x", category="hats")]}, "category"),
        ({"put": [item("x", price="dear")]}, "price"),
        ({"put": [item("x"), item("x")]}, "an id comes twice"),
        ({"put": [item("x")], "delete": ["x"]}, "an id comes twice"),
        ({"put": [item("x", "")]}, "put[0]: the model makes no vector"),
        ({"delete": [7]}, "expected ids"),
        ({"remove": ["x"]}, "unknown field"),
        ({"delete": [str(each) for each in range(1001)]}, "at most 1000"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_changes_that_are_none_change_nothing(still: Server, body: dict[str, Any], said: str) -> None:
    before = search(still, query="red wool coat")
    found = still.client.post("/v2/models/stock/items", json=body)
    assert found.status_code == 400 and said in found.text
    assert search(still, query="red wool coat") == before


@pytest.mark.slow
def test_items_are_not_changed_through_the_gateway_nor_where_nothing_is_declared(
    server: Server, stock: tuple[Path, str], start: Callable[..., Server]
) -> None:
    through = server.client.post(
        "/v2/models/stock/items", json={"delete": ["i1"]}, headers={"x-hallmark-request-id": "1"}
    )
    assert through.status_code == 403 and "never through the gateway" in through.text
    assert server.client.get("/v2/models/stock/items").status_code == 405
    assert server.client.post("/v2/models/stock/%69tems", json={"delete": ["i1"]}).status_code == 404
    assert server.client.post("/v2/models/other/items", json={"delete": ["i1"]}).status_code == 404
    closed = start(stock[0], "stock", notice=0)
    closed.wait_ready()
    assert closed.client.post("/v2/models/stock/items", json={"delete": ["i1"]}).status_code == 403


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False], ids=["with its state", "with the log alone"])
def test_changes_outlive_a_kill(stock: tuple[Path, str], tmp_path: Path, kept: bool) -> None:
    flags = [f"--state={tmp_path / 'state'}"] if kept else []
    first = served(stock, tmp_path / "changes", *flags)
    change(first, put=[item(f"n{number}", f"camel cashmere cape {number}") for number in range(300)])
    change(first, delete=["n7", "i3"])
    first.process.kill()
    first.stop()
    again = served(stock, tmp_path / "changes", *flags)
    assert again.metric("hallmark_items") == len(STOCK) + 300 - 2
    found = ids(search(again, query="camel cashmere cape 7"))
    assert len(found) == 10 and "n7" not in found and all(each.startswith("n") for each in found)
    assert again.stop() == 0


@pytest.mark.slow
def test_another_version_beside_it_takes_the_same_changes_with_its_own_vectors(
    stock: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "candidate"
    digest = stock_folder(folder, STOCK, seed=11)
    stable, candidate = served(stock, tmp_path / "changes"), served((folder, digest), tmp_path / "changes")
    change(stable, put=[item("n1", "camel cashmere cape")])
    until = time.monotonic() + 1.0
    while "n1" not in ids(search(candidate, query="camel cashmere cape")):
        assert time.monotonic() < until, "not found within fresh"
    change(candidate, delete=["n1"])
    assert "n1" not in ids(search(stable, query="camel cashmere cape"))
    late = served((folder, digest), tmp_path / "changes")
    assert "n1" not in ids(search(late, query="camel cashmere cape"))
    for each in (stable, candidate, late):
        assert each.stop() == 0


@pytest.mark.parametrize(
    "body",
    [{"put": [5]}, {"put": ["x"]}, {"put": [None]}, {"put": [[]]}, {"delete": ["w" * 600]}, {"put": [item("w" * 600)]}],
)
def test_ids_and_items_that_are_none_are_the_callers_mistake(still: Server, body: dict[str, Any]) -> None:
    found = still.client.post("/v2/models/stock/items", json=body)
    assert found.status_code == 400, found.text


def test_many_that_are_put_in_at_once_are_all_found_at_the_acknowledgement(server: Server) -> None:
    change(
        server,
        put=[item(f"n{number}", f"camel cashmere cape {number}", price=1000.0 + number) for number in range(1000)],
    )
    assert server.metric("hallmark_items") == len(STOCK) + 1000
    assert ids(search(server, query="camel cashmere cape", filter_price_min=1998.5)) == ["n999"]


@pytest.mark.slow
def test_a_deletion_is_kept_where_the_item_comes_back_as_what_this_version_cannot_read(
    stock: tuple[Path, str], tmp_path: Path
) -> None:
    """A server that replays a log into which another version's server wrote what this one refuses."""
    log = change_log.connect(f"file://{tmp_path / 'changes'}")
    log.append([change_log.ItemChange("i3", 1.0), change_log.ItemChange("i3", 2.0, item("i3", price="dear"))])
    log.append([change_log.ItemChange("i5", 3.0), change_log.ItemChange("w" * 600, 4.0)])
    found = served(stock, tmp_path / "changes")
    assert found.metric("hallmark_items") == len(STOCK) - 2
    assert found.stop() == 0


@pytest.mark.slow
def test_a_cached_answer_does_not_outlive_a_deletion_at_another_server(stock: tuple[Path, str], tmp_path: Path) -> None:
    one, other = served(stock, tmp_path / "changes"), served(stock, tmp_path / "changes", cache=1_000_000)
    for name in [f"n{number}" for number in range(20)]:
        change(one, put=[item(name, "camel cashmere cape")])
        until = time.monotonic() + 5.0
        while name not in ids(search(other, query="camel cashmere cape")):
            assert time.monotonic() < until
        search(other, query="camel cashmere cape")
        change(one, delete=[name])
        assert name not in ids(search(other, query="camel cashmere cape"))
    assert (one.stop(), other.stop()) == (0, 0)


@pytest.mark.slow
def test_a_log_that_was_brought_back_older_than_the_state_is_told(stock: tuple[Path, str], tmp_path: Path) -> None:
    first = served(stock, tmp_path / "changes", f"--state={tmp_path / 'state'}")
    change(first, put=[item("n1", "camel cashmere cape")])
    shutil.copytree(tmp_path / "changes", tmp_path / "backup")
    change(first, delete=["n1"])
    change(first, put=[item("n2", "camel cashmere cape")])
    assert first.stop() == 0
    shutil.rmtree(tmp_path / "changes")
    shutil.move(tmp_path / "backup", tmp_path / "changes")
    env = {"HALLMARK_MODEL_DIGEST": stock[1], "HALLMARK_CHANGES": f"file://{tmp_path / 'changes'}"}
    again = Server(stock[0], "stock", f"--state={tmp_path / 'state'}", notice=0, env=env, **CHANGES)
    assert again.process.wait(60) == 1
    again.stop()
    assert "have all of the log read again" in again.errors


def ready(server: Server) -> int:
    return server.client.get("/v2/health/ready").status_code


def until(done: Callable[[], bool], *, seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.slow
def test_a_server_whose_log_cannot_be_read_is_not_ready_until_it_can(stock: tuple[Path, str], tmp_path: Path) -> None:
    server = served(stock, tmp_path / "changes", cache=1)
    change(server, put=[item("n1", "camel cashmere cape")])
    (segment,) = (tmp_path / "changes" / "0").glob("*.log")
    whole = segment.read_bytes()
    with segment.open("ab") as stream:
        stream.write(b"\1\0\0\0????" + b"bytes that no writer wrote")
    until(lambda: ready(server) == 503)
    asked = {"instances": [{"query": "camel cashmere cape"}]}
    for path, body in (("/v1/models/stock:predict", asked), ("/v2/models/stock/items", {"delete": ["n1"]})):
        refused = server.client.post(path, json=body)
        assert refused.status_code == 503 and "items" in refused.text
    assert server.metric("hallmark_item_changes_total", kind="failed") >= 1
    segment.write_bytes(whole)
    until(lambda: ready(server) == 200)
    assert "n1" in ids(search(server, query="camel cashmere cape"))
    change(server, delete=["n1"])
    assert server.stop() == 0
    assert "is damaged at byte" in server.errors and "Traceback" not in server.errors


@pytest.mark.slow
def test_a_deleted_item_is_never_answered_after_the_acknowledgement_under_load(server: Server) -> None:
    names = [f"n{number}" for number in range(60)]
    change(server, put=[item(each, "camel cashmere cape") for each in names])
    acknowledged: set[str] = set()
    wrong: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            known = set(acknowledged)
            wrong.extend(known & set(ids(search(server, query="camel cashmere cape"))))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for each in asking:
        each.start()
    for name in names:
        change(server, delete=[name])
        acknowledged.add(name)
    ended.set()
    for each in asking:
        each.join()
    assert wrong == []


@pytest.mark.slow
def test_live_queries_are_run_again_exactly_and_counted_by_what_their_filters_leave(server: Server) -> None:
    for _ in range(5):
        search(server, query="red wool coat")
        search(server, query="red wool coat", filter_category=["coats"])
        search(server, query="red wool coat", filter_category=["coats"], filter_price_min=470)
        time.sleep(0.05)
    time.sleep(0.2)
    for selectivity in ("overall", "10%", "1%"):
        assert server.metric("hallmark_recall_checked_total", selectivity=selectivity) == 5
        wanted = server.metric("hallmark_recall_wanted_total", selectivity=selectivity)
        assert server.metric("hallmark_recall_found_total", selectivity=selectivity) == wanted == 50


def test_serving_py_orders_the_candidates(tmp_path: Path, start: Callable[..., Server]) -> None:
    cheap = (
        "import numpy as np\n\n\ndef order(record, candidates, scores):\n    return np.argsort(candidates['price'])\n"
    )
    folder = tmp_path / "model"
    stock_folder(folder, STOCK[:200], serving=cheap)
    found = start(folder, "stock", notice=0)
    found.wait_ready()
    prices = {each["item_id"]: each["price"] for each in STOCK}
    answered = [prices[each] for each in ids(search(found, query="red wool coat"))]
    assert answered == sorted(answered)


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["[0, 0]", "[-1]", "[99]", "[[0]]"])
def test_an_order_that_is_none_is_the_models_fault(tmp_path: Path, start: Callable[..., Server], answer: str) -> None:
    folder = tmp_path / "model"
    stock_folder(folder, STOCK[:30], serving=f"def order(record, candidates, scores):\n    return {answer}\n")
    found = start(folder, "stock", notice=0)
    found.wait_ready()
    refused = found.client.post("/v1/models/stock:predict", json={"instances": [{"query": "red wool coat"}]})
    assert refused.status_code == 500 and "order gave something else" in refused.text


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / INDEX).iterdir())


def test_a_byte_of_any_part_of_the_unit_that_is_another_is_refused(stock: tuple[Path, str], tmp_path: Path) -> None:
    names = [f"{INDEX}/{name}" for name in parts(stock[0])] + ["encoder.onnx", "model.onnx", "features.py"]
    assert len(names) >= 6
    for name in names:
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(stock[0], folder)
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        with pytest.raises(ModelRefused, match="was changed"):
            bundle.read(folder, expected=stock[1])
        shutil.rmtree(folder)


def test_what_is_beside_the_manifest_or_never_loaded_is_refused(stock: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(stock[0], folder)
    (folder / INDEX / "more.npy").write_bytes(b"x")
    with pytest.raises(ModelRefused, match=r"index/more\.npy is in the model folder and not in its manifest"):
        bundle.read(folder, expected=None)
    (folder / INDEX / "more.npy").rename(folder / INDEX / "more.pickle")
    seal(folder)
    with pytest.raises(ModelRefused, match=r"'index/more\.pickle' is never loaded"):
        bundle.read(folder, expected=None)
    (folder / INDEX / "more.pickle").unlink()
    (folder / INDEX).rename(tmp_path / "elsewhere")
    (folder / INDEX).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelRefused):
        bundle.read(folder, expected=stock[1])


def refusal(folder: Path) -> str:
    """What the server says that does not serve this folder."""
    command = [sys.executable, "-m", "inference_services.runtime", "--model-name=stock", f"--model-dir={folder}"]
    command.append(f"--http-port={free_port()}")
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3, ended.stderr
    return ended.stderr


def test_an_index_of_another_encoder_of_the_same_dimension_is_refused(stock: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(stock[0], folder)
    (folder / "encoder.onnx").write_bytes(encoder(seed=99))
    seal(folder)
    said = refusal(folder)
    assert "ModelRefused: the index was made by another" in said


def test_an_index_of_other_preprocessing_is_refused(stock: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(stock[0], folder)
    features = folder / "features.py"
    features.write_text(features.read_text(encoding="utf-8").replace(".lower()", ""), encoding="utf-8")
    seal(folder)
    said = refusal(folder)
    assert "ModelRefused: the index was made by another" in said


def test_a_folder_without_its_index_is_refused(tmp_path: Path) -> None:
    stock_folder(tmp_path / "model", STOCK[:30], index=False)
    assert "got: no index" in refusal(tmp_path / "model")


def test_a_unit_that_names_another_encoder_is_refused_whatever_its_vectors(
    stock: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(stock[0], folder)
    unit = folder / INDEX / "unit.json"
    told = json.loads(unit.read_text(encoding="utf-8"))
    unit.write_text(json.dumps({**told, "encoder": "sha256:" + "0" * 64}), encoding="utf-8")
    seal(folder)
    said = refusal(folder)
    assert "ModelRefused: the index was made by another" in said
