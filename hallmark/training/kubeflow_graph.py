"""Compiled graphs in Kubeflow Pipelines: each content uploaded once, under its own name."""

from __future__ import annotations

from hallmark.errors import Conflict, NotFound
from hallmark.training.graph import StepGraph
from hallmark.training.kubeflow_api import KubeflowApi, Reference, named


def newest(api: KubeflowApi, domain: str) -> Reference:
    """The graph of the domain's training in the version that was uploaded last."""
    pipeline = api.pipeline(f"{domain}-training", domain)
    query = {"sort_by": "created_at desc", "page_size": "1"}
    versions = api.ask("GET", f"/pipelines/{pipeline}/versions", query=query).get("pipeline_versions") or []
    if not versions:
        raise NotFound(
            f"the pipeline {domain}-training has no version",
            expected="a compiled graph",
            got="none",
            fix=f"upload one: hallmark pipeline submit {domain}, or let CI apply `hallmark pipeline compile --manifest`",
        )
    return {"pipeline_id": pipeline, "pipeline_version_id": str(versions[0]["pipeline_version_id"])}


def uploaded(api: KubeflowApi, graph: StepGraph) -> Reference:
    """This very graph, which is uploaded where it is not there; whoever else does so at once comes to the same."""
    pipeline = _pipeline(api, graph)
    there = _version(api, pipeline, graph)
    if there is not None:
        return there
    query = {
        "name": graph.version,
        "display_name": graph.version,
        "pipelineid": pipeline,
        "description": graph.description,
    }
    try:
        file = ("graph.yaml", graph.text.encode(), "application/yaml")
        api.ask("POST", "/pipelines/upload_version", query=query, files={"uploadfile": file})
    except Conflict:  # somebody else has just done so
        pass
    there = _version(api, pipeline, graph)
    if there is None:
        raise api.remote.unavailable(f"the graph {graph.version} was taken, and is not in the list", fix="ask again")
    return there


def _pipeline(api: KubeflowApi, graph: StepGraph) -> str:
    try:
        return api.pipeline(graph.name, graph.domain)
    except NotFound:
        pass
    body = {
        "name": graph.name,
        "display_name": graph.name,
        "namespace": graph.domain,
        "description": graph.description,
    }
    try:
        return str(api.ask("POST", "/pipelines", body=body)["pipeline_id"])
    except Conflict:
        return api.pipeline(graph.name, graph.domain)


def _version(api: KubeflowApi, pipeline: str, graph: StepGraph) -> Reference | None:
    query = {"filter": named(graph.version)}
    for each in api.all(f"/pipelines/{pipeline}/versions", "pipeline_versions", query):
        if graph.version in (each.get("display_name"), each.get("name")):
            return {"pipeline_id": pipeline, "pipeline_version_id": str(each["pipeline_version_id"])}
    return None
