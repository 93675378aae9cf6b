"""A new domain: its folder after the nearest one, and every file that is generated from it."""

from __future__ import annotations

import re
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hallmark.cli.console import say
from hallmark.errors import DeclarationError
from hallmark.names import taken

if TYPE_CHECKING:
    from hallmark.settings import Settings

_NAME = re.compile(r"[a-z][a-z0-9]{0,29}")


def new(
    name: Annotated[
        str, typer.Argument(metavar="DOMAIN", help="Small letters and digits, such as returns.", show_default=False)
    ],
    like: Annotated[
        str, typer.Option(help="The domain to start from: fraud for tables, listing for photos.")
    ] = "fraud",
    team: Annotated[str, typer.Option(help="Who owns it; default: the domain's name.", show_default=False)] = "",
    contact: Annotated[str, typer.Option(help="An address that reaches the people on call.", show_default=False)] = "",
    description: Annotated[str, typer.Option(help="What it predicts, as a question.", show_default=False)] = "",
) -> None:
    """Write a new domain's folder, which trains at once, and render all that is derived from it.

    A second call changes nothing: a folder that is there is never written to.
    """
    from hallmark.render import files
    from hallmark.settings import Settings

    settings = Settings.load()
    made = scaffold(
        name,
        like=like,
        team=team or name,
        contact=contact or f"{name}-oncall@hallmark.example",
        description=description,
        settings=settings,
    )
    if not made:
        say(f"domains/{name} is there already, and stays as it is")
    for path in made:
        say(f"wrote {path.relative_to(settings.root)}")
    for finding in files.write(settings):
        say(f"wrote {finding.path}")
    say(
        f"next: say in domains/{name}/domain.yaml what it predicts and owes (`hallmark domains {name}` checks it),"
        f" put your own data behind data.py, then `hallmark train {name}`"
    )


def scaffold(name: str, *, like: str, team: str, contact: str, description: str, settings: Settings) -> list[Path]:
    """The files of the new folder, which appears whole or not at all; none where it is there already."""
    from hallmark.declaration import domain as domains

    if not _NAME.fullmatch(name) or taken(name):
        raise DeclarationError(
            "this cannot be a domain's name",
            expected="up to 30 small letters and digits, beginning with a letter, that are no namespace of the platform and no word of"
            " Python or YAML",
            got=repr(name),
            fix="choose another, such as returns",
        )
    folder = settings.domains / name
    if (folder / "domain.yaml").is_file():
        domains.load(name, settings)
        return []
    if folder.exists():
        raise DeclarationError(
            f"domains/{name} is there, but holds no domain.yaml",
            expected="no such folder, or a whole domain",
            got=", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder",
            fix="remove it, or write its domain.yaml",
        )
    domains.load(like, settings)
    draft = settings.domains / f".{uuid.uuid4().hex}" / name
    try:
        draft.mkdir(parents=True)
        for source in sorted((settings.domains / like).iterdir()):
            if source.suffix in (".py", ".yaml"):
                text = source.read_text(encoding="utf-8")
                if source.suffix == ".yaml":
                    text = _declared(text, like, name=name, team=team, contact=contact, description=description)
                else:
                    text = text.replace(f"domains.{like}", f"domains.{name}").replace(
                        f'name="{like}"', f'name="{name}"'
                    )
                (draft / source.name).write_text(text, encoding="utf-8")
        domains.parse(draft / "domain.yaml", shown=f"domains/{name}/domain.yaml")
        draft.rename(folder)
    finally:
        shutil.rmtree(draft.parent, ignore_errors=True)
    return sorted(folder.iterdir())


def _declared(text: str, like: str, *, name: str, team: str, contact: str, description: str) -> str:
    """The declaration under its new name: comments and thresholds stay, to be thought over."""
    import yaml

    owner = yaml.safe_dump({"team": team, "contact": contact}, default_flow_style=True, sort_keys=False, width=1000)
    asked = description or f"What {name} predicts: say it here. (Begun as a copy of {like}.)"
    lines = {
        "name": name,
        "owner": owner.strip(),
        "description": yaml.safe_dump(asked, default_style='"', width=1000).strip(),
    }
    for key, value in lines.items():
        text = re.sub(rf"(?m)^{key}:.*$", lambda _, key=key, value=value: f"{key}: {value}", text, count=1)  # type: ignore[misc]
    return text.replace(f"{like}-reviewer", f"{name}-reviewer")
