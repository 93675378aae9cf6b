"""release.yaml as a commit: pushed to a real repository behind Git's own HTTP server, with a token, by compare-and-set."""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hallmark.artifacts import release as releases
from hallmark.errors import DeclarationError, Unavailable
from hallmark.render import files
from hallmark.rollout import followers
from hallmark.rollout.commits import ReleaseCommit, Repository
from hallmark.rollout.record import RolloutRecord
from hallmark.settings import Settings
from tests.hallmark.rollout.tiny import NAME, Cluster, target

ROOT = Path(__file__).parents[3]
TOKEN = "t0ken-of-the-watch"
RECORD = RolloutRecord(stable=target(2), reasons=("no worse than version 1 in 10,000 requests",))
WHO = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example",
}


def git(*arguments: str, at: Path) -> str:
    """Git as a person runs it, without this machine's configuration."""
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **WHO}
    done = subprocess.run(["git", *arguments], cwd=at, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Server:
    """`git http-backend` behind an HTTP server that wants the token. before: is run once, before the next push is taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before: Callable[[], None] | None = None
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def do_POST(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/repository.git"

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, asked: http.server.BaseHTTPRequestHandler) -> None:
        wanted = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
        path, _, query = asked.path.partition("?")
        self.asked.append(path)
        if asked.headers.get("Authorization") != wanted:
            asked.send_response(401)
            asked.send_header("WWW-Authenticate", 'Basic realm="git"')
            asked.send_header("Content-Length", "0")
            asked.end_headers()
            return
        if path.endswith("git-receive-pack") and asked.command == "POST" and self.before:
            before, self.before = self.before, None
            before()
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "REMOTE_USER": "watch",
                "REMOTE_ADDR": "127.0.0.1",
                "REQUEST_METHOD": asked.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": asked.headers.get("Content-Type") or "",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": asked.headers.get("Content-Encoding") or "",
                "GIT_PROTOCOL": asked.headers.get("Git-Protocol") or "",
            },
            capture_output=True,
            check=True,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().splitlines())
        asked.send_response(int(lines.pop("Status", "200").split()[0]))
        for key, value in {**lines, "Content-Length": str(len(content))}.items():
            asked.send_header(key, value)
        asked.end_headers()
        asked.wfile.write(content)


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """A person's checkout; the repository that it came from lies beside it."""
    bare, place = tmp_path / "repository.git", tmp_path / "person"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(bare), at=tmp_path)
    git("clone", "--quiet", str(bare), str(place), at=tmp_path)
    hidden = shutil.ignore_patterns("__pycache__", "*.py")
    for each in ("domains", "inference_services"):
        shutil.copytree(ROOT / each, place / each, ignore=hidden)
    for name in ("data", "features", "model", "serving", "synthetic"):
        for source in (ROOT / "domains").glob(f"*/{name}.py"):
            shutil.copy(source, place / source.relative_to(ROOT))
    files.write(checkout(place))
    git("add", "--all", at=place)
    git("commit", "--quiet", "--message=First", at=place)
    git("push", "--quiet", "origin", "HEAD:refs/heads/main", at=place)
    return place


@pytest.fixture
def server(person: Path) -> Iterator[Server]:
    with Server(person.parent) as made:
        yield made


def checkout(folder: Path) -> Settings:
    return Settings.load({"HALLMARK_ROOT": str(folder)})


def follower(server: Server, folder: Path, *, token: str = TOKEN, branch: str = "main") -> ReleaseCommit:
    path = folder / "token"
    path.write_text(token + "\n", encoding="utf-8")
    repository = Repository.at(server.url, branch=branch, token=path)
    image = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(folder / "state")})
    return ReleaseCommit(image, Cluster(), repository)


def test_the_commit_is_what_settle_would_write_and_nothing_else(server: Server, person: Path, tmp_path: Path) -> None:
    (told,) = follower(server, tmp_path).follow(NAME, RECORD)
    git("pull", "--quiet", "origin", "main", at=person)
    assert told.startswith(f"pushed {git('rev-parse', '--short', 'HEAD', at=person).strip()} to main")
    assert releases.read(NAME, checkout(person)) == RECORD.release
    assert not files.check(checkout(person)), "what is rendered from it came along"
    changed = git("diff", "--name-only", "HEAD~1", at=person).split()
    assert changed and all(each.startswith(f"inference_services/{NAME}/") for each in changed)
    log = git("log", "-1", "--format=%an%n%B", at=person)
    assert log.startswith(f"hallmark watch\nRelease version 2 of {NAME}\n\n- no worse than") and TOKEN not in log


