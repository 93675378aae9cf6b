"""The store: what survives, what conflicts, what watchers see."""

from __future__ import annotations

import asyncio
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from hallmark.errors import Unavailable
from local_cluster import feed as feeds
from local_cluster import store as stores
from local_cluster.feed import FellBehind
from local_cluster.store import AlreadyExists, Missing, ObjectStore, Stale, StoreChange, Terminating, TooOld


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def service(name: str = "fraud", **predictor: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "fraud"},
        "spec": {"predictor": predictor},
    }


def settings(name: str = "c", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "fraud"},
        "data": data,
    }


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = ObjectStore(tmp_path / "objects.db")
    made.create(namespace("fraud"))
    yield made
    made.close()


def test_objects_and_versions_survive_a_restart(tmp_path: Path) -> None:
    first = ObjectStore(tmp_path / "objects.db")
    first.create(namespace("fraud"))
    made = first.create(service())
    version = int(first.version)
    first.close()
    again = ObjectStore(tmp_path / "objects.db")
    assert again.get("inferenceservices", "fraud", "fraud") == made
    assert int(again.version) == version
    assert int(again.create(settings())["metadata"]["resourceVersion"]) == version + 1
    again.close()


def test_the_file_is_for_its_user_only(tmp_path: Path) -> None:
    ObjectStore(tmp_path / "objects.db").close()
    assert stat.S_IMODE((tmp_path / "objects.db").stat().st_mode) == 0o600


def test_a_second_owner_is_refused(store: ObjectStore) -> None:
    with pytest.raises(Unavailable, match="cannot be opened"):
        ObjectStore(store.path)


def test_a_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "objects.db").write_bytes(b"this is not a database, and it is long enough to be looked at" * 20)
    with pytest.raises(Unavailable, match="cannot be opened"):
        ObjectStore(tmp_path / "objects.db")


def test_a_name_is_taken_once_and_needs_its_namespace(store: ObjectStore) -> None:
    store.create(service())
    with pytest.raises(AlreadyExists):
        store.create(service())
    with pytest.raises(Missing, match='namespaces "nowhere" not found'):
        store.create({**service(), "metadata": {"name": "fraud", "namespace": "nowhere"}})


def test_generated_names_differ(store: ObjectStore) -> None:
    made = [store.create({**settings(), "metadata": {"generateName": "run-", "namespace": "fraud"}}) for _ in range(3)]
    names = {each["metadata"]["name"] for each in made}
    assert len(names) == 3
    assert all(name.startswith("run-") for name in names)


def test_generation_counts_changes_of_the_spec_only(store: ObjectStore) -> None:
    store.create(service(minReplicas=1))

    def labelled(obj: dict[str, Any]) -> dict[str, Any]:
        obj["metadata"]["labels"] = {"a": "b"}
        return obj

    assert store.modify("inferenceservices", "fraud", "fraud", labelled)["metadata"]["generation"] == 1
    status = store.update_status("inferenceservices", "fraud", "fraud", {"url": "http://x"})
    assert status["metadata"]["generation"] == 1
    status["spec"]["predictor"]["minReplicas"] = 2
    updated = store.update(status)
    assert updated["metadata"]["generation"] == 2
    assert updated["status"] == {"url": "http://x"}


