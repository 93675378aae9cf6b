"""`python -m inference_services.decision`: serve one decision, or replay its records; exit code 3 where the unit is refused."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hallmark.errors import DeclarationError, HallmarkError
from hallmark.reviews.database import FORMS
from hallmark.settings import REVIEWS
from inference_services.process import ended

_ENVIRONMENT = """environment:
  HALLMARK_UNIT_DIGEST   sha256:… that the unit must have; nothing is served before it is checked
  HALLMARK_REVIEWS       address of the queue of reviews; see --cases
  HALLMARK_REFERENCES_DIGEST  sha256:… that the model folder of --crops must have

exit codes: 0 stopped after a signal, or every record replayed; 1 a record did not; 2 wrong flags; 3 the unit was refused"""


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
    add("--node", action="append", default=[], metavar="NODE=URL", help="where a node is asked, once for each")
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
        help="pictures of references, as the reviewer is shown them: the model folder that they are of, or a folder with crops.json",
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
    return flags


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Serve until a signal, or replay."""
    flags = parser().parse_args(arguments)
    env = os.environ if environment is None else environment

    def serve() -> int:
        return _serve(flags, env) if flags.replay is None else _replay(flags.replay)

    return ended(serve, at=f"cannot listen on {flags.host}")


def _serve(flags: argparse.Namespace, env: Mapping[str, str]) -> int:
    from hallmark.decision import unit

    for name in ("unit", "records"):
        if getattr(flags, name) is None:
            raise DeclarationError(f"--{name}", expected="a folder", got="nothing", fix=f"name it with --{name}")
    expected = env.get("HALLMARK_UNIT_DIGEST")
    if not expected:
        logging.getLogger(__name__).warning("HALLMARK_UNIT_DIGEST is not set: any whole unit will be served")
    found = unit.read(flags.unit, expected=expected)

    from inference_services import crops
    from inference_services.decision import server

    options = server.DecisionOptions(
        name=flags.name or found.domain,
        nodes=_nodes(flags.node, list(found.parts)),
        records=flags.records,
        cases=_cases(flags.cases or env.get(REVIEWS) or str(flags.records / "cases.jsonl")),
        photos=flags.photos,
        crops=crops.Crops(flags.crops, expected=env.get(crops.DIGEST)),
        expired=flags.expired,
        look=flags.look,
        host=flags.host,
        http_port=flags.http_port,
    )
    return server.run(options, found)


def _cases(given: str) -> Path | str:
    return given if "://" in given else Path(given)


def _nodes(given: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    found = dict(each.partition("=")[::2] for each in given)
    if sorted(found) != sorted(wanted):
        raise DeclarationError(
            "--node",
            expected=", ".join(f"{name}=http://…" for name in wanted),
            got=", ".join(given) or "nothing",
            fix="name the address of each node of the graph that is no person, and no other",
        )
    return found


def _replay(path: Path) -> int:
    from pydantic import ValidationError

    from hallmark.decision import record

    wrong = count = 0
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            count += 1
            try:
                record.replayed(record.DecisionRecord.model_validate_json(line))
            except (HallmarkError, ValidationError) as error:
                wrong += 1
                sys.stderr.write(f"{path}:{number}: {' '.join(str(error).split())[:500]}\n")
    sys.stdout.write(f"{count - wrong} of {count} records replay to their verdicts\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
