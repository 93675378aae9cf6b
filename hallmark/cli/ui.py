"""The page of an installation: `hallmark ui`."""

from __future__ import annotations

import contextlib
import os
import socket
import webbrowser
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import say
from hallmark.cli.options import NoOpen, Port
from hallmark.errors import DeclarationError, HallmarkError
from hallmark.extras import not_installed
from hallmark.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

PORT = 8421


def ui(
    port: Port = PORT,
    no_open: NoOpen = False,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared",
            help="On a cluster, behind its gateway: listen on every address, and show who asks their own domains only.",
        ),
    ] = False,
    prefix: Annotated[str, typer.Option(metavar="PATH", help="Path that it stands under, such as /ui.")] = "",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show domains, what serves, drift, trainings, experiments to compare, history and cost on one page that follows what happens.

    It changes nothing, needs no network and no cluster, and answers this machine alone until ctrl-c.
    """
    try:
        import uvicorn  # noqa: F401

        from hallmark.ui import gather
        from hallmark.ui.app import app
    except ModuleNotFoundError as error:
        raise not_installed(error, what="page", otherwise="see `hallmark status` and `hallmark versions`") from error

    prefix = path_of(prefix)
    settings = Settings.load()
    gatherer = gather.Gatherer(
        settings,
        connect=lambda: connected(settings, kubeconfig, context),
        links=gather.links(settings, os.environ, shared=shared),
    )
    with contextlib.closing(gatherer):
        gatherer.snapshot()
        serve(
            lambda ending: app(gatherer, shared=shared, prefix=prefix, ending=ending),
            port=port,
            shared=shared,
            prefix=prefix,
            open_it=not no_open,
        )


def path_of(prefix: str) -> str:
    """The path that a page stands under, without the slash at its end; `DeclarationError` where it is none."""
    prefix = prefix.rstrip("/")
    if prefix and not prefix.startswith("/"):
        raise DeclarationError("--prefix is no path", expected="such as /ui", got=prefix)
    return prefix


def serve(
    made: Callable[[Callable[[], bool]], Starlette], *, port: int, shared: bool, prefix: str, open_it: bool
) -> None:
    """Serve a page until ctrl-c, on this machine alone unless it is shared.   made: the application; it is given what tells that it ends."""
    import uvicorn

    from hallmark.ui.guard import LOOPBACK

    with listening("0.0.0.0" if shared else LOOPBACK[0], port) as listener:  # noqa: S104 - behind the gateway
        address = f"http://{LOOPBACK[0]}:{listener.getsockname()[1]}{prefix}/"
        config = uvicorn.Config(
            made(lambda: server.should_exit),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
            limit_concurrency=256,
        )
        server = uvicorn.Server(config)
        say(f"{address}   ctrl-c ends it")
        if open_it and not shared:
            webbrowser.open(address)
        server.run(sockets=[listener])


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; `HallmarkError` where the port is taken."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(128)
        except OSError as error:
            raise HallmarkError(
                f"port {port} cannot be had",
                expected="one that nobody listens at",
                got=error.strerror or str(error),
                fix="--port 0 takes one that is free",
            ) from error
        yield listener
    finally:
        listener.close()