def test_update_leaves_the_status_and_the_identity_alone(store: ObjectStore) -> None:
    made = store.create(service())
    store.update_status("inferenceservices", "fraud", "fraud", {"url": "http://x"})
    forged = {**service(minReplicas=3), "status": {"url": "http://elsewhere"}}
    forged["metadata"] |= {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 99}
    updated = store.update(forged)
    assert updated["status"] == {"url": "http://x"}
    assert updated["metadata"]["uid"] == made["metadata"]["uid"]
    assert updated["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    assert updated["metadata"]["generation"] == 2


def test_what_changes_nothing_writes_nothing(store: ObjectStore) -> None:
    made = store.create(service(minReplicas=1))
    store.update_status("inferenceservices", "fraud", "fraud", {"url": "http://x"})
    before = store.version
    store.update_status("inferenceservices", "fraud", "fraud", {"url": "http://x"})
    store.update(service(minReplicas=1))
    assert store.version == before
    with pytest.raises(Stale):
        store.update(made)


def test_what_is_given_out_is_a_copy(store: ObjectStore) -> None:
    made = store.create(service(minReplicas=1))
    made["spec"]["predictor"]["minReplicas"] = 9
    listed, _ = store.list("inferenceservices")
    listed[0]["spec"].clear()
    assert store.get("inferenceservices", "fraud", "fraud")["spec"]["predictor"]["minReplicas"] == 1


def test_a_dry_run_keeps_nothing(store: ObjectStore) -> None:
    before = store.version
    assert store.create(service(), dry_run=True)["metadata"]["uid"]
    with pytest.raises(Missing):
        store.get("inferenceservices", "fraud", "fraud")
    assert store.version == before


def test_a_delete_with_preconditions_takes_only_what_was_meant(store: ObjectStore) -> None:
    store.create(settings())
    with pytest.raises(Stale, match="UID in precondition"):
        store.delete("configmaps", "fraud", "c", uid="another")
    store.delete("configmaps", "fraud", "c")
    with pytest.raises(Missing):
        store.delete("configmaps", "fraud", "c")


def test_finalizers_hold_an_object_until_they_are_gone(store: ObjectStore) -> None:
    held = settings()
    held["metadata"]["finalizers"] = ["hallmark.dev/hold"]
    store.create(held)
    marked = store.delete("configmaps", "fraud", "c")
    assert marked["metadata"]["deletionTimestamp"]
    marked["metadata"]["finalizers"] = []
    store.update(marked)
    with pytest.raises(Missing):
        store.get("configmaps", "fraud", "c")


def test_a_namespace_goes_with_everything_in_it(store: ObjectStore) -> None:
    seen: list[tuple[str, str]] = []
    store.create(service())
    store.create(settings())
    store.subscribe(lambda change: seen.append((change.type, change.kind)))
    store.delete("namespaces", "", "fraud")
    assert store.list("inferenceservices")[0] == store.list("configmaps")[0] == []
    assert seen[-1] == ("DELETED", "namespaces")
    with pytest.raises(Missing):
        store.create(settings())


def test_nothing_is_made_in_a_namespace_that_is_going(store: ObjectStore) -> None:
    held = settings()
    held["metadata"]["finalizers"] = ["hallmark.dev/hold"]
    store.create(held)
    store.delete("namespaces", "", "fraud")
    assert store.get("namespaces", "", "fraud")["status"]["phase"] == "Terminating"
    with pytest.raises(Terminating):
        store.create(service())
    assert store.record(held | {"metadata": held["metadata"] | {"uid": "u"}}, "Normal", "R", "m") is None
    released = store.get("configmaps", "fraud", "c")
    released["metadata"]["finalizers"] = []
    store.update(released)
    with pytest.raises(Missing):
        store.get("namespaces", "", "fraud")


def test_the_same_event_is_counted_not_repeated(store: ObjectStore) -> None:
    made = store.create(service())
    for _ in range(3):
        store.record(made, "Warning", "Failed", "the model does not load")
    store.record(made, "Normal", "Created", "made a revision")
    theirs = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "fraud"}, "reason": "Other"}
    store.create(theirs)
    store.record(made, "Normal", "Created", "made a revision")
    store.delete("events", "fraud", "e")
    events, _ = store.list("events", namespace="fraud")
    assert sorted((event["reason"], event["count"]) for event in events) == [("Created", 2), ("Failed", 3)]


def test_events_are_bounded(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "EVENT_LIMIT", 10)
    made = store.create(service())
    for number in range(30):
        store.record(made, "Normal", "Each", str(number))
    assert len(store.list("events")[0]) <= 11


