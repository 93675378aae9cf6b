"""A new domain: its folder for a task or after the nearest one, and every file that is generated from it."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.console import say
from hallmark.errors import DeclarationError
from hallmark.names import taken

if TYPE_CHECKING:
    from hallmark.cli.draft import Draft
    from hallmark.settings import Settings

_NAME = re.compile(r"[a-z][a-z0-9]{0,29}")


class Kind(StrEnum):
    """The tasks that there are (hallmark/tasks)."""

    binary = "binary"
    multiclass = "multiclass"
    regression = "regression"
    ranking = "ranking"
    retrieval = "retrieval"
    uplift = "uplift"


def _column(text: str) -> Any:
    return typer.Option(help=text, metavar="COLUMN", show_default=False)


def new(
    name: Annotated[
        str, typer.Argument(metavar="DOMAIN", help="Small letters and digits, such as returns.", show_default=False)
    ],
    task: Annotated[
        Kind | None,
        typer.Option(
            "--task",
            metavar="KIND",
            help=f"What it answers: {', '.join(Kind)}. A folder of that kind is written.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Your own CSV or Parquet file: its columns become the request.", show_default=False),
    ] = None,
    label: Annotated[str, _column("Column of the file with the answer to learn.")] = "",
    entity: Annotated[str, _column("Column with whom or what a row is about; default: each row is its own.")] = "",
    time: Annotated[str, _column("Column with when it happened; then the latest fifth is the test.")] = "",
    query: Annotated[str, _column("Of rankings and retrieval: rows of one query.")] = "",
    item: Annotated[str, _column("Of retrieval: the id that is answered.")] = "",
    treatment: Annotated[str, _column("Of uplift: 1 for treated, 0 for not.")] = "",
    propensity: Annotated[str, _column("Of uplift: the chance of the treatment that the row got.")] = "",
    leave: Annotated[
        list[str] | None,
        typer.Option(help="Column that the model is not to see; repeatable.", metavar="COLUMN", show_default=False),
    ] = None,
    like: Annotated[
        str, typer.Option(help="A domain to copy instead: fraud, listing (photos).", show_default=False)
    ] = "",
    team: Annotated[str, typer.Option(help="Who owns it; default: the domain's name.", show_default=False)] = "",
    contact: Annotated[str, typer.Option(help="An address that reaches the people on call.", show_default=False)] = "",
    description: Annotated[str, typer.Option(help="What it predicts, as a question.", show_default=False)] = "",
) -> None:
    """Write a new domain's folder, which trains at once, and render all that is derived from it.

    With --task it is made for that kind of answer, from --data or on made-up rows; with --like it is another domain's copy.
    A second call changes nothing: a folder that is there is never written to, and asking for another one under its name is refused.
    """
    from hallmark.render import files
    from hallmark.settings import Settings

    settings = Settings.load()
    owner = {"team": team or name, "contact": contact or f"{name}-oncall@hallmark.example"}
    roles = {"label": label, "entity": entity, "time": time, "query": query, "item": item}
    roles |= {"treatment": treatment, "propensity": propensity}
    _one_way(task, data, like, [*(role for role, column in roles.items() if column), *(["leave"] if leave else [])])
    if task is None:
        made = scaffold(name, like=like, **owner, description=description, settings=settings)
    else:
        asked = description or f"What {name} predicts: say it here."
        made = written(
            name, lambda: _told(_drafted(name, task, data, roles, leave or [], owner, asked)), settings=settings
        )
    if not made:
        said = {"team": team, "contact": contact, "description": description}
        _as_asked(name, task, roles if data else {}, settings, like=like, said=said, leave=leave or [])
        say(f"domains/{name} is there already, and stays as it is")
    for path in made:
        say(f"wrote {path.relative_to(settings.root)}")
    for finding in files.write(settings):
        say(f"wrote {finding.path}")
    trains = f"hallmark train {name}" + (f" --data {data}" if data else "")
    own = "" if data else ", put your own data behind data.py"
    say(
        f"next: `{trains}`; then say in domains/{name}/domain.yaml what it predicts and owes"
        f" (`hallmark domains {name}` checks it){own}"
    )


def _one_way(task: Kind | None, data: Path | None, like: str, others: list[str]) -> None:
    if task is not None and like:
        raise DeclarationError(
            "--task and --like are two ways to begin", expected="one of them", got=f"--task {task} --like {like}"
        )
    if task is None and not like and not data and not others:
        raise DeclarationError(
            "it is not said what the domain answers",
            expected=f"--task, one of {', '.join(Kind)}; or --like, a domain to copy",
            got="neither",
            fix="add --task regression, for example",
        )
    if task is None and (data or others):
        asked = "--data" if data else f"--{others[0]}"
        raise DeclarationError(
            f"{asked} is for a folder that is made for a task",
            expected=f"--task, one of {', '.join(Kind)}",
            got="none",
            fix="add --task regression, for example",
        )
    if data is None and others:
        raise DeclarationError(
            f"--{others[0]} names a column, and no file is named",
            expected="--data FILE",
            got="none",
            fix="add --data FILE",
        )


def _as_asked(
    name: str,
    task: Kind | None,
    roles: Mapping[str, str],
    settings: Settings,
    *,
    like: str,
    said: Mapping[str, str],
    leave: Sequence[str],
) -> None:
    """`DeclarationError` where the domain that is there already answers something else than what is asked for now."""
    from hallmark.declaration import domain as domains

    declared = domains.load(name, settings)
    keys = {"label": "label", "entity": "entity", "time": "event_time", "query": "query", "item": "item"}
    keys |= {"treatment": "treatment", "propensity": "propensity"}
    there = {role: getattr(declared.data, key) for role, key in keys.items()}
    there = {role: column if isinstance(column, str) else None for role, column in there.items()}
    differing = [role for role, column in roles.items() if column and there[role] != column]
    other = [f"{role} {there[role]}" if there[role] else f"no {role}" for role in differing]
    if task is not None and declared.task.kind != task.value:
        other = [f"task {declared.task.kind}"]
    alike = domains.load(like, settings).task.kind if like else declared.task.kind
    if alike != declared.task.kind:
        other = [f"task {declared.task.kind}, and {like} is {alike}"]
    known = {"team": declared.owner.team, "contact": declared.owner.contact, "description": declared.description}
    other += [f"{key} {known[key]}" for key, text in said.items() if text and text != known[key]]
    fields = {field.name for field in domains.module(name, "features", settings).FIELDS} if leave else set()
    other += [f"{column} among what the model sees" for column in leave if column in fields]
    if other:
        asked = [f"--task {task.value}"] if task is not None else [f"--like {like}"] if like else []
        asked += [f"--{key} {text!r}" for key, text in said.items() if text]
        asked += [f"--leave {column}" for column in leave]
        raise DeclarationError(
            f"domains/{name} is there already, and is another domain than the one asked for; nothing was written",
            expected=" ".join([*asked, *(f"--{role} {column}" for role, column in roles.items() if column)]),
            got=", ".join(other),
            fix=f"choose another name, or remove domains/{name} first",
        )


def _told(draft: Draft) -> dict[str, str]:
    """The files of a draft, once it is said what of the table is not in them."""
    for column, why in draft.found.left.items():
        say(f"left out {column}: {why}")
    return draft.files()


def _drafted(
    name: str,
    task: Kind,
    data: Path | None,
    roles: dict[str, str],
    leave: list[str],
    owner: dict[str, str],
    description: str,
) -> Draft:
    from hallmark.cli import seen

    if data is None:
        return seen.example(name, kind=task.value, owner=owner, description=description)
    return seen.of_file(
        name, kind=task.value, file=data, roles=roles, leave=leave, owner=owner, description=description
    )


def scaffold(name: str, *, like: str, team: str, contact: str, description: str, settings: Settings) -> list[Path]:
    """The files of a folder copied from the domain `like`, which appears whole or not at all; none where it is there already."""
    from hallmark.declaration import domain as domains

    def copied() -> dict[str, str]:
        domains.load(like, settings)
        texts = {}
        for source in sorted((settings.domains / like).iterdir()):
            if source.suffix in (".py", ".yaml"):
                text = source.read_text(encoding="utf-8")
                if source.suffix == ".yaml":
                    text = _declared(text, like, name=name, team=team, contact=contact, description=description)
                else:
                    text = text.replace(f"domains.{like}", f"domains.{name}").replace(
                        f'name="{like}"', f'name="{name}"'
                    )
                texts[source.name] = text
        return texts

    return written(name, copied, settings=settings)


def written(name: str, texts: Callable[[], Mapping[str, str]], *, settings: Settings) -> list[Path]:
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
    made = texts()
    draft = settings.domains / f".{uuid.uuid4().hex}" / name
    try:
        draft.mkdir(parents=True)
        for file, text in made.items():
            (draft / file).write_text(text, encoding="utf-8")
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
    text = re.sub(rf"(?m)^( +service: ){re.escape(like)}\b", rf"\g<1>{name}", text)
    if re.search(r"^ +prompt: ", text, re.MULTILINE):
        return text  # the model's name is the prompt's too, which both ask by
    return text.replace(f"{like}-reviewer", f"{name}-reviewer")
