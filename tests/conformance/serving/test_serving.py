"""Real KServe in Standard mode runs our real model server and drift monitor, as processes of a node."""

from __future__ import annotations

import httpx

from hallmark.object_labels import is_ready
from hallmark.rollout.writer import condition
from tests.conformance import installed
from tests.conformance.serving.serving import Serving
from tests.local_cluster.real_model import NAME


def test_our_runtime_gets_ready_and_answers(served: Serving) -> None:
    with served.at_rest(served.model(1)) as writer:
        live = writer.live(NAME)
        assert live is not None and condition(live, "Ready") == "True"
        body = served.load(rate=1).bodies[0]
        answer = httpx.post(served.url, content=body, trust_env=False, timeout=10)
        assert (answer.status_code, answer.headers["x-hallmark-variant"]) == (200, "stable")
        assert 0.5 <= answer.json()["outputs"][0]["data"][0] <= 1
        minimum = served.world.domain.serving.replicas.minimum
        # KServe leaves the second to its HPA, which looks every 15 s.
        installed.until(lambda: len([*filter(is_ready, writer.pods(NAME))]) == minimum, what="all pods ready")
        pods = writer.pods(NAME)
        for pod in pods:
            told = {each["name"]: each["ready"] for each in pod["status"]["containerStatuses"]}
            assert told == {"kserve-container": True, "drift-monitor": True}
        # Its log comes from the node, through the API server, as kubectl asks for it.
        path = (
            f"/api/v1/namespaces/{NAME}/pods/{pods[0]['metadata']['name']}/log?container=kserve-container&tailLines=1"
        )
        log = served.stack.api.client.get(path)
        assert log.is_success and len(log.text.splitlines()) == 1
        # The monitor beside the server that answered has captured it, and is reached through the API server's proxy.
        installed.until(
            lambda: any(b'"row"' in writer.sidecar(each, "answers?after=0&limit=9") for each in pods),
            what="the answer in a monitor",
        )