def test_twenty_writers_of_one_version_have_one_winner(store: ObjectStore) -> None:
    store.create(service(minReplicas=0))
    for round_ in range(25):
        current = store.get("inferenceservices", "fraud", "fraud")
        outcomes: list[str] = []
        barrier = threading.Barrier(20)

        def write(
            number: int, current: Any = current, barrier: Any = barrier, outcomes: Any = outcomes, at: int = round_
        ) -> None:
            mine = {**current, "spec": {"predictor": {"minReplicas": at * 100 + number + 1}}}
            barrier.wait()
            try:
                outcomes.append(store.update(mine)["metadata"]["resourceVersion"])
            except Stale:
                outcomes.append("")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [version for version in outcomes if version]
        assert won == [store.get("inferenceservices", "fraud", "fraud")["metadata"]["resourceVersion"]]


def test_writers_who_try_again_lose_nothing(store: ObjectStore) -> None:
    store.create(settings(count="0"))

    def add() -> None:
        for _ in range(20):
            while True:
                current = store.get("configmaps", "fraud", "c")
                current["data"]["count"] = str(int(current["data"]["count"]) + 1)
                try:
                    store.update(current)
                    break
                except Stale:
                    continue

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("configmaps", "fraud", "c")["data"]["count"] == "160"


def test_a_watch_replays_what_came_since_and_follows_other_threads(store: ObjectStore) -> None:
    async def scenario() -> list[tuple[str, str]]:
        since = store.version
        store.create(service("before"))
        feed = store.watch("inferenceservices", namespace="fraud", since=since)
        thread = threading.Thread(target=lambda: (store.create(service("after")), store.create(settings())))
        thread.start()
        seen = [await feed.next(5) for _ in range(2)]
        await asyncio.to_thread(thread.join)
        assert await feed.next(0.01) is None, "other kinds are not seen"
        feed.close()
        return [(each.type, each.object["metadata"]["name"]) for each in seen if each]

    assert asyncio.run(scenario()) == [("ADDED", "before"), ("ADDED", "after")]


def test_a_version_that_is_forgotten_or_never_was_is_too_old(store: ObjectStore, tmp_path: Path) -> None:
    async def scenario() -> None:
        first = store.version
        for number in range(stores.HISTORY + 1):
            store.update_status("namespaces", "", "fraud", {"phase": "Active", "number": number})
        for since in (first, str(int(store.version) + 1)):
            with pytest.raises(TooOld):
                store.watch("inferenceservices", since=since)
        store.watch("inferenceservices", since=str(int(store.version) - stores.HISTORY)).close()

    asyncio.run(scenario())


def test_a_reader_that_falls_behind_is_told(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LIMIT", 3)

    async def scenario() -> None:
        feed = store.watch("configmaps")
        for number in range(5):
            store.create(settings(f"c{number}"))
        for _ in range(3):
            assert await feed.next(1)
        with pytest.raises(FellBehind):
            await feed.next(1)
        feed.close()

    asyncio.run(scenario())


def test_closing_ends_the_watches(tmp_path: Path) -> None:
    async def scenario() -> list[StoreChange]:
        opened = ObjectStore(tmp_path / "objects.db")
        feed = opened.watch("namespaces")
        opened.create(namespace("fraud"))
        opened.close()
        return [change async for change in feed]

    assert [change.type for change in asyncio.run(scenario())] == ["ADDED"]


def test_subscribers_see_every_change_in_order(store: ObjectStore) -> None:
    versions: list[int] = []
    end = store.subscribe(lambda change: versions.append(change.version))
    threads = [
        threading.Thread(target=lambda at=at: [store.create(settings(f"c{at}-{number}")) for number in range(20)])
        for at in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end()
    store.create(settings("unseen"))
    assert len(versions) == 100
    assert versions == sorted(versions)
