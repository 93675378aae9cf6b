# mypy: allow-untyped-decorators
"""The standard training of every domain: one graph, compiled for Kubeflow or run on this machine by `python -m pipelines.training`."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, local

from components.image import TRAINING_IMAGE
from components.training import (
    build_index,
    calibrate,
    compare,
    embed,
    evaluate,
    export,
    gate,
    load,
    load_corpus,
    log,
    measure_recall,
    quantize,
    register,
    split,
    train,
    validate,
)
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.settings import Settings
from pipelines.placement import place


def pipeline(
    declared: Domain,
    *,
    scheduled: str = dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
    image: str = TRAINING_IMAGE,
    retries: bool = True,
) -> Any:
    """The graph of one domain's training, its declaration as defaults, its steps in `image`.

    A scheduled run leaves `as_of` empty and is as of the time it was scheduled for. `load` is never cached: with unchanged
    parameters Kubeflow would take a day's retraining for done. `correlation` names what the run is an answer to; it goes to
    `register` alone, whose result is never cached, so that no step is done again for it.
    """
    training = declared.training

    @dsl.pipeline(name=f"{declared.name}-training", description=declared.description)
    def graph(
        domain: str = declared.name,
        source: str = "synthetic",
        as_of: str = "",
        window: str = declared.model_dump(mode="json")["training"]["window"],
        seed: int = training.seed,
        shift: str = "",
        options: dict[str, Any] = {},  # noqa: B006  Kubeflow reads it as a default and never changes it
        correlation: str = "",
        no_champion: bool = False,
        experiment: str = "",
    ) -> None:
        loaded = load(
            domain=domain,
            source=source,
            as_of=as_of,
            scheduled=scheduled,
            window=window,
            seed=seed,
            shift=shift,
        ).set_caching_options(False)
        day, examples = loaded.outputs["Output"], loaded.outputs["examples"]
        checked = validate(domain=domain, examples=examples)
        parts = split(domain=domain, as_of=day, seed=training.seed, examples=examples).after(checked)
        fitted = train(
            domain=domain,
            seed=seed,
            options=options,
            training=parts.outputs["training"],
            validation=parts.outputs["validation"],
        )
        candidate, extra_inputs, tried = fitted.outputs["trained"], dict[str, Any](), []
        if declared.serving.precision == "int8":
            quantized = quantize(
                domain=domain,
                seed=seed,
                trained=fitted.outputs["trained"],
                training=parts.outputs["training"],
                test=parts.outputs["test"],
                source=source,
                no_champion=no_champion,
            )
            quantized.set_caching_options(False)  # the champion is not among its inputs
            candidate = quantized.outputs["candidate"]
            extra_inputs["precision"] = quantized.outputs["precision"]
            tried.append(quantized)
        measured = evaluate(domain=domain, trained=candidate, test=parts.outputs["test"])
        evaluation = measured.outputs["evaluation"]
        if declared.decision is not None:
            calibrated = calibrate(
                domain=domain,
                trained=candidate,
                validation=parts.outputs["validation"],
                test=parts.outputs["test"],
                scores=measured.outputs["scores"],
            )
            extra_inputs["thresholds"] = calibrated.outputs["thresholds"]
            tried.append(calibrated)
        indexed, found, unit = [], {}, {}
        if declared.retrieval is not None:
            stocked = load_corpus(domain=domain, source=source, as_of=day, seed=seed, shift=shift).set_caching_options(
                False
            )
            corpus = stocked.outputs["corpus"]
            embedded = embed(domain=domain, trained=candidate, corpus=corpus, test=parts.outputs["test"])
            vectors = embedded.outputs["vectors"]
            built = build_index(domain=domain, vectors=vectors, corpus=corpus)
            unit = {"index": built.outputs["index"]}
            recalled = measure_recall(domain=domain, vectors=vectors, corpus=corpus, **unit)
            found = {"recall": recalled.outputs["recall"]}
            indexed += [stocked, embedded, built, recalled]
        judged = compare(
            domain=domain,
            evaluation=evaluation,
            scores=measured.outputs["scores"],
            test=parts.outputs["test"],
            source=source,
            no_champion=no_champion,
            **found,
        )
        judged.set_caching_options(False)  # the champion is not among its inputs
        passed = gate(domain=domain, decision=judged.outputs["decision"], experiment=experiment)
        result = {
            "source": source,
            "as_of": day,
            "seed": seed,
            "shift": shift,
            "options": options,
            "facts": checked.outputs["facts"],
            "evaluation": evaluation,
            "decision": judged.outputs["decision"],
            "plots": measured.outputs["plots"],
            "history": fitted.outputs["history"],
            "correlation": correlation,
        }
        with dsl.If(passed.output == True, name="passed"):  # noqa: E712  builds the condition
            past = {"source": source, "as_of": day, "seed": seed} if declared.drift.history else {}
            last = declared.retrieval is not None and declared.data.split == "last"
            usual = {"examples": examples} if last else {}
            learnt = {"training": parts.outputs["training"]} if declared.decision else {}  # of whom a decision may show
            exported = export(
                domain=domain, trained=candidate, test=parts.outputs["test"], **past, **unit, **usual, **learnt
            )
            registered = register(
                domain=domain,
                model=exported.outputs["model"],
                parity=exported.outputs["parity"],
                seen=parts.outputs["seen"],
                **result,
                **extra_inputs,
                **found,
            )
            registered.set_caching_options(False)  # its effect is elsewhere
        with dsl.If(passed.output == False, name="no version"):  # noqa: E712  builds the condition
            logged = log(domain=domain, experiment=experiment, **result)
            logged.set_caching_options(False)  # its effect is elsewhere
        every = (
            loaded,
            checked,
            parts,
            fitted,
            *tried,
            *indexed,
            measured,
            judged,
            passed,
            exported,
            registered,
            logged,
        )
        for task in every:
            place(task, declared, image=image, retries=retries)

    return graph


def compile_to(path: Path, domain: str, *, image: str | None = None, settings: Settings | None = None) -> None:
    """Write the domain's graph as Kubeflow's intermediate representation; `image` instead of the unqualified one."""
    graph = pipeline(domains.load(domain, settings), image=image or TRAINING_IMAGE)
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(graph, str(path))


def run(domain: str, arguments: dict[str, Any], workspace: Path) -> None:
    """Run the graph here, a process a step; what it leaves lies under `workspace`."""
    # kfp.local deletes its workspace when it is done, so it gets one of its own.
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(workspace / "artifacts"),
        workspace_root=tempfile.mkdtemp(dir=workspace),
        raise_on_error=True,
    )
    # Nothing is scheduled here, and kfp.local breaks on that placeholder. Whoever runs it here sees a failure at once, not after
    # minutes of back-off.
    pipeline(domains.load(domain), scheduled="", retries=False)(domain=domain, **arguments)


def main() -> None:
    """Run what the request, a JSON file, asks for; `hallmark.training.process` starts this and ends it."""
    request = json.loads(Path(sys.argv[1]).read_bytes())
    run(request["domain"], request["arguments"], Path(request["workspace"]))


__all__ = ["TRAINING_IMAGE", "compile_to", "main", "pipeline", "run"]

if __name__ == "__main__":
    main()
