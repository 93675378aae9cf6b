"""Prompts of reviewers: `hallmark prompts`."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hallmark.cli.console import Format, Output, emit, say
from hallmark.errors import DeclarationError, GateRefused
from hallmark.settings import Settings

if TYPE_CHECKING:
    import httpx

app = typer.Typer(
    name="prompts",
    help="Prompts that reviewers are asked by: checked, registered as versions, judged on their golden sets.",
    no_args_is_help=True,
)
PromptName = Annotated[str, typer.Argument(metavar="PROMPT", help="A folder of prompts/.", show_default=False)]
Llm = Annotated[
    str,
    typer.Option(
        "--llm",
        metavar="URL",
        help="An OpenAI-compatible server of its model, such as http://127.0.0.1:8000.",
        show_default=False,
    ),
]


@app.command("list", epilog="Example: hallmark prompts list")
def list_(output: Output = Format.table) -> None:
    """List the prompts of this checkout, and what each is: its digest, its model, its items, its versions."""
    from hallmark.prompts import prompt, sealed
    from hallmark.registry.prompts import PromptRegistry

    settings = Settings.load()
    registry = PromptRegistry(settings)
    rows = []
    for name in prompt.names(settings.prompts):
        found = prompt.load(settings.prompts, name)
        digest = sealed.digest(found)
        versions = registry.versions(name)
        here = next((each.version for each in versions if each.digest == digest), None)
        champion = next((each.version for each in versions if "champion" in each.aliases), None)
        rows.append(
            {
                "prompt": name,
                "digest": sealed.short(digest),
                "model": found.prompt.model.name,
                "golden": len(found.golden),
                "pictures": found.prompt.pictures,
                "version": here,
                "champion": champion,
            }
        )
    emit(rows, output, empty="no prompts: make prompts/<name>/prompt.yaml")


@app.command(epilog="Example: hallmark prompts check authentication-review")
def check(
    name: Annotated[str, typer.Argument(metavar="[PROMPT]", help="Default: all.")] = "", output: Output = Format.table
) -> None:
    """Read prompts with their examples, golden sets and pictures; exit 2 where one is wrong. Says which slices are too small for their test."""
    from hallmark.prompts import golden, prompt

    settings = Settings.load()
    rows = []
    for each in [name] if name else prompt.names(settings.prompts):
        found = prompt.load(settings.prompts, each)
        slices = Counter(item.slice for item in found.golden)
        needed = golden.needed(len(slices), found.prompt.golden) if slices else None
        small = {name: count for name, count in sorted(slices.items()) if needed and count < needed}
        rows.append(
            {
                "prompt": each,
                "examples": len(found.examples),
                "golden": len(found.golden),
                "slices": ", ".join(sorted(slices)),
                "a slice needs": needed,
                "too small": ", ".join(f"{name} {count}" for name, count in small.items()),
            }
        )
    emit(rows, output, empty="no prompts: make prompts/<name>/prompt.yaml", wide=("examples", "golden"))
    if any(row["too small"] for row in rows):
        say(
            "a slice that is too small is refused where all of it is lost, and by the paired test of slices only beside another: give it"
            " so many items as a slice needs, or have fewer slices (docs/prompts.md)"
        )


@app.command(epilog="Example: hallmark prompts register authentication-review")
def register(name: PromptName, output: Output = Format.table) -> None:
    """Seal a prompt and register it as a version, challenger of the one that is served; the same prompt is the same version."""
    from hallmark.registry.prompts import PromptRegistry

    settings = Settings.load().prepared()
    with tempfile.TemporaryDirectory() as scratch:
        digest = _sealed(Path(scratch), name, settings)
        version = PromptRegistry(settings).register(Path(scratch))
    emit([{"prompt": name, "version": version, "digest": digest}], output)
    say(f"next: hallmark prompts judge {name} {version} --llm http://…")


@app.command(epilog="Example: hallmark prompts seal authentication-review prompt")
def seal(
    name: PromptName,
    folder: Annotated[Path, typer.Argument(help="A new folder, or an empty one.", show_default=False)],
    output: Output = Format.table,
) -> None:
    """Write a prompt as a sealed folder, as `python -m inference_services.reviewer` serves it."""
    digest = _sealed(folder, name, Settings.load())
    emit([{"prompt": name, "digest": digest, "folder": str(folder)}], output)


@app.command(epilog="Example: hallmark prompts judge authentication-review 2 --llm http://127.0.0.1:8000 --promote")
def judge(
    name: PromptName,
    version: Annotated[str, typer.Argument(help="A version or alias.")] = "challenger",
    llm: Llm = "",
    promote: Annotated[bool, typer.Option("--promote", help="Make it champion where it passes.")] = False,
    output: Output = Format.table,
) -> None:
    """Ask the golden items by a version and by the champion, item by item; exit 3 where it is worse, 1 where the server is ill."""
    from hallmark.errors import NotFound
    from hallmark.prompts import golden
    from hallmark.prompts.asking import LanguageModel
    from hallmark.registry.prompts import PromptRegistry, registered

    client = _server(llm)
    registry = PromptRegistry(Settings.load().prepared())
    number = registry.resolve(name, version).version
    candidate = registry.fetch(name, number)
    try:
        before = registry.resolve(name, "champion").version
        stable = registry.fetch(name, before)
    except NotFound:
        before, stable = None, None
    with client:
        ask = LanguageModel(client).ask
        told = golden.answers(candidate, candidate.golden, ask)
        beside = (
            golden.answers(stable, candidate.golden, ask)
            if stable
            else [each.model_copy(update={"right": False}) for each in told]
        )
    names = (f"version {before}" if before else "nothing", f"version {number}")
    found = golden.compare(beside, told, candidate.prompt.golden, names=names)
    keys = ("slice", "items", "stable", "candidate", "losses", "wins", "chance", "worse")
    emit([{key: getattr(each, key) for key in keys} for each in (found.overall, *found.slices)], output)
    if not found.passed:
        raise GateRefused(
            f"version {number} of {name} does not pass its golden set" + (f" beside {names[0]}" if before else ""),
            expected="as many items right, in each slice" if before else "as many items right as golden.right asks for",
            got="; ".join(found.reasons),
            fix="mend the prompt, and register it again; a unit takes it all the same by `hallmark decision seal --prompt"
            f" {number}`, which is a person's choice",
        )
    if promote:
        registry.registry.alias(registered(name), "champion", number, expected=before)
        say(
            f"version {number} of {name} is champion; next: hallmark decision seal DOMAIN --candidate, which has it served beside stable's"
        )


def _sealed(folder: Path, name: str, settings: Settings) -> str:
    from hallmark.prompts import prompt, sealed

    return sealed.seal(folder, prompt.load(settings.prompts, name))


def _server(url: str) -> httpx.Client:
    """A client of a server of language models; `DeclarationError` where this is no address of one."""
    import httpx

    wrong = DeclarationError(
        "--llm",
        expected="the address of a server of language models, such as http://127.0.0.1:8000",
        got=url.rpartition("@")[2] or "nothing",
        fix="write what stands before /v1 in the paths of the server, with its http:// or https://",
    )
    try:
        client = httpx.Client(base_url=url, trust_env=False)
    except httpx.InvalidURL as error:
        raise wrong from error
    asked = client.base_url
    named = re.fullmatch(rb"[\w.:-]+", asked.raw_host)
    if asked.scheme not in ("http", "https") or not named or asked.query or asked.fragment:
        raise wrong
    return client
