"""`python -m inference_services.decision`: serve one decision, replay its records, or judge its candidate; exit code 3 where a unit is refused."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark.decision.terms import SHARE_FILE
from hallmark.errors import DeclarationError, HallmarkError
from hallmark.reviews.database import FORMS
from hallmark.settings import REVIEWS
from inference_services.process import ended

if TYPE_CHECKING:
    from hallmark.decision.unit import Unit

_ENVIRONMENT = """environment:
  HALLMARK_UNIT_DIGEST        sha256:… that the unit must have; nothing is served before it is checked
  HALLMARK_CANDIDATE_DIGEST   the same of the candidate
  HALLMARK_REVIEWS            address of the queue of reviews; see --cases
  HALLMARK_REFERENCES_DIGEST  sha256:… that the model folder of --crops must have, of several one each with commas between

exit codes: 0 stopped after a signal, every record replayed, or the candidate may be promoted; 1 a record was not; 2 wrong flags;
3 a unit was refused, or the candidate is dearer; 4 it cannot be judged yet"""


def parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = argparse.ArgumentParser(
        prog="python -m inference_services.decision",
        description="Decide on items with one release unit: Open Inference Protocol over REST.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    add("--name", help="name in the paths, the domain's; that of the unit without it")
    add("--unit", type=Path, help="folder of the release unit")
    add("--candidate", type=Path, help="folder of a candidate unit, which decides on the same items in shadow")
    add(
        "--node",
        action="append",
        default=[],
        metavar="NODE=URL",
        help="where a node is asked; one that is named again has several places, and the one that serves the unit's version answers",
    )
    add(
        "--candidate-node",
        action="append",
        default=[],
        metavar="NODE=URL",
        help="where else the candidate's node may be, or where one that stable lacks is",
    )
    add(
        "--share",
        type=Path,
        metavar="FILE",
        help=f"{SHARE_FILE} that `hallmark decision share` writes: of how many items the candidate decides in earnest; followed without a restart",
    )
    add("--records", type=Path, help="folder for the record of every decision")
    add(
        "--cases",
        help=f"where cases of persons go: {FORMS}, as `hallmark reviews` reads it, or a file; ${REVIEWS} without it, else a file beside the records",
    )
    add(
        "--photos",
        type=Path,
        help="folder for photos of cases and pictures of their references, that of `hallmark reviews page --photos`; none are kept without it",
    )
    add(
        "--crops",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="pictures of references, as the reviewer is shown them: the model folder that they are of, or a folder with crops.json; repeatable, such as for a candidate's",
    )
    add(
        "--expired",
        type=Path,
        help="file that is there while the guarantee is to count as expired, whatever its watch says",
    )
    add(
        "--look",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="between looks at final labels of audits (%(default)s)",
    )
    add("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104  a pod is reached from outside
    add("--http-port", type=int, default=8080, help="(%(default)s)")
    add("--replay", type=Path, metavar="FILE", help="replay the records in a file, and end")
    add(
        "--compare",
        action="store_true",
        help="judge the candidate by the records that there are and the labels at --cases, and end",
    )
    return flags


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Serve until a signal, or replay."""
    flags = parser().parse_args(arguments)
    env = os.environ if environment is None else environment

    def serve() -> int:
        if flags.replay is not None:
            return _replay(flags.replay)
        return _compare(flags, env) if flags.compare else _serve(flags, env)

    return ended(serve, at=f"cannot listen on {flags.host}")


def _serve(flags: argparse.Namespace, env: Mapping[str, str]) -> int:
    found, candidate = _units(flags, env)

    from inference_services import crops
    from inference_services.decision import server

    nodes = _places("--node", flags.node, found.parts)
    both = {**found.parts, **(candidate.parts if candidate else {})}
    options = server.DecisionOptions(
        name=flags.name or found.domain,
        nodes=nodes,
        also=_places(
            "--candidate-node", flags.candidate_node, both, needed=[each for each in both if each not in nodes]
        ),
        records=flags.records,
        cases=_cases(flags, env),
        photos=flags.photos,
        crops=crops.Crops.of(flags.crops, env),
        expired=flags.expired,
        look=flags.look,
        share=flags.share,
        host=flags.host,
        http_port=flags.http_port,
    )
    return server.run(options, found, candidate)


