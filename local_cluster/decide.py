"""What decides in a domain, beside the local cluster: its reviewer's service and the service that decides, with the flags that pods have.

Units, prompts, pictures of references and a candidate's share are those that `hallmark render` writes for a cluster. Models are asked through the
local gateway and at the pods of their versions. Where another unit decides by now, or pods are at other ports, all of it is started anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import httpx

from hallmark.cli.console import say
from hallmark.decision import share as shares
from hallmark.decision import unit
from hallmark.decision.unit import Unit
from hallmark.errors import DeclarationError, HallmarkError, NotFound, TimedOut
from hallmark.leash import Leash
from hallmark.prompts.sealed import short
from hallmark.rollout.decision_units import records_of
from hallmark.settings import Settings
from local_cluster import containers
from local_cluster.processes import tail

STAND_IN = "stand-in"
LOOK = 1.0
"""Seconds between two looks at processes, units and pods."""
_GRACE = 10.0
_SAID = 2000


class Process(NamedTuple):
    """A process to start: its name, the module with its arguments, what its environment has besides, and the port that it answers at."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    port: int


class Plan(NamedTuple):
    """What is served: the processes, in the order in which they need each other, and the units that they are of."""

    processes: tuple[Process, ...]
    stable: Unit
    candidate: Unit | None


def plan(
    name: str,
    settings: Settings,
    *,
    llm: str,
    nodes: Mapping[str, str],
    ports: Sequence[int],
    crops: Sequence[Path] = (),
) -> Plan:
    """What serves a domain's units now.

    nodes: addresses that count instead of the cluster's.   crops: pictures of references that do instead of the versions' own.
    ports: of the service that decides, a reviewer, and the stand-in of its model.
    `NotFound` where no unit is sealed, or the local cluster is asked and does not run; `DeclarationError` where a reviewer has no model.
    """
    from hallmark.registry import unit_prompts

    stable, candidate = unit.there(name, settings), unit.there(name, settings, unit.CANDIDATE)
    if stable is None:
        raise NotFound(
            f"nothing decides in {name} yet",
            expected=f"a sealed unit at {settings.shown(unit.place(name, settings))}",
            got="none",
            fix=f"hallmark decision seal {name}",
        )
    both = [each for each in (stable, candidate) if each is not None]
    _known(nodes, both)
    reviewers = {
        node: part.service
        for each in both
        for node, part in each.parts.items()
        if each.decision.nodes[node].kind == "reviewer" and node not in nodes
    }
    pictures = {} if crops else _pictures(both, settings)
    shown = [f"--crops={folder}" for folder in crops or pictures.values()]
    references = {"HALLMARK_REFERENCES_DIGEST": ",".join(pictures)} if pictures else {}
    found, reviewed = list[Process](), ""
    if reviewers:
        if not llm:
            raise DeclarationError(
                f"{name}'s decision asks a reviewer, and nobody knows where its language model answers",
                expected="--llm with the address of an OpenAI-compatible server",
                got="nothing",
                fix=f"--llm {STAND_IN} looks at no picture, and shows that all around it works",
            )
        if llm == STAND_IN:
            found.append(Process(STAND_IN, ("local_cluster.chat_standin", f"--port={ports[2]}"), {}, ports[2]))
            llm = f"http://127.0.0.1:{ports[2]}"
        prompts = unit_prompts.served(name, settings)
        if not shown and any(each.prompt.of_kind("references") for each in prompts):
            raise NotFound(
                f"the reviewer of {name} has to cite references, and their pictures are not on this machine",
                expected="the unit's version in this registry, whose folder has them",
                got="none",
                fix="--crops with a folder of them",
            )
        asked = [f"--prompt={unit_prompts.place(name, settings, each.digest)}" for each in prompts]
        service = next(iter(reviewers.values()))
        flags = (f"--name={service}", f"--llm={llm}", f"--http-port={ports[1]}", "--host=127.0.0.1", *asked, *shown)
        digests = {"HALLMARK_PROMPT_DIGEST": ",".join(each.digest for each in prompts), **references}
        found.append(Process("reviewer", ("inference_services.reviewer", *flags), digests, ports[1]))
        reviewed = f"http://127.0.0.1:{ports[1]}"
    places = {
        service: list(_served(service, settings))
        for service in dict.fromkeys(
            part.service for each in both for node, part in each.parts.items() if node not in {*nodes, *reviewers}
        )
    }

    def addresses(of: Unit) -> Iterator[tuple[str, str]]:
        for node, part in of.parts.items():
            given = [nodes[node]] if node in nodes else [reviewed] if node in reviewers else places[part.service]
            yield from ((node, url) for url in given)

    where = [f"--node={node}={url}" for node, url in addresses(stable)]
    where += [f"--candidate-node={node}={url}" for node, url in addresses(candidate)] if candidate else []
    found.append(_deciding(name, settings, stable, candidate, [*where, *shown], references, port=ports[0]))
    return Plan(tuple(found), stable, candidate)


