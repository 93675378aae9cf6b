"""`python -m inference_services.runtime`: the model server's flags and environment; exit code 3 where a model or its config is refused."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark.cores import cores
from inference_services.process import ended

if TYPE_CHECKING:
    from hallmark.artifacts.bundle import Bundle

_POD = re.compile(r"^([a-z0-9][a-z0-9-]*-predictor)-[a-z0-9]{1,10}-[a-z0-9]{5}$")

_ENVIRONMENT = """environment:
  HALLMARK_MODEL_DIGEST   sha256:… that the model folder must have; nothing is loaded before it is checked
  HALLMARK_SERVING_CONFIG sha256:… that the file of --config must have
  HALLMARK_MODEL_VERSION  the version that answers and metadata name
  HALLMARK_VARIANT        stable or canary; the revision where it is not set
  K_REVISION              the revision, as Knative sets it
  HOSTNAME                a pod's name; where there is no K_REVISION, its Deployment's name in it is the revision
  HALLMARK_FEATURE_STORE  where a model that reads feature views finds their values: sqlite:///file, redis://host, dynamodb://table
  HALLMARK_CHANGES        where a model that answers with items reads and writes their changes: file:///folder, or s3://bucket/prefix, one for all servers of the domain
  HALLMARK_COLLECTION     where a model whose backend is opensearch or qdrant finds it: https://user:password@host:9200, https://:api-key@host:6333
  POD_NAMESPACE           the namespace named in captured events; the model's domain where it is not set

exit codes: 0 stopped after a signal, 2 wrong flags, 3 the model folder or the serving config was refused"""


def parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = argparse.ArgumentParser(
        prog="python -m inference_services.runtime",
        description="Serve one model folder: Open Inference Protocol over REST and gRPC, and KServe's V1.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    add("--model-name", required=True, help="name in the paths, the domain's")
    add("--model-dir", required=True, type=Path, help="the model folder")
    add("--publish", type=Path, help="folder for what the drift monitor needs of the model; none without it")
    add(
        "--state",
        type=Path,
        help="folder for what an index keeps of changes over a restart; a temporary one without it",
    )
    add("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104  a pod is reached from outside
    add("--http-port", type=int, default=8080, help="REST, gRPC behind a gateway, and /metrics (%(default)s)")
    add("--workers", type=_workers, default=1, help="processes, or auto for one a core of the container (%(default)s)")
    add("--config", type=Path, help="the serving config, which a release names; its defaults without one")
    add("--capture-url", default="", help="where requests and answers go as CloudEvents; none without it")
    return flags


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Serve until a signal."""
    flags = parser().parse_args(arguments)
    env = os.environ if environment is None else environment
    return ended(lambda: _serve(flags, env), at=f"cannot listen on {flags.host}")


def _serve(flags: argparse.Namespace, env: Mapping[str, str]) -> int:
    from hallmark.artifacts import bundle
    from hallmark.declaration import serving_config

    served, watched = bundle.SERVED, bundle.WATCHED if flags.publish else frozenset()
    config = serving_config.read(flags.config, expected=env.get(serving_config.DIGEST_ENV))
    expected = env.get("HALLMARK_MODEL_DIGEST")
    if not expected:
        logging.getLogger(__name__).warning("HALLMARK_MODEL_DIGEST is not set: any whole model folder will be served")
    verified = bundle.read(flags.model_dir, expected=expected, keep=served | watched)
    if flags.publish:
        _publish(verified, flags.publish)
        verified = verified.only(served)

    from inference_services.runtime import server

    options = server.ServerOptions(
        name=flags.model_name,
        host=flags.host,
        http_port=flags.http_port,
        version=env.get("HALLMARK_MODEL_VERSION", ""),
        revision=env.get("K_REVISION") or workload(env.get("HOSTNAME", "")),
        namespace=env.get("POD_NAMESPACE", ""),
        variant=env.get("HALLMARK_VARIANT", ""),
        capture_url=flags.capture_url,
        feature_store=env.get("HALLMARK_FEATURE_STORE", ""),
        changes=env.get("HALLMARK_CHANGES", ""),
        collection=env.get("HALLMARK_COLLECTION", ""),
        state=flags.state,
        config=config,
    )
    return server.run(options, verified, count=flags.workers or cores(threads=env.get("OMP_NUM_THREADS", "")))


def _publish(verified: Bundle, to: Path) -> None:
    from hallmark.artifacts import publication

    log = logging.getLogger(__name__)
    try:
        log.info("published what the drift monitor needs: %s", publication.publish(verified, to))
    except OSError as error:
        # Drift goes unseen, and the monitor reports it; requests are answered all the same.
        log.warning("the model cannot be published to %s, so drift is not watched: %s", to, error.strerror or error)


def workload(pod: str) -> str:
    """The Deployment of a pod that KServe made in Standard mode, such as fraud-v2-predictor; empty for another name."""
    found = _POD.match(pod)
    return found[1] if found else ""


def _workers(text: str) -> int:
    if text == "auto":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("expected auto, or a number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