@pytest.mark.slow
def test_what_the_branch_says_already_is_no_commit(server: Server, person: Path, tmp_path: Path) -> None:
    one = follower(server, tmp_path)
    assert one.follow(NAME, RECORD) and one.follow(NAME, RECORD) == []
    assert git("ls-remote", "origin", "main", at=person).split()[0] != git("rev-parse", "HEAD", at=person).strip()


def test_who_pushes_in_between_is_not_overwritten(server: Server, person: Path, tmp_path: Path) -> None:
    def push() -> None:
        (person / "notes.txt").write_text("mine\n", encoding="utf-8")
        git("add", "notes.txt", at=person)
        git("commit", "--quiet", "--message=Mine", at=person)
        git("push", "--quiet", "origin", "HEAD:refs/heads/main", at=person)

    server.before = push
    assert follower(server, tmp_path).follow(NAME, RECORD)
    git("pull", "--quiet", "origin", "main", at=person)
    assert git("log", "--format=%s", at=person).splitlines() == [f"Release version 2 of {NAME}", "Mine", "First"]


@pytest.mark.slow
def test_a_branch_that_never_rests_is_left_and_tried_again(server: Server, person: Path, tmp_path: Path) -> None:
    def again() -> None:
        git("commit", "--quiet", "--allow-empty", "--message=Mine", at=person)
        git("push", "--quiet", "origin", "HEAD:refs/heads/main", at=person)
        server.before = again

    server.before = again
    with pytest.raises(Unavailable, match="cannot be pushed") as error:
        follower(server, tmp_path).follow(NAME, RECORD)
    assert "5 times" in str(error.value)
    server.before = None
    assert follower(server, tmp_path).follow(NAME, RECORD)


@pytest.mark.parametrize(
    ("fault", "told"),
    [({"token": "another"}, "401: the token was refused"), ({"branch": "nowhere"}, "nowhere not found")],
)
def test_what_is_refused_is_told_without_the_token(
    server: Server, person: Path, tmp_path: Path, fault: dict[str, str], told: str
) -> None:
    _, failed = followers.catch_up([follower(server, tmp_path, **fault)], NAME, RECORD)
    said = str(failed["commit"])
    assert told in said and "fix:" in said
    assert TOKEN not in said and "another" not in said
    assert git("ls-remote", "origin", "main", at=person).split()[0] == git("rev-parse", "HEAD", at=person).strip()


@pytest.mark.slow
def test_a_hook_that_refuses_the_push_is_no_race(server: Server, person: Path, tmp_path: Path) -> None:
    hook = person.parent / "repository.git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho main is protected >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    with pytest.raises(Unavailable, match="git push failed") as error:
        follower(server, tmp_path).follow(NAME, RECORD)
    assert "main is protected" in str(error.value)


@pytest.mark.parametrize(
    ("url", "branch", "token", "told"),
    [
        ("http://git.example/a.git", "main", TOKEN, "cannot be pushed to"),
        ("git@git.example:a.git", "main", TOKEN, "cannot be pushed to"),
        ("https://me:secret@git.example/a.git", "main", TOKEN, "holds a name or a password"),
        ("https://git.example/a.git", "--mirror", TOKEN, "no name of a branch"),
        ("https://git.example/a.git", "main", "", "token of the repository is none"),
        ("https://git.example/a.git", "main", None, "cannot be read"),
    ],
)
def test_what_could_not_work_is_refused_at_the_start(
    tmp_path: Path, url: str, branch: str, token: str | None, told: str
) -> None:
    path = tmp_path / "token"
    if token is not None:
        path.write_text(token, encoding="utf-8")
    with pytest.raises(DeclarationError, match=told) as error:
        Repository.at(url, branch=branch, token=path)
    assert "secret" not in str(error.value) and TOKEN not in str(error.value)