def _deciding(
    name: str,
    settings: Settings,
    stable: Unit,
    candidate: Unit | None,
    flags: list[str],
    references: Mapping[str, str],
    *,
    port: int,
) -> Process:
    """The service that decides.   flags: where its nodes are, and pictures of references.   references: digests of these, for its environment."""
    digests = {"HALLMARK_UNIT_DIGEST": stable.digest, **references}
    if candidate is not None:
        flags = [
            *flags,
            f"--candidate={unit.place(name, settings, unit.CANDIDATE)}",
            f"--share={shares.path(name, settings)}",
        ]
        digests["HALLMARK_CANDIDATE_DIGEST"] = candidate.digest
    return Process(
        "decision",
        (
            "inference_services.decision",
            f"--name={name}",
            f"--unit={unit.place(name, settings)}",
            f"--records={records_of(name, settings)}",
            f"--cases={settings.reviews}",
            f"--photos={settings.state / 'reviews' / 'photos'}",
            "--host=127.0.0.1",
            f"--http-port={port}",
            *flags,
        ),
        digests,
        port,
    )


def _pictures(units: Sequence[Unit], settings: Settings) -> dict[str, Path]:
    """Folders with pictures of references, of the versions that these units are of, by digest."""
    from hallmark.registry.units import folder_of

    found = dict[str, Path]()
    for each in units:
        folder = folder_of(each, settings)
        if folder is not None and (folder / "references.parquet").is_file():
            found |= {part.digest: folder for part in each.parts.values() if part.service == each.domain}
    return found


def _served(service: str, settings: Settings) -> Iterator[str]:
    """Where a domain's model answers: by its shares, and at each of its pods, of which that of the wanted version counts."""
    from hallmark.cli.clusters import connected
    from local_cluster import cluster
    from local_cluster.pods import PORTS_ANNOTATION

    state = cluster.state(settings)
    if state is None:
        raise NotFound(
            f"the local cluster does not run, which serves {service}",
            expected="a cluster with its model, or --node NODE=URL",
            got="none",
            fix=f"hallmark up; then hallmark release {service} --candidate 1 where nothing is released",
        )
    yield f"{state.gateway}/serving/{service}/{service}"
    pods = connected(settings, settings.kubeconfig).call("GET", f"/api/v1/namespaces/{service}/pods").get("items", [])
    for pod in pods:
        told = pod["metadata"].get("annotations", {}).get(PORTS_ANNOTATION, "")
        here = dict(each.split("=", 1) for each in told.split(", ") if each)
        port = str(containers.http_port(pod["spec"]["containers"][0]))
        if pod["metadata"]["labels"].get("serving.kserve.io/inferenceservice") == service and port in here:
            yield f"http://{here[port]}"


def named(given: Sequence[str]) -> dict[str, str]:
    """Addresses by node, of what --node was given; `DeclarationError` where that is none."""
    found = {}
    for each in given:
        name, _, url = each.partition("=")
        if not name or not url.startswith(("http://", "https://")):
            raise DeclarationError(
                "--node names no place", expected="NODE=http://…, such as view=http://127.0.0.1:8080", got=each
            )
        found[name] = url
    return found


def _known(nodes: Mapping[str, str], units: Sequence[Unit]) -> None:
    known = list(dict.fromkeys(node for each in units for node in each.parts))
    if unknown := [each for each in nodes if each not in known]:
        raise DeclarationError("--node names a node that no unit has", expected=", ".join(known), got=unknown[0])


