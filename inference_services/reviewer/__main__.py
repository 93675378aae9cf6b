"""`python -m inference_services.reviewer`: serve sealed prompts; exit code 3 where one is refused."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hallmark.errors import DeclarationError
from inference_services.process import ended, expected_digests

DIGEST = "HALLMARK_PROMPT_DIGEST"
_ENVIRONMENT = f"""environment:
  {DIGEST}   sha256:… that the prompt must have, of several one each with commas between; nothing is served before they are checked
  HALLMARK_REFERENCES_DIGEST   sha256:… that the model folder of --crops must have, of several one each with commas between

exit codes: 0 stopped after a signal; 2 wrong flags; 3 a prompt, or the references, were refused"""


def parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = argparse.ArgumentParser(
        prog="python -m inference_services.reviewer",
        description="Ask a language model about items by sealed prompts: Open Inference Protocol over REST.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    add("--name", help="name in the paths; that of the first prompt without it")
    add(
        "--prompt",
        type=Path,
        action="append",
        required=True,
        metavar="FOLDER",
        help="folder of a sealed prompt (`hallmark prompts seal`); of several, such as stable's and a candidate's, each request names"
        " one in its path: /v2/models/<name>/versions/<the digest's first twelve digits>/infer",
    )
    add(
        "--llm",
        required=True,
        metavar="URL",
        help="an OpenAI-compatible server of its model, such as http://reviewer:8000",
    )
    add(
        "--crops",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="pictures of references: the model folder that they are of, or a folder with crops.json; repeatable, such as for a candidate's",
    )
    add("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104  a pod is reached from outside
    add("--http-port", type=int, default=8080, help="(%(default)s)")
    return flags


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Serve until a signal."""
    flags = parser().parse_args(arguments)
    env = os.environ if environment is None else environment
    return ended(lambda: _serve(flags, env), at=f"cannot listen on {flags.host}")


def _serve(flags: argparse.Namespace, env: Mapping[str, str]) -> int:
    from hallmark import metrics
    from hallmark.prompts import sealed
    from inference_services import crops
    from inference_services.reviewer.rest import ReviewerRest
    from inference_services.reviewer.service import ReviewService
    from inference_services.transport import one_model
    from inference_services.transport.client import Client

    digests = expected_digests(DIGEST, env, flags.prompt, flag="--prompt")
    if not any(digests):
        logging.getLogger(__name__).warning("%s is not set: any whole prompt will be served", DIGEST)
    prompts = [
        sealed.read(folder, expected=digest, served=True) for folder, digest in zip(flags.prompt, digests, strict=True)
    ]
    if any(each.prompt.of_kind("references") for each in prompts) and not flags.crops:
        raise DeclarationError(
            "--crops",
            expected="the folder of references' pictures, which answers have to cite",
            got="nothing",
            fix="name it",
        )
    name = flags.name or prompts[0].prompt.name
    shown = crops.Crops.of(flags.crops, env)
    client = Client(flags.llm, what="--llm", limit=1024 * 1024)
    counts = one_model.ServiceMetrics(metrics.REVIEWER, model=name)
    services = [ReviewService(each, client=client, metrics=counts.of(prompt=each.version)) for each in prompts]
    told = ", ".join(each.digest for each in prompts)

    async def ended() -> None:
        client.close()

    return one_model.run(
        lambda limit: ReviewerRest(services, shown, name=name, limit=limit),
        host=flags.host,
        port=flags.http_port,
        deadline=max(each.prompt.budget.timeout for each in prompts),
        headers=f"x-hallmark-prompt: {told}\r\n".encode("ascii"),
        told=f"reviewing {name} by {told}",
        ended=ended,
    )


if __name__ == "__main__":
    sys.exit(main())
