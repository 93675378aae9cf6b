"""A revision's pod: its processes, the ports and folders that stand for its own, and the Pod object that shows it."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hallmark import object_labels
from hallmark.leash import Leash
from hallmark.settings import CHANGES, FEATURE_STORE
from local_cluster import containers, predictor, revisions, streams, volumes
from local_cluster.revisions import Revision
from local_cluster.routes import PodAddress
from local_cluster.supervisor import Pod

Json = dict[str, Any]
Key = tuple[str, str]

WARM_ANNOTATION = "hallmark.dev/warm-until"
PORTS_ANNOTATION = "hallmark.dev/ports"
"""Where this machine answers for the pod's ports: `8080=127.0.0.1:41223, …`. Kubernetes has nothing of the kind: a pod has an address of its own."""


class RunningPod:
    """A revision of service `key` (namespace, name) with its pod; `ports` maps the pod's ports to this machine's."""

    def __init__(
        self, key: Key, revision: Revision, *, pod: Pod, ports: dict[int, int], write_volumes: Callable[[], None]
    ) -> None:
        self.key = key
        self.revision = revision
        self.pod = pod
        self.ports = ports
        self.write_volumes = write_volumes
        self.draining: asyncio.Task[None] | None = None

    @property
    def address(self) -> PodAddress:
        """The address at which the gateway reaches it."""
        main = self.revision.template["containers"][0]
        port = containers.http_port(main)
        return PodAddress(port=self.ports.get(port, port))

    def object(self, variant: str, *, warm_until: float = 0.0) -> Json:
        """The Pod object, without its status; `variant` is stable or canary, or empty while it has no part in the traffic.

        warm_until: when the pod of a former stable revision ends, in seconds of the epoch; 0 for others.
        """
        template, service = self.revision.template, self.key[1]
        labels = {
            **template["labels"],
            "serving.kserve.io/inferenceservice": service,
            **_labels(self.revision, service),
            "component": predictor.COMPONENT,
            **({object_labels.VARIANT: variant} if variant else {}),
        }
        spec = {"containers": template["containers"], "volumes": template["volumes"], "nodeName": "cluster-of-one"}
        account = template["serviceAccountName"]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.pod.name,
                "namespace": self.key[0],
                "labels": labels,
                "annotations": {
                    **template["annotations"],
                    **({WARM_ANNOTATION: _time(warm_until)} if warm_until else {}),
                    PORTS_ANNOTATION: ", ".join(f"{port}=127.0.0.1:{here}" for port, here in self.ports.items()),
                },
            },
            "spec": spec | ({"serviceAccountName": account} if account else {}),
        }


def make(
    key: Key,
    revision: Revision,
    *,
    folder: Path,
    models: Path,
    root: Path,
    taken: set[int],
    config_map: Callable[[str], Json | None],
    on: Leash,
    changed: Callable[[], None],
) -> RunningPod:
    """A pod of `revision`, not started yet. It gets a folder of its own in `folder`, and ports that are not `taken`."""
    template = revision.template
    # In Standard mode a revision's name is its ReplicaSet's already.
    made_by = revision.name if revision.deployment else f"{revision.name}-deployment-{revisions.digest(template)}"
    name = f"{made_by}-{secrets.token_hex(3)[:5]}"
    home = folder / name
    ports = containers.free_ports(containers.ports(template["containers"]), taken=taken)
    by_name = {str(c["name"]): c for c in template["containers"]}

    def write_volumes() -> None:
        for volume in template["volumes"]:
            volumes.materialise(volume, home / "volumes" / str(volume.get("name")), config_map)

    def plan(container: str) -> containers.ContainerPlan:
        # As KServe does, the model goes to the container that serves it and to no other; that one publishes what others need.
        mounts = (
            {volumes.MODELS_MOUNT: volumes.folder(template["storageUri"], models)}
            if container == containers.MAIN
            else {}
        )
        write_volumes()
        for mount in by_name[container].get("volumeMounts") or []:
            mounts[mount["mountPath"]] = home / "volumes" / mount["name"] / mount.get("subPath", "")
        environment = _platform(key, revision, name, home=home)
        return containers.plan(by_name[container], ports=ports, mounts=mounts, environment=environment, root=root)

    pod = Pod(
        name,
        template["containers"],
        main=containers.MAIN,
        plan=plan,
        folder=home,
        grace=template["timeoutSeconds"],
        on=on,
        changed=changed,
    )
    return RunningPod(key, revision, pod=pod, ports=ports, write_volumes=write_volumes)


def _platform(key: Key, revision: Revision, pod: str, *, home: Path) -> dict[str, str]:
    """Variables that Kubernetes, and in Knative mode Knative, put into each container's environment."""
    service = f"{key[1]}-{predictor.COMPONENT}"
    state = Path(os.environ.get("HALLMARK_STATE", ""))
    store = streams.following(os.environ.get(FEATURE_STORE, ""), state=state, begin=home)
    knative = {"K_REVISION": revision.name, "K_SERVICE": service, "K_CONFIGURATION": service}
    return {
        **({"HOSTNAME": pod} if revision.deployment else knative),
        "INFERENCE_SERVICE_NAME": key[1],
        "POD_NAME": pod,
        "POD_NAMESPACE": key[0],
        "POD_IP": "127.0.0.1",
        **({FEATURE_STORE: store} if store else {}),
        **({CHANGES: f"file://{(state / 'changes' / key[0]).resolve()}"} if state.name else {}),
    }


def _labels(revision: Revision, service: str) -> dict[str, str]:
    """Labels by which pods of a revision are found: Knative's, or in Standard mode KServe's."""
    if revision.deployment:
        return object_labels.of_deployment(revision.deployment)
    configuration = f"{service}-{predictor.COMPONENT}"
    return {
        object_labels.REVISION: revision.name,
        "serving.knative.dev/configuration": configuration,
        "serving.knative.dev/service": configuration,
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