class Running:
    """The processes of one domain; what they say is in its folder of the state."""

    def __init__(self, name: str, settings: Settings, asked: Mapping[str, Any]) -> None:
        """asked: of `plan`."""
        self._name, self._settings, self._asked = name, settings, asked
        self._logs = records_of(name, settings).with_name(f"{name}-logs")
        self._leash = Leash(self._logs)
        self._children = list[tuple[Process, subprocess.Popen[bytes]]]()
        self._open = list[IO[bytes]]()
        self._plan: Plan | None = None
        self._complaint = ""

    def start(self, wanted: Plan | None = None, *, timeout: float) -> None:
        """Start what serves the units now, each once those before answer, and say where it is."""
        self._plan = wanted or self._wanted()
        self._logs.mkdir(parents=True, exist_ok=True)
        for each in self._plan.processes:
            if not containers.free(each.port, again=True):
                raise DeclarationError(
                    f"port {each.port} of 127.0.0.1 is taken",
                    expected=f"a free port for the {each.name} of {self._name}",
                    got="another process that listens there",
                    fix="name another with --port, or 0 for any free one",
                )
            output = (self._logs / f"{each.name}.log").open("wb")
            self._open.append(output)
            child = self._leash.start(
                (sys.executable, "-m", *each.arguments),
                environment={**os.environ, **self._settings.environment(), **each.environment},
                folder=self._settings.root,
                output=output,
            )
            self._children.append((each, child))
            self._answers(each, child, timeout)
        self._tell(self._plan)

    def look(self, *, timeout: float) -> None:
        """Start all anew where something else is to be served by now; `HallmarkError` where a process has ended by itself."""
        for process, child in self._children:
            if child.poll() is not None:
                raise self._ended(process, child)
        try:
            wanted: Plan | None = self._wanted()
            complaint = ""
        except HallmarkError as error:  # such as the cluster, which is away for a moment: what is served stays
            wanted, complaint = self._plan, " ".join(str(error).split())
        if complaint != self._complaint:
            say(f"what was served before is served on: {complaint}" if complaint else "all is there again")
        self._complaint = complaint
        if wanted is not None and wanted != self._plan:
            self.end()
            self.start(wanted, timeout=timeout)

    def end(self) -> None:
        """End them, and wait."""
        self._leash.end(grace=_GRACE)
        self._children.clear()
        while self._open:
            self._open.pop().close()

    def _wanted(self) -> Plan:
        return plan(self._name, self._settings, **self._asked)

    def _answers(self, process: Process, child: subprocess.Popen[bytes], timeout: float) -> None:
        """Wait until a process takes requests."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if child.poll() is not None:
                raise self._ended(process, child)
            try:
                httpx.get(f"http://127.0.0.1:{process.port}/v2/health/live", timeout=1, trust_env=False)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise TimedOut(
            f"the {process.name} of {self._name} does not answer after {timeout:g} s",
            expected=f"an answer at http://127.0.0.1:{process.port}",
            got=self._said(process) or "nothing",
            fix="give it more time with --timeout",
        )

    def _ended(self, process: Process, child: subprocess.Popen[bytes]) -> HallmarkError:
        return HallmarkError(
            f"the {process.name} of {self._name} has ended",
            expected="a process that goes on",
            got=f"exit code {child.returncode}: {self._said(process) or 'it said nothing'}",
            fix=f"see {self._settings.shown(self._logs / f'{process.name}.log')}",
        )

    def _said(self, process: Process) -> str:
        return tail(self._logs / f"{process.name}.log", _SAID).decode(errors="replace").strip()

    def _tell(self, found: Plan) -> None:
        name, settings, port = self._name, self._settings, found.processes[-1].port
        say(f"decides      http://127.0.0.1:{port}/v2/models/{name}/infer, unit {short(found.stable.digest)}")
        if found.candidate is not None:
            say(f"candidate    unit {short(found.candidate.digest)}, by hallmark decision compare {name}")
        if any(each.name == STAND_IN for each in found.processes):
            say("reviewer     a stand-in that looks at no picture: its word says nothing of an item")
        say(f"records      {settings.shown(records_of(name, settings))}")
        say(f"next         hallmark call {name} --to http://127.0.0.1:{port}, and hallmark reviews page")
