"""The graph of a search: rounds of tries, each a pod, and what they find."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import yaml

from hallmark.declaration import domain as domains
from hallmark.training.tuning_steps import RemoteStudy, RemoteTry, choose, propose
from pipelines import tuning
from pipelines.tuning import compile_to

OPTION = ["num_leaves=15..63", "learning_rate=0.05..0.2", "rounds=10"]
SEARCH = {"option": OPTION, "tries": 5, "at_once": 2}


@pytest.mark.slow
def test_a_search_is_rounds_of_one_component_each_proposed_from_those_before(tmp_path: Path) -> None:
    compile_to(tmp_path / "graph.yaml", "fraud", search=json.dumps(SEARCH))
    spec, platform = (each for each in yaml.safe_load_all((tmp_path / "graph.yaml").read_text()) if each)
    assert spec["pipelineInfo"]["name"] == "fraud-tuning"
    tasks = spec["root"]["dag"]["tasks"]
    loops = {name: each for name, each in tasks.items() if "parameterIterator" in each}
    assert len(loops) == 3, "5 tries, 2 at once"
    counts = [
        tasks[name]["inputs"]["parameters"]["count"]["runtimeValue"]["constant"]
        for name in ("propose", "propose-2", "propose-3")
    ]
    assert counts == [2, 2, 1]
    assert tasks["propose-2"]["inputs"]["artifacts"]["before"]["taskOutputArtifact"]["producerTask"] == "propose"
    assert set(tasks["choose"]["dependentTasks"]) >= {"propose-3", "judge-declared"}
    executors = spec["deploymentSpec"]["executors"]
    tries = [name for name in executors if name.startswith("exec-try-options")]
    commands = {json.dumps(executors[name]["container"]["command"]) for name in tries}
    assert len(tries) == 3 and len(commands) == 1, "one component"
    domain = domains.load("fraud")
    for name in tries:
        assert executors[name]["container"]["resources"]["resourceMemoryLimit"] == domain.training.memory, name
        assert platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][name]["securityContext"][
            "runAsNonRoot"
        ]


def test_what_is_proposed_lies_in_the_ranges_and_the_same_tries_lead_to_the_same(tmp_path: Path) -> None:
    def asked(ended: list[str], before: Path | None, name: str) -> list[dict[str, float]]:
        found = propose.function(
            "fraud", seed=7, option=OPTION, count=4, ended=ended, before=before, study=tmp_path / name
        )  # fmt: skip
        return [json.loads(each) for each in found]

    first = asked([], None, "one")
    assert first == asked([], None, "again")
    ended = [RemoteTry(options=each, value=0.5 + each["learning_rate"], gain=0.0).model_dump_json() for each in first]
    ended += [RemoteTry(options=first[0] | {"num_leaves": 16}, note="no").model_dump_json()]
    for round_ in range(4):
        more = asked(ended, tmp_path / ("one" if not round_ else f"round{round_ - 1}"), f"round{round_}")
        for each in [*first, *more]:
            assert isinstance(each["num_leaves"], int) and 15 <= each["num_leaves"] <= 63
            assert 0.05 <= each["learning_rate"] <= 0.2
        ended = [
            RemoteTry(options=each, value=0.5 + each["learning_rate"], gain=0.0).model_dump_json() for each in more
        ]
    study = RemoteStudy.model_validate_json((tmp_path / "round3").read_bytes())
    assert len(study.tries) == 5 + 3 * 4
    assert len({tuple(each.options.values()) for each in study.tries}) == 17, "no place is tried twice"


def test_the_best_is_told_with_whether_chance_makes_as_much(tmp_path: Path) -> None:
    (tmp_path / "declared").write_text(json.dumps({"value": 0.5, "error": 0.01}))
    (tmp_path / "before").write_text(RemoteStudy(metric="average_precision", higher=True).model_dump_json())

    def told(*tries: RemoteTry) -> str:
        return choose.function(
            "fraud", ended=[each.model_dump_json() for each in tries], before=tmp_path / "before",
            declared=tmp_path / "declared", study=tmp_path / "study", summary=tmp_path / "summary.md",
        )  # fmt: skip

    worse = RemoteTry(options={"rounds": 1}, value=0.4, error=0.01, gain=-0.1, gain_error=0.01)
    better = RemoteTry(options={"rounds": 9}, value=0.6, error=0.01, gain=0.1, gain_error=0.01)
    failed = RemoteTry(options={"rounds": -1}, note="rounds has to be positive: -1")
    assert told(worse, failed) == "none of 2 tries is better than the declared options by average_precision"
    assert (
        told(worse, better) == "rounds=9 gains 0.1000 of average_precision on the declared options: the best of 2 tries"
    )
    assert "chance alone" in told(better.model_copy(update={"gain_error": 0.2}))
    told(worse, better, failed)
    table = (tmp_path / "summary.md").read_text()
    assert table.index("rounds=9") < table.index("rounds=1 ") < table.index("rounds has to be positive")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*no effect in the current local runner:UserWarning")
def test_the_graph_runs_here_and_the_study_has_every_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kfp import local

    monkeypatch.setenv("HALLMARK_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("HALLMARK_RUN", raising=False)
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(tmp_path / "artifacts"),
        workspace_root=tempfile.mkdtemp(dir=tmp_path),
        raise_on_error=True,
    )
    search = SEARCH | {"option": ["num_leaves=15..63", "rounds=10"], "tries": 3}
    graph = tuning.pipeline(domains.load("fraud"), scheduled="", retries=False, **search)  # type: ignore[arg-type]
    graph(as_of="2026-09-01T00:00:00+00:00", window="12d")
    (study,) = (tmp_path / "artifacts").glob("**/choose/**/study")
    found = RemoteStudy.model_validate_json(study.read_bytes())
    assert len(found.tries) == 3 and all(each.value is not None and each.gain_error is not None for each in found.tries)