def _units(flags: argparse.Namespace, env: Mapping[str, str]) -> tuple[Unit, Unit | None]:
    """The unit that decides, and the candidate."""
    from hallmark.decision import unit

    for name in ("unit", "records", *(("candidate",) if flags.compare else ())):
        if getattr(flags, name) is None:
            raise DeclarationError(f"--{name}", expected="a folder", got="nothing", fix=f"name it with --{name}")
    expected = env.get("HALLMARK_UNIT_DIGEST")
    if not expected:
        logging.getLogger(__name__).warning("HALLMARK_UNIT_DIGEST is not set: any whole unit will be served")
    found = unit.read(flags.unit, expected=expected)
    if flags.candidate is None:
        if flags.share is not None:
            raise DeclarationError("--share", expected="--candidate beside it", got="none", fix="name its folder")
        return found, None
    candidate = unit.read(flags.candidate, expected=env.get("HALLMARK_CANDIDATE_DIGEST"))
    if (candidate.domain, candidate.digest == found.digest) != (found.domain, False):
        raise DeclarationError(
            "--candidate",
            expected=f"another unit of {found.domain}",
            got=f"{candidate.digest} of {candidate.domain}",
            fix="seal the changed parts, or leave it out",
        )
    return found, candidate


def _cases(flags: argparse.Namespace, env: Mapping[str, str]) -> Path | str:
    given = flags.cases or env.get(REVIEWS) or str(flags.records / "cases.jsonl")
    return given if "://" in given else Path(given)


def _places(
    flag: str, given: Sequence[str], wanted: Collection[str], *, needed: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Addresses by node, in their order.   needed: nodes that have to have one; all of `wanted` without it."""
    found: dict[str, list[str]] = {}
    for each in given:
        name, _, url = each.partition("=")
        found.setdefault(name, []).append(url)
    must = wanted if needed is None else needed
    if not set(must) <= set(found) <= set(wanted):
        raise DeclarationError(
            flag,
            expected=", ".join(f"{name}=http://…" for name in must or wanted),
            got=", ".join(given) or "nothing",
            fix="name the address of each node of the graph that is no person, and no other",
        )
    return found


def _compare(flags: argparse.Namespace, env: Mapping[str, str]) -> int:
    from hallmark.decision import candidate as candidates
    from hallmark.decision import record
    from hallmark.reviews import audits

    stable, candidate = _units(flags, env)
    assert candidate is not None  # noqa: S101  asked for above
    mine, verdicts = candidates.paired(record.read(flags.records), stable=stable.digest, unit=candidate)
    cases = _cases(flags, env)
    labels = audits.final(cases, domain=stable.domain) if isinstance(cases, str) else {}
    found = candidates.compare(mine, verdicts, labels=labels, persons=candidate.decision.nodes)
    outcome, why = candidates.verdict_on(found)
    sys.stdout.write(f"{outcome}: {why}\n{found.model_dump_json()}\n")
    return {"promote": 0, "refuse": 3, "wait": 4}[outcome]


def _replay(path: Path) -> int:
    from hallmark.decision import record

    wrong = count = 0
    for place, found in record.lines(path):
        count += 1
        try:
            if isinstance(found, DeclarationError):
                raise found
            record.replayed(found)
        except HallmarkError as error:
            wrong += 1
            sys.stderr.write(f"{place}: {' '.join(str(error).split())[:500]}\n")
    sys.stdout.write(f"{count - wrong} of {count} records replay to their verdicts\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
